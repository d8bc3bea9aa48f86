"""The paper venues that settings name, one way for trading, replay, kill switch and gap.

They are part of the process that trades, or, where SLUICE_VENUE_URL names one, of a process of
their own. Replays always take their own, since they go through years in minutes.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from runtime.brokers.paper import PaperVenue
from runtime.brokers.record import VenueRecord
from runtime.brokers.remote import RemoteVenue
from runtime.brokers.states import LakeStates
from runtime.brokers.terms import PaperMarket, load_venues
from runtime.brokers.wire import address_of
from runtime.bundles.inputs import PointInTime
from runtime.errors import VenueRefused
from runtime.execution.latency import MeasuredLatency, load_latency
from service.books.accounts import LIVE
from service.settings import Settings
from service.trading.halts import Seen, halted_of


def latency_path(settings: Settings) -> Path:
    """Return where a workspace keeps what `sluice latency --store` measured."""
    return settings.workspace / "latency.json"


def measured_latency(settings: Settings) -> MeasuredLatency | None:
    """Return the workspace's measurement, None if it has none; VenuesInvalid if unreadable."""
    return load_latency(latency_path(settings))


def paper_market(settings: Settings) -> PaperMarket:
    """Return the venues of the settings' file, or the packaged ones, with measured latencies.

    Raises:
        VenuesInvalid: the file of venues or the measurement cannot be used.
    """
    measured = measured_latency(settings)
    seen = () if measured is None else measured.milliseconds
    return load_venues(settings.venues, measured=seen)


def states_of(
    market: PaperMarket, reader: PointInTime, price: str, halted: Seen | None = None
) -> LakeStates:
    """Return the states that the venues of a market see: the lake's, by the bundle's price."""
    return LakeStates(
        reader=reader,
        price=price,
        window=market.volatility_window,
        volume=market.volume,
        published=halted,
    )


def traded_by_others(settings: Settings, market: PaperMarket, account: str) -> tuple[str, ...]:
    """Return the venues whose record holds executions by other terms than a market's."""
    terms = {one.name: one for one in market.venues}
    found = []
    for path in sorted(settings.venue_records(account).glob("*.db")):
        record = VenueRecord(path, path.stem)
        known = {hash_ for _, hash_, _ in record.terms()}
        record.close()
        if known - {terms[path.stem].hash if path.stem in terms else ""}:
            found.append(path.stem)
    return tuple(found)


def remote_venues(
    settings: Settings, names: Sequence[str], account: str
) -> tuple[RemoteVenue, ...]:
    """Return venues of the process that settings name; each connects when it is first asked.

    Raises:
        VenuesInvalid: SLUICE_VENUE_URL is no address of one.
        VenueRefused: there is no token for it.
    """
    address = address_of(settings.venue_url)
    if not settings.venue_token:
        raise VenueRefused(f"{address} wants a token; set SLUICE_VENUE_TOKEN as it was set there")
    return tuple(
        RemoteVenue(address=address, token=settings.venue_token, account=account, name=name)
        for name in names
    )


def venues_of(
    settings: Settings,
    account: str,
    reader: PointInTime,
    price: str,
    symbols: Callable[[], Iterable[str]] = tuple,
) -> tuple[PaperVenue, ...] | tuple[RemoteVenue, ...]:
    """Return the venues an account trades at; those of live trading may be another process's.

    Args:
        settings: where everything lies.
        account: whose records are meant.
        reader: point-in-time data.
        price: "view.field" of closes.
        symbols: all in which orders may work; halts of others are not looked for.
    """
    market = paper_market(settings)
    if settings.venue_url and account == LIVE:
        return remote_venues(settings, [terms.name for terms in market.venues], account)
    folder = settings.venue_records(account)
    folder.mkdir(parents=True, exist_ok=True)
    return open_venues(market, folder, reader, price, halted_of(settings, symbols))


def open_venues(
    market: PaperMarket,
    folder: Path,
    reader: PointInTime,
    price: str,
    halted: Seen | None = None,
) -> tuple[PaperVenue, ...]:
    """Open every venue's record in a folder, making those that are not there."""
    states = states_of(market, reader, price, halted)
    return tuple(
        PaperVenue(folder / f"{terms.name}.db", terms, states=states) for terms in market.venues
    )
