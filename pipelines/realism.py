"""A backtest whose orders are sized, routed and filled by the runtime's own functions.

1. at a decision: whole-lot orders by `runtime.plan.make_plan`, on the equity these fills left
2. each is split over the venues by `runtime.routing`, as its type asks for
3. at the next close every part meets `runtime.brokers.matching.match_bar`, as at a paper venue
4. between fills, stops rest from one close to the next; borrowed stock is paid by the day

Weights are those of the plain backtest. What does not fill is asked for again at the next decision;
an order that is good till cancelled meets one close here, at a paper venue all until then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TypeAlias

import numpy as np

from featurestore.calendars import Calendar
from pipelines.backtest import Backtest
from pipelines.books import CAPITAL
from pipelines.door import require_record
from pipelines.errors import StrategyInvalid
from pipelines.gap import Trade
from runtime.brokers.matching import Asked, match_bar, reached, style_of
from runtime.brokers.states import STOPPED, daily_volatility
from runtime.brokers.terms import VenueTerms
from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inputs import Array
from runtime.domain import Bar, OrderType, PlannedOrder, Side, TimeInForce
from runtime.errors import OrderInvalid
from runtime.execution.fills import MarketState, Style, borrow_cost
from runtime.execution.stops import Stops
from runtime.execution.ticks import collared
from runtime.feeds import price_of
from runtime.market.lots import round_lot
from runtime.market.states import Published
from runtime.plan import make_plan
from runtime.routing.router import route
from runtime.routing.whole import route_order

StateAt: TypeAlias = Callable[[str, float, datetime], MarketState]  # symbol, mid, instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where a backtest's orders go: the venues of a desk, and the states they meet."""

    venues: tuple[VenueTerms, ...]
    states: StateAt
    calendar: Calendar
    style: Style = Style.MARKET
    stops: Stops | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisticRun:
    """Returns with every order filled by the model; T days."""

    dates: tuple[date, ...]
    net: Array  # (T,), fractions
    trades: tuple[Trade, ...]
    borrow: float  # quote currency, over the whole span
    unfilled: float  # share of asked notional that did not fill
    stopped: int  # positions that a stop let go


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceStates:
    """States from a backtest's own prices, where no reader is at hand; sees no later price."""

    result: Backtest
    daily_volume: Array | None = None  # (n,), units a day; None = unknown
    window: int = 63  # sessions behind the volatility
    published: Callable[[datetime], Mapping[str, Published]] | None = None  # None = no halts known

    def __call__(self, symbol: str, mid: float, at: datetime) -> MarketState:
        """Return the state of a name at the close of a session."""
        column = self.result.symbols.index(symbol)
        row = self.result.dates.index(at.date()) if at.date() in self.result.dates else 0
        closes = self.result.prices[max(0, row - self.window) : row + 1, column]
        volume = None if self.daily_volume is None else float(self.daily_volume[column])
        line = None if self.published is None else self.published(at).get(symbol)
        return MarketState(
            mid=mid,
            daily_volatility=daily_volatility(closes),
            daily_volume=volume,
            halted=line is not None and line.state in STOPPED,
        )


def realistic(result: Backtest, sizing: SizingPolicy, market: Market) -> RealisticRun:
    """Trade a backtest's decisions again, every order as a desk would send and a venue fill it.

    Args:
        result: the decisions and the prices.
        sizing: how weights become orders.
        market: venues, states, calendar; with stops, positions are let go between decisions.

    Raises:
        EvaluationUnrecorded: called in a kernel by anybody but who has recorded the trial.
        StrategyInvalid: equity fell to nothing.
    """
    require_record("realistic")
    account = _Account(result=result, sizing=sizing, market=market)
    decided = {int(row): i for i, row in enumerate(result.fill_rows)}
    equity = np.full(len(result.prices) + 1, CAPITAL)
    for row in range(len(result.prices)):
        if row in decided:
            account.trade(row, decided[row])
        elif market.stops is not None:
            account.let_go(row, market.stops)
        account.pay_borrow(row)
        equity[row + 1] = account.worth(result.prices[row])
        if equity[row + 1] <= 0.0:
            raise StrategyInvalid(f"the portfolio lost everything by {result.dates[row]}")
    asked = account.asked
    return RealisticRun(
        dates=result.dates,
        net=equity[1:] / equity[:-1] - 1.0,
        trades=tuple(account.trades),
        borrow=account.borrowed,
        unfilled=1.0 - account.filled / asked if asked else 0.0,
        stopped=account.stopped,
    )


@dataclass(slots=True, kw_only=True)
class _Account:
    """Units, cash and trades while a backtest is traded again."""

    result: Backtest
    sizing: SizingPolicy
    market: Market
    cash: float = CAPITAL
    trades: list[Trade] = field(default_factory=list)
    borrowed: float = 0.0  # quote currency paid for stock on loan
    asked: float = 0.0  # notional
    filled: float = 0.0  # notional
    stopped: int = 0
    units: Array = field(init=False)  # (n,)
    entries: Array = field(init=False)  # (n,), average price of what is held

    def __post_init__(self) -> None:
        self.units = np.zeros(len(self.result.symbols))
        self.entries = np.zeros(len(self.result.symbols))

    def worth(self, prices: Array) -> float:
        """Return equity at prices, shape (n,)."""
        return self.cash + float(self.units @ prices)

    def before(self, row: int) -> Array:
        """Return the closes of the session before a row."""
        return self.result.prices[row - 1] if row else self.result.opening

    def trade(self, row: int, decision: int) -> None:
        """Send the orders of a decision, filled at the close of `row`."""
        closes, symbols = self.before(row), self.result.symbols
        at = self.result.decided_at[decision]
        prices = {s: price_of(float(p)) for s, p in zip(symbols, closes, strict=True)}
        plan = make_plan(
            self.result.weights[decision],
            symbols,
            prices=prices,
            positions=dict(zip(symbols, map(_exact, self.units), strict=True)),
            equity=_exact(self.worth(closes)),
            sizing=self.sizing,
            day=at.date(),
        )
        for planned in plan.orders:
            bar = Bar(
                symbol=planned.symbol, close=prices[planned.symbol], event_time=at, known_at=at
            )
            self._send(planned, bar, row, at)

    def _send(self, planned: PlannedOrder, shown: Bar, row: int, at: datetime) -> None:
        """Split an order over what the venues show and fill each part."""
        lot = 1 if planned.quantity % self.sizing.lot else self.sizing.lot
        terms = {one.name: one for one in self.market.venues}
        quotes = [one.quote(shown, at) for one in self.market.venues]
        usual = planned.order_type is OrderType.MARKET and planned.time_in_force is TimeInForce.DAY
        style = style_of(planned.order_type, planned.time_in_force)
        try:
            if usual:
                legs = route(planned, quotes, lot=lot).legs
            else:
                whole = round_lot(planned.reference_price, at.date())
                legs = route_order(planned, quotes, lot=lot, round_lot=whole).legs
        except OrderInvalid:
            return  # no venue takes it whole; the desk would not send it either
        for leg in legs:
            asked = Asked(
                side=planned.side,
                quantity=leg.quantity,
                limit_price=planned.limit_price,
                style=self.market.style if usual else style,
                trigger=planned.stop_price,
                whole=planned.time_in_force is TimeInForce.FOK,
            )
            self._fill(planned.symbol, asked, terms[leg.venue], row)

    def let_go(self, row: int, stops: Stops) -> None:
        """Let resting stops meet the close of `row`; their levels are of the session before."""
        before, calendar = self.before(row), self.market.calendar
        yesterday = calendar.previous(self.result.dates[row])
        # A stop stands on the losing side of its entry: what closed on the other cannot wake it.
        lost = np.sign(self.units) * (self.entries - self.result.prices[row]) > 0.0
        for i in np.flatnonzero(lost).tolist():
            symbol, held = self.result.symbols[i], float(self.units[i])
            closing = Side.SELL if held > 0 else Side.BUY
            known = self.market.states(symbol, float(before[i]), yesterday.close)
            level = stops.level(
                symbol,
                closing,
                float(self.entries[i]),
                known.daily_volatility,
                now=yesterday.close,
            )
            close = price_of(float(self.result.prices[row, i]))
            if level is None or not reached(close, level, closing):
                continue
            collar = Decimal(self.sizing.collar)
            reference = price_of(float(before[i]))
            asked = Asked(
                side=closing,
                quantity=_exact(abs(held)),
                limit_price=collared(reference, closing, collar, yesterday.day),
                trigger=level,
            )
            self.stopped += self._fill(symbol, asked, self.market.venues[0], row)

    def _fill(self, symbol: str, asked: Asked, terms: VenueTerms, row: int) -> bool:
        """Let one order meet the bar of a row and book what it got; say whether it got anything."""
        i = self.result.symbols.index(symbol)
        mid, day = float(self.result.prices[row, i]), self.result.dates[row]
        close = self.market.calendar.session(day).close
        bar = Bar(symbol=symbol, close=price_of(mid), event_time=close, known_at=close)
        done = match_bar(asked, bar, terms, self.market.states(symbol, float(bar.close), close))
        size, price, fee = float(done.quantity), float(done.price), float(done.fee)
        change = asked.side.sign * size
        held = float(self.units[i])
        if held * change >= 0.0 and size:  # it grows: a new average
            self.entries[i] = (abs(held) * self.entries[i] + size * price) / (abs(held) + size)
        elif abs(change) > abs(held):  # it turned round
            self.entries[i] = price
        self.units[i] = held + change
        self.cash -= change * price + fee
        self.asked += float(asked.quantity) * mid
        self.filled += size * mid
        self.trades.append(
            Trade(
                symbol=symbol,
                day=day,
                side=asked.side,
                asked=float(asked.quantity),
                filled=size,
                reference=float(bar.close),
                price=price,
                fee=fee,
            )
        )
        return size > 0.0

    def pay_borrow(self, row: int) -> None:
        """Pay for stock on loan from this close to the next session's."""
        model = self.market.venues[0].model
        short = float(-np.minimum(self.units * self.result.prices[row], 0.0).sum())
        if model is None or not short or row + 1 >= len(self.result.dates):
            return
        days = (self.result.dates[row + 1] - self.result.dates[row]).days
        lent = borrow_cost(short, model, days=days)
        self.cash, self.borrowed = self.cash - lent, self.borrowed + lent


def _exact(value: float) -> Decimal:
    """Return a float as the decimal that it prints as."""
    return Decimal(repr(float(value)))
