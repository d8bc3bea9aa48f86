"""The paper venues that settings name, one way for trading, replay, kill switch and gap."""

from pathlib import Path

from runtime.brokers.paper import PaperVenue
from runtime.brokers.record import VenueRecord
from runtime.brokers.states import LakeStates
from runtime.brokers.terms import PaperMarket, load_venues
from runtime.bundles.inputs import PointInTime
from runtime.execution.latency import MeasuredLatency, load_latency
from service.settings import Settings


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


def states_of(market: PaperMarket, reader: PointInTime, price: str) -> LakeStates:
    """Return the states that the venues of a market see: the lake's, by the bundle's price."""
    return LakeStates(
        reader=reader, price=price, window=market.volatility_window, volume=market.volume
    )


def venues_folder(settings: Settings, account: str) -> Path:
    """Return the folder of an account's venue records."""
    return settings.workspace / "venues" / account


def traded_by_others(settings: Settings, market: PaperMarket, account: str) -> tuple[str, ...]:
    """Return the venues whose record holds executions by other terms than a market's."""
    terms = {one.name: one for one in market.venues}
    found = []
    for path in sorted(venues_folder(settings, account).glob("*.db")):
        record = VenueRecord(path, path.stem)
        known = {hash_ for _, hash_, _ in record.terms()}
        record.close()
        if known - {terms[path.stem].hash if path.stem in terms else ""}:
            found.append(path.stem)
    return tuple(found)


def open_venues(
    market: PaperMarket, folder: Path, reader: PointInTime, price: str
) -> tuple[PaperVenue, ...]:
    """Open every venue's record in a folder, making those that are not there."""
    states = states_of(market, reader, price)
    return tuple(
        PaperVenue(folder / f"{terms.name}.db", terms, states=states) for terms in market.venues
    )
