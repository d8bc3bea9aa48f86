"""Eight checks over a plan of 1000 orders that all pass, against the limit of the design.

CPU time of this process, as other processes share the machine.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import median
from time import process_time

import msgspec

from featurestore.calendars import load_calendar
from runtime.domain import OrderType, PlannedOrder, Side
from runtime.guardrails import Close, Context, FeatureAge, MarketState, Published, judge
from runtime.market.states import Bands
from runtime.policies.policy import Policy, default_policy

ORDERS, ROUNDS = 1000, 25
LIMIT_MS = 20.0
SESSION = load_calendar("XNYS").session(date(2026, 3, 16))
AT = datetime(2026, 3, 16, 15, 0, tzinfo=UTC)  # in the regular session: bands are looked at too


def run() -> list[dict[str, object]]:
    """Time whole plans, every order through all eight checks."""
    symbols = [f"S{number:04d}" for number in range(ORDERS)]
    plan, context, policy = plan_of(symbols), context_of(symbols), wide_policy()
    seconds = []
    for _ in range(ROUNDS):
        started = process_time()
        judged = judge(plan, context, policy)
        seconds.append(process_time() - started)
        if not all(one.passed for one in judged):
            raise AssertionError("an order of the benchmark was blocked")
    ours = 1000 * median(seconds)
    return [
        {
            "name": f"eight guardrails, {ORDERS} orders",
            "ours": ours,
            "peer": LIMIT_MS,
            "peer_name": "limit",
            "ratio": LIMIT_MS / ours,
            "unit": "ms",
        }
    ]


def plan_of(symbols: list[str]) -> list[PlannedOrder]:
    """Return one order a symbol; every one passes in `context_of` the same symbols."""
    return [
        PlannedOrder(
            symbol=symbol,
            side=Side.BUY,
            quantity=Decimal(10 + number % 7),
            order_type=OrderType.MARKET,
            limit_price=Decimal("41"),
            reference_price=Decimal("40"),
            reason="benchmark",
        )
        for number, symbol in enumerate(symbols)
    ]


def context_of(symbols: list[str]) -> Context:
    """Return a tick in which everything is known, fresh and in order."""
    price, equity = Decimal("40"), Decimal(1_000_000)
    published = Published(
        state=MarketState.NORMAL, at=AT, bands=Bands(Decimal("38"), Decimal("42")), bands_at=AT
    )
    return Context(
        at=AT,
        session=SESSION,
        account="live",
        caller="engine",
        study="tilt",
        bundle="b" * 64,
        approved_bundle="b" * 64,
        stage="production",
        simulated=False,
        verified=True,
        drift_stopped=False,
        killed={},
        market=dict.fromkeys(symbols, published),
        prices=dict.fromkeys(symbols, price),
        priced_at=dict.fromkeys(symbols, AT),
        previous_prices=dict.fromkeys(symbols, Decimal("39")),
        volumes=dict.fromkeys(symbols, Decimal(1_000_000)),
        positions={},
        cash=equity,
        equity=equity,
        valued_at=AT,
        equity_before=equity,
        equity_peak=equity,
        losing_streak=0,
        closes=tuple(
            Close(
                day=SESSION.day - timedelta(days=260 - number),
                equity=equity,
                before=equity,
                peak=equity,
                losing_streak=0,
            )
            for number in range(260)
        ),
        breaks=(),
        working=(),
        orders_this_session=0,
        repeats={},
        features={"prices.close": FeatureAge(known_at=AT, allowed=None)},
        weights={symbol: 0.0007 + 1e-9 * number for number, symbol in enumerate(symbols)},
    )


def wide_policy() -> Policy:
    """Return the default policy with room for every order at once."""
    policy = default_policy()
    rate = msgspec.structs.replace(
        policy.rate, max_orders_per_tick=ORDERS, max_orders_per_session=ORDERS
    )
    return msgspec.structs.replace(policy, rate=rate)
