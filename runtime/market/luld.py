"""One symbol's Limit Up / Limit Down state through a session, computed from quotes and trades.

For simulation and cross-checks; a live system follows the published state and bands.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from featurestore.calendars import Session
from runtime.errors import FeedInvalid
from runtime.market.bands import Tier, bands_of
from runtime.market.reference import ReferencePrice
from runtime.market.rules import Luld
from runtime.market.states import Bands, MarketState

_STOPPED = (MarketState.PAUSE, MarketState.CLOSE_ONLY)


@dataclass(slots=True, kw_only=True)
class LuldMachine:
    """Fed in the order of time; begins UNKNOWN, as nothing was quoted yet."""

    rules: Luld
    session: Session
    tier: Tier
    previous_close: Decimal  # USD, on the primary listing market; picks the row for the day
    leverage: Decimal = Decimal(1)
    state: MarketState = MarketState.UNKNOWN
    since: datetime = field(init=False)  # UTC, when the state was entered
    bands: Bands = field(init=False)
    reference: ReferencePrice = field(init=False)
    reopens: datetime | None = None  # UTC, a pause lasts at least until then
    _bid: Decimal | None = None
    _offer: Decimal | None = None
    _now: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._now = self.since = self.session.open
        self.reference = ReferencePrice(self.rules, self.session.open, self.previous_close)
        self.bands = self._bands(self.session.open)

    def quote(self, bid: Decimal | None, offer: Decimal | None, at: datetime) -> MarketState:
        """Take the national best bid and offer; None = nobody quotes that side."""
        self.advance(at)
        self._bid, self._offer = bid, offer
        return self._judge(at)

    def trade(self, price: Decimal, at: datetime, *, opening: bool = False) -> MarketState:
        """Take an eligible trade; while paused or in a limit state it moves no reference."""
        self.advance(at)
        if self.state not in (*_STOPPED, MarketState.LIMIT):
            self.reference.trade(price, at, opening=opening)
            self.bands = self._bands(at)
        return self._judge(at)

    def pause(self, at: datetime) -> MarketState:
        """Take the primary market's declaration of a pause."""
        self.advance(at)
        if self.state not in _STOPPED:
            self._pause(at)
        return self.advance(at)

    def extend(self, at: datetime) -> MarketState:
        """Take the primary market's extension of a pause by another step."""
        self.advance(at)
        if self.state is MarketState.PAUSE and self.reopens is not None:
            self.reopens += timedelta(seconds=self.rules.extension)
        return self.state

    def reopen(self, price: Decimal, at: datetime) -> MarketState:
        """Take the price of the reopening auction: the only way out of a pause.

        Raises:
            FeedInvalid: the symbol is not paused, the pause is too young, or it is too late in
                the day; the state stays as it was.
        """
        self.advance(at)
        if self.state is not MarketState.PAUSE or self.reopens is None:
            raise FeedInvalid(f"nothing reopens out of {self.state.value} at {at.isoformat()}")
        if at < self.reopens:
            raise FeedInvalid(
                f"a reopening at {at.isoformat()} before the pause ends, {self.reopens.isoformat()}"
            )
        self.reopens = None
        return self._begin_again(price, at)

    def resumed(self, price: Decimal, at: datetime) -> MarketState:
        """Take the price at which a halted symbol, not a paused one, trades again."""
        self.advance(at)
        return self.state if self.state in _STOPPED else self._begin_again(price, at)

    def advance(self, at: datetime) -> MarketState:
        """Let time pass: limit states grow into pauses, pauses into close-only, bands move.

        Raises:
            FeedInvalid: time ran backwards or left the session.
        """
        if not self._now <= at <= self.session.close:
            raise FeedInvalid(
                f"{at.isoformat()} lies before {self._now.isoformat()} or after the close"
            )
        self._now = at
        lasts = timedelta(seconds=self.rules.limit_lasts)
        if self.state is MarketState.LIMIT and at - self.since >= lasts:
            self._pause(self.since + lasts)
        last_minutes = self.session.close - timedelta(seconds=self.rules.close_only)
        if self.state is MarketState.PAUSE and at >= last_minutes:
            self._enter(MarketState.CLOSE_ONLY, max(self.since, last_minutes))
            self.reopens = None
        if self.state not in (*_STOPPED, MarketState.LIMIT):
            self.reference.move(at)
            self.bands = self._bands(at)
            self._judge(at)
        return self.state

    def _judge(self, at: datetime) -> MarketState:
        """Enter the state that quotes and bands ask for, unless trading has stopped."""
        if self.state in _STOPPED:
            return self.state
        self._enter(self._asked(), at)
        return self.state

    def _asked(self) -> MarketState:
        bid, offer, bands = self._bid, self._offer, self.bands
        if bid is None and offer is None:
            return MarketState.UNKNOWN
        crossed = bid is not None and offer is not None and bid > offer
        if not crossed and (offer == bands.lower or bid == bands.upper):
            return MarketState.LIMIT
        if (bid is not None and bid > bands.upper) or (offer is not None and offer < bands.lower):
            return MarketState.UNKNOWN  # such quotes are not displayed: this one cannot be right
        if (bid is not None and bid < bands.lower) or (offer is not None and offer > bands.upper):
            return MarketState.STRADDLE
        return MarketState.NORMAL

    def _begin_again(self, price: Decimal, at: datetime) -> MarketState:
        """Start from an auction's price; UNKNOWN until somebody quotes again."""
        self.reference.reopened(price, at)
        self.bands = self._bands(at)
        self._bid = self._offer = None
        self._enter(MarketState.UNKNOWN, at)
        return self.state

    def _pause(self, at: datetime) -> None:
        self.reopens = at + timedelta(seconds=self.rules.pause_lasts)
        self._enter(MarketState.PAUSE, at)

    def _enter(self, state: MarketState, at: datetime) -> None:
        if state is not self.state:
            self.state, self.since = state, at

    def _bands(self, at: datetime) -> Bands:
        return bands_of(
            self.rules,
            tier=self.tier,
            previous_close=self.previous_close,
            reference=self.reference.price,
            session=self.session,
            at=at,
            leverage=self.leverage,
        )
