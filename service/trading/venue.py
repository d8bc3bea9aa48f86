"""What a process of paper venues knows of the market by itself: the lake, and no trader's word."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import local

from featurestore.lake import Lake
from featurestore.store import FeatureStore
from runtime.brokers.server import Floor
from runtime.brokers.states import LakeStates
from runtime.brokers.terms import PaperMarket
from runtime.domain import Bar
from runtime.errors import OrderInvalid
from runtime.execution.fills import MarketState
from runtime.feeds import LakeFeed
from service.faults import NotFound
from service.records import open_registry
from service.settings import Settings
from service.trading.engines import OPENING, verify_seated
from service.trading.halts import halted_of
from service.trading.paper import paper_market, states_of


@dataclass(slots=True)
class OwnPrices:
    """Prices and states of the market out of the lake, read anew for every session.

    Each caller has a thread of its own, and sees the halts of what it published itself.
    """

    lake_url: str
    market: PaperMarket
    price: str  # "view.field"
    settings: Settings  # whose halts are seen
    _own: local = field(default_factory=local, repr=False)  # states: the thread's LakeStates

    def check(self, bars: Sequence[Bar], at: datetime) -> None:
        """Refuse bars that the newest version of the lake contradicts.

        Raises:
            OrderInvalid: a close or its time is another one here.
        """
        store = FeatureStore(Lake(self.lake_url))
        reader = store.reader(store.snapshot(), opening=OPENING)
        halted = halted_of(self.settings, lambda: [bar.symbol for bar in bars])
        self._own.states = states_of(self.market, reader, self.price, halted)
        own = LakeFeed(reader, self.price).bars([bar.symbol for bar in bars], at)
        for told, known in zip(bars, own, strict=True):
            if (told.close, told.event_time) != (known.close, known.event_time):
                raise OrderInvalid(
                    f"{told.symbol}: told {told.close} of {told.event_time}, but "
                    f"{self.price} has {known.close} of {known.event_time}"
                )

    def state(self, bar: Bar) -> MarketState:
        """Return the state of a bar's name; `check` has read the lake before."""
        states: LakeStates | None = getattr(self._own, "states", None)
        return MarketState(mid=float(bar.close)) if states is None else states(bar)


def open_floor(settings: Settings, price: str) -> Floor:
    """Return the venues of a workspace, with the lake behind them.

    Args:
        settings: where everything lies.
        price: "view.field" of closes; "" = what the bundle in the champion's seat trades on.

    Raises:
        NotFound: no price was named and no bundle is seated, or the lake has no such closes.
        ViewUnknown: nor such a view.
        VenuesInvalid: the file of venues cannot be used.
    """
    market = paper_market(settings)
    if price:
        _require(settings, price)
    prices = OwnPrices(settings.lake_url, market, price or _price_of_champion(settings), settings)
    return Floor(
        folder=settings.workspace / "venues",
        terms=market.venues,
        states=prices.state,
        check=prices.check,
    )


def _require(settings: Settings, price: str) -> None:
    """Refuse closes that the lake does not declare: every session of bars would be refused."""
    name, _, field_name = price.partition(".")
    view = FeatureStore(Lake(settings.lake_url)).view(name)
    if field_name not in (known := [field.name for field in view.fields]):
        raise NotFound(
            f"{name} has no field {field_name!r}, it has {', '.join(known)}",
            "write VIEW.FIELD, for instance us_equities.close",
        )


def _price_of_champion(settings: Settings) -> str:
    from service.databases import open_runtime

    sitting = open_registry(settings, open_runtime(settings)).active()
    if sitting is None:
        raise NotFound("no bundle is active, so no price is known", "name one with --price")
    return verify_seated(settings, sitting).manifest.price_feature
