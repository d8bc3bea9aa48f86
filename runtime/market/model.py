"""The whole market, computed: bands, breakers, halts and the price test of every symbol.

For simulation and as a cross-check of what is published (`runtime.market.board`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from featurestore.calendars import Calendar, Session
from runtime.errors import FeedInvalid
from runtime.market.bands import Tier
from runtime.market.breakers import CircuitBreaker, Tripped
from runtime.market.halts import EVERYTHING, HaltBook
from runtime.market.luld import LuldMachine
from runtime.market.phases import regular
from runtime.market.rules import MarketRules, in_force
from runtime.market.shorts import PriceTest
from runtime.market.states import MarketState, Published


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the day begins with for one symbol."""

    symbol: str
    tier: Tier
    previous_close: Decimal  # USD, on the primary listing market
    leverage: Decimal = Decimal(1)
    banded: bool = True  # False: rights and warrants


@dataclass(slots=True)
class _Line:
    """One symbol as it stands."""

    listing: Listing
    machine: LuldMachine | None  # None: it has no bands
    bid: Decimal | None = None
    offer: Decimal | None = None
    quoted_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class MarketModel:
    """Fed in the order of time; `begin` opens each session, halts stay on over night."""

    rules: MarketRules
    calendar: Calendar
    halts: HaltBook = field(init=False)
    tests: PriceTest = field(init=False)
    breaker: CircuitBreaker | None = None
    _session: Session | None = None
    _lines: dict[str, _Line] = field(default_factory=dict)

    def __post_init__(self) -> None:
        newest = self.calendar.last
        self.halts = HaltBook(in_force(self.rules.halt, newest))
        self.tests = PriceTest(
            rules=in_force(self.rules.short_sale, newest), calendar=self.calendar
        )

    def begin(
        self, session: Session, listings: tuple[Listing, ...], index_close: Decimal | None = None
    ) -> None:
        """Start a session; without the index's previous close there is no breaker to compute."""
        luld = in_force(self.rules.luld, session.day)
        self._session, self.breaker = session, None
        if index_close is not None:
            rules = in_force(self.rules.breaker, session.day)
            self.breaker = CircuitBreaker(rules=rules, session=session, previous_close=index_close)
        self._lines = {
            one.symbol: _Line(
                one,
                LuldMachine(
                    rules=luld,
                    session=session,
                    tier=one.tier,
                    previous_close=one.previous_close,
                    leverage=one.leverage,
                )
                if one.banded
                else None,
            )
            for one in listings
        }

    def quote(
        self, symbol: str, bid: Decimal | None, offer: Decimal | None, at: datetime
    ) -> MarketState:
        """Take the national best bid and offer of a symbol."""
        line = self._line(symbol)
        line.bid, line.offer, line.quoted_at = bid, offer, at
        if line.machine is not None:
            line.machine.quote(bid, offer, at)
        return self.state(symbol)

    def trade(
        self, symbol: str, price: Decimal, at: datetime, *, opening: bool = False
    ) -> MarketState:
        """Take an eligible trade of a symbol."""
        line = self._line(symbol)
        self.tests.trade(symbol, price, line.listing.previous_close, at, self._open_session())
        if line.machine is not None:
            line.machine.trade(price, at, opening=opening)
        return self.state(symbol)

    def index(self, value: Decimal, at: datetime) -> Tripped | None:
        """Take a value of the S&P 500; a breaker that trips halts everything."""
        tripped = None if self.breaker is None else self.breaker.index(value, at)
        if tripped is not None:
            # Level 3 closes the day: no resume is believed before the next session.
            until = tripped.until or self.calendar.next(self._open_session().day).open
            self.halts.halt(EVERYTHING, tripped.code, at, until)
        return tripped

    def halt(self, symbol: str, code: str, at: datetime) -> MarketState:
        """Take a published halt; a volatility pause is the state machine's as well."""
        effect = self.halts.halt(symbol, code, at)
        line = self._lines.get(symbol)
        if effect is MarketState.PAUSE and line is not None and line.machine is not None:
            line.machine.pause(at)
        return self.state(symbol)

    def resume(self, symbol: str, price: Decimal, at: datetime) -> MarketState:
        """Take a symbol's reopening auction; it stays stopped if the rules do not let it reopen."""
        line = self._line(symbol)
        machine = line.machine
        if machine is not None and machine.advance(at) in (
            MarketState.PAUSE,
            MarketState.CLOSE_ONLY,
        ):
            try:
                machine.reopen(price, at)
            except FeedInvalid:
                return self.state(symbol)
        if self.halts.resume(symbol, at):
            line.bid = line.offer = line.quoted_at = None  # from before: they say nothing now
            if machine is not None:
                machine.resumed(price, at)
        return self.state(symbol)

    def extend(self, symbol: str, at: datetime) -> MarketState:
        """Take the primary market's extension of a pause."""
        machine = self._line(symbol).machine
        if machine is not None:
            machine.extend(at)
        return self.state(symbol)

    def advance(self, at: datetime) -> None:
        """Let time pass for every symbol."""
        for line in self._lines.values():
            if line.machine is not None:
                line.machine.advance(at)

    def state(self, symbol: str) -> MarketState:
        """Return where a symbol stands, halts first."""
        line = self._line(symbol)
        halted = self.halts.state(symbol)
        machine = line.machine
        if halted is MarketState.HALTED:
            return halted
        if machine is not None:
            stopped = machine.state in (MarketState.PAUSE, MarketState.CLOSE_ONLY)
            return machine.state if stopped or halted is None else halted
        if halted is not None:
            return halted
        return MarketState.UNKNOWN if line.quoted_at is None else MarketState.NORMAL

    def published(self, at: datetime) -> Mapping[str, Published]:
        """Return every symbol as computed at `at`, in the form the guardrails read."""
        self.advance(min(at, self._open_session().close))
        return {symbol: self._published(symbol, line, at) for symbol, line in self._lines.items()}

    def _published(self, symbol: str, line: _Line, at: datetime) -> Published:
        halt, machine = self.halts.on(symbol), line.machine
        banded = machine is not None and regular(self._open_session(), at)
        return Published(
            state=self.state(symbol),
            at=at,
            code="" if halt is None else halt.code,
            banded=machine is not None,
            bands=machine.bands if machine is not None and banded else None,
            bands_at=at if banded else None,
            bid=line.bid,
            offer=line.offer,
            quoted_at=line.quoted_at,
            restricted=self.tests.in_force(symbol, self._open_session().day),
            restricted_at=at,
        )

    def _line(self, symbol: str) -> _Line:
        try:
            return self._lines[symbol]
        except KeyError:
            raise FeedInvalid(f"{symbol} is not listed in this session") from None

    def _open_session(self) -> Session:
        if self._session is None:
            raise FeedInvalid("no session was begun")
        return self._session
