"""Is the router worth it? Orders over simulated venues whose true costs are known.

1. venues are drawn: each has a fee or rebate, a spread, a depth, and what its quotes hide: how much
   of what is shown can be had, how long it takes, and what the market does after a fill;
2. orders come one by one; each is executed twice on the same books and the same luck: by the
   router, which knows only what it has learned so far, and whole at the primary venue;
3. slippage is measured against the mid at arrival, fees included, in basis points;
4. the right venue for the first unit is the one of least true expected cost among those that show
   the best price, because the others must not be traded at while that is protected (Rule 611); it
   is compared with the venue that the router takes most from at that price, and right is whatever
   costs at most `TIE` more: closer than that, venues differ by less than they can be told apart.

The first orders of each market teach the router and are not counted. Intervals are percentile
bootstrap over markets for the saving and Wilson's for the share of right venues.

Source: Wilson (1927), "Probable Inference, the Law of Succession, and Statistical Inference",
    Journal of the American Statistical Association 22, 209-212.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from runtime.domain import OrderType, PlannedOrder, Quote, Side
from runtime.errors import OrderInvalid
from runtime.routing.protected import executions, protected_split
from runtime.routing.quality import Costs, Outcome, VenueQuality, burdened, learn
from runtime.routing.router import Ladder, Route, ladders

TICK = Decimal("0.01")  # USD
SYMBOL = "SIM"
DEEPER = 2.0  # spreads that the rest of an order pays where nothing is shown any more
AT = datetime(2026, 1, 2, 21, tzinfo=UTC)  # of every quote; nothing depends on it
TIE = 0.25e-4  # fraction of the mid
NORMAL_95 = 1.959963984540054  # two-sided 5 % point of the normal distribution
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedVenue:
    """What a venue shows and what it hides."""

    name: str
    fee_rate: float  # fraction of notional; negative = a rebate
    behind: float  # probability that its best price is a tick behind the best of all
    depth: float  # units at each level, on average
    fill: float  # probability that a shown unit can be had
    latency: float  # seconds
    adverse: float  # fraction of price that the market moves against us after a fill

    def expected(self, price: float, mid: float, costs: Costs) -> float:
        """Return the true expected cost of one unit bought at `price`, fraction of the mid."""
        hidden = (1 - self.fill) * costs.miss + self.latency * costs.drift + self.adverse
        return price * (1 + self.fee_rate) / mid - 1 + hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingStudy:
    """What the study found."""

    markets: int
    orders: int  # counted over all markets, after those that taught the router
    routed: float  # mean slippage by the router, basis points of the mid at arrival
    primary: float  # all to the primary venue, likewise
    saving: Share  # 1 - routed / primary
    right: Share  # share of orders whose first unit went to the venue of least true cost


def draw_venues(rng: np.random.Generator, count: int) -> tuple[SimulatedVenue, ...]:
    """Draw venues alike; the first is the primary, which shows the most and is rarely behind."""
    if count < 2:
        raise OrderInvalid(f"a study needs two venues or more, was given {count}")
    return tuple(
        SimulatedVenue(
            name="primary" if number == 0 else f"venue {number}",
            fee_rate=float(rng.uniform(-0.00015, 0.00015)),
            behind=0.1 if number == 0 else float(rng.uniform(0.0, 0.5)),
            depth=2500 if number == 0 else float(rng.uniform(500, 2000)),
            fill=float(rng.uniform(0.4, 1.0)),
            latency=float(rng.uniform(0.05, 1.0)),
            adverse=float(rng.uniform(0.0, 0.0004)),
        )
        for number in range(count)
    )


def study(
    *,
    markets: int = 10,
    orders: int = 400,
    teach: int = 1000,
    venues: int = 5,
    seed: int = 7,
    costs: Costs | None = None,
) -> RoutingStudy:
    """Route simulated orders and compare with sending all to the primary venue.

    Args:
        markets: sets of venues that are drawn; the saving's interval is over them.
        orders: counted in each market.
        teach: before them in each market; the router learns from all.
        venues: how many a market has, the primary included.
        seed: of everything that is drawn.
        costs: of a miss and of delay; None = 8 bp to come back, 2 bp a second.

    Raises:
        OrderInvalid: fewer than two venues, or no market or order.
    """
    if orders < 1 or markets < 1:
        raise OrderInvalid(f"a study needs a market and an order, was given {markets}, {orders}")
    rng = np.random.default_rng(seed)
    costs = costs or Costs(miss=0.0008, drift=0.0002)
    means, right = np.empty((markets, 2)), 0
    for number in range(markets):
        market = draw_venues(rng, venues)
        slippage, hits = _one_market(rng, market, orders, teach, costs)
        means[number] = slippage.mean(axis=0)
        right += hits
    routed, primary = means.mean(axis=0) * 1e4
    return RoutingStudy(
        markets=markets,
        orders=markets * orders,
        routed=float(routed),
        primary=float(primary),
        saving=_saving(means, rng),
        right=wilson(right, markets * orders),
    )


def _one_market(
    rng: np.random.Generator,
    market: Sequence[SimulatedVenue],
    orders: int,
    teach: int,
    costs: Costs,
) -> tuple[NDArray[np.float64], int]:
    """Return the slippage of each counted order, (orders, router and primary), and right venues."""
    by_name = {venue.name: venue for venue in market}
    known: dict[str, VenueQuality] = {}
    outcomes: list[Outcome] = []
    slippage, right = np.empty((orders, 2)), 0
    for number in range(-teach, orders):
        mid = float(rng.uniform(20, 200))
        side = Side.BUY if rng.random() < 0.5 else Side.SELL
        shown = ladders(side, _quotes(rng, market, mid))
        planned = _order(side, int(rng.integers(1, 20)) * 100, mid)
        luck = {venue.name: rng.random(3) for venue in market}
        chosen = protected_split(planned, burdened(shown, known, costs))
        taken = executions(chosen, shown)
        if number >= 0:
            slippage[number, 0] = _paid(planned, taken, by_name, luck, mid, costs)
            alone = _all_at(shown, "primary", planned.quantity)
            slippage[number, 1] = _paid(planned, alone, by_name, luck, mid, costs)
            right += _first(chosen, shown, side) in _right(shown, by_name, mid, side, costs)
        outcomes += _outcomes(taken, by_name, luck)
        if number % 20 == 0:
            known = learn(outcomes)
    return slippage, right


def wilson(hits: int, trials: int) -> Share:
    """Return a share and Wilson's 95 % interval."""
    z, p = NORMAL_95, hits / trials
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(p * (1 - p) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return Share(value=p, low=max(0.0, middle - half), high=min(1.0, middle + half))


def _quotes(rng: np.random.Generator, market: Sequence[SimulatedVenue], mid: float) -> list[Quote]:
    """Return two levels a venue, on the grid of ticks; the second is a tick behind the first."""
    found = []
    for venue in market:
        late = int(rng.random() < venue.behind)
        for level in range(2):
            away = (1 + late + level) * TICK
            size = 100 * max(1, round(venue.depth * float(rng.uniform(0.3, 1.7)) / 100))
            centre = Decimal(repr(round(mid, 2)))
            found.append(
                Quote(
                    venue=venue.name,
                    symbol=SYMBOL,
                    bid=max(centre - away, TICK),
                    ask=centre + away,
                    size=Decimal(size),
                    fee_rate=Decimal(repr(round(venue.fee_rate, 6))),
                    at=AT,
                )
            )
    return found


def _order(side: Side, units: int, mid: float) -> PlannedOrder:
    limit = mid * (1.5 if side is Side.BUY else 0.5)
    return PlannedOrder(
        symbol=SYMBOL,
        side=side,
        quantity=Decimal(units),
        order_type=OrderType.MARKET,
        limit_price=Decimal(repr(round(limit, 2))),
        reference_price=Decimal(repr(round(mid, 2))),
        reason="simulated",
    )


def _all_at(
    shown: Sequence[Ladder], name: str, quantity: Decimal
) -> tuple[tuple[str, Decimal, Decimal], ...]:
    """Return what one venue shows, up to a quantity."""
    levels = next(ladder.levels for ladder in shown if ladder.venue == name)
    found, left = [], quantity
    for price, size, _ in levels:
        part = min(left, size)
        if part:
            found.append((name, price, part))
            left -= part
    return tuple(found)


def _had(venue: SimulatedVenue, luck: NDArray[np.float64]) -> float:
    """Return the share of what is shown that can be had: all of it, or none."""
    return 1.0 if luck[0] < venue.fill else 0.0


def _paid(
    planned: PlannedOrder,
    taken: Sequence[tuple[str, Decimal, Decimal]],
    venues: dict[str, SimulatedVenue],
    luck: dict[str, NDArray[np.float64]],
    mid: float,
    costs: Costs,
) -> float:
    """Return the slippage of one order, fraction of its value at the mid, fees included.

    What cannot be had is fetched later for the cost of a miss; what is not shown pays `DEEPER` such
    costs. Every unit pays for the delay of its venue and for what follows its fill.
    """
    sign, total, done = planned.side.sign, 0.0, 0.0
    for name, price, units in taken:
        venue = venues[name]
        share, amount = _had(venue, luck[name]), float(units)
        seconds = venue.latency * (0.5 + float(luck[name][1]))
        moved = venue.adverse * (0.5 + float(luck[name][2]))
        at = sign * (float(price) / mid - 1) + venue.fee_rate * float(price) / mid
        total += amount * (at + seconds * costs.drift + share * moved + (1 - share) * costs.miss)
        done += amount
    rest = float(planned.quantity) - done
    total += rest * (1 + DEEPER) * costs.miss
    return total / float(planned.quantity)


def _outcomes(
    taken: Sequence[tuple[str, Decimal, Decimal]],
    venues: dict[str, SimulatedVenue],
    luck: dict[str, NDArray[np.float64]],
) -> list[Outcome]:
    """Return what the router is told afterwards, one outcome a venue."""
    asked: dict[str, float] = {}
    for name, _, units in taken:
        asked[name] = asked.get(name, 0.0) + float(units)
    return [
        Outcome(
            venue=name,
            asked=units,
            filled=units * _had(venues[name], luck[name]),
            latency=venues[name].latency * (0.5 + float(luck[name][1])),
            after=venues[name].adverse * (0.5 + float(luck[name][2])),
        )
        for name, units in asked.items()
    ]


def _right(
    shown: Sequence[Ladder],
    venues: dict[str, SimulatedVenue],
    mid: float,
    side: Side,
    costs: Costs,
) -> set[str]:
    """Return the venues of least true expected cost for the first unit."""
    cost: dict[str, float] = {}
    for ladder in _at_the_best(shown, side):
        price = float(ladder.levels[0][0])
        mirrored = price if side is Side.BUY else 2 * mid - price
        cost[ladder.venue] = venues[ladder.venue].expected(mirrored, mid, costs)
    least = min(cost.values())
    return {venue for venue, one in cost.items() if one <= least + TIE}


def _at_the_best(shown: Sequence[Ladder], side: Side) -> list[Ladder]:
    best = min(side.sign * ladder.levels[0][0] for ladder in shown)
    return [ladder for ladder in shown if side.sign * ladder.levels[0][0] == best]


def _first(chosen: Route, shown: Sequence[Ladder], side: Side) -> str:
    """Return the venue at the best price whose shown size was used up first, or most."""
    used = {leg.venue: leg.quantity for leg in chosen.legs}
    level = {ladder.venue: ladder.levels[0][1] for ladder in _at_the_best(shown, side)}
    return max(level, key=lambda name: min(used.get(name, Decimal(0)) / level[name], Decimal(1)))


def _saving(means: NDArray[np.float64], rng: np.random.Generator) -> Share:
    """Return the share saved, bootstrapped over markets; means is (markets, router and primary)."""
    count = len(means)
    drawn = means[rng.integers(0, count, (DRAWS, count))].mean(axis=1)
    low, high = np.quantile(1 - drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    routed, primary = means.mean(axis=0)
    return Share(value=float(1 - routed / primary), low=float(low), high=float(high))
