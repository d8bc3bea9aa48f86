"""A tick in which all is fresh and in order, orders that pass in it, and who objects if not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec

from featurestore.calendars import Session
from runtime.domain import OrderType, PlannedOrder, Side
from runtime.guardrails import Context, FeatureAge, MarketState, Published, judge
from runtime.market.states import Bands
from runtime.policies.policy import Policy, default_policy

AT = datetime(2020, 3, 16, 20, 0, tzinfo=UTC)
SESSION = Session(day=date(2020, 3, 16), open=AT - timedelta(hours=6, minutes=30), close=AT)
D = Decimal
POLICY = default_policy()


def context(**changes) -> Context:
    """1,000,000 USD: 600,000 in AAA, the rest in cash; everything fresh and in order."""
    base = Context(
        at=AT,
        session=SESSION,
        account="paper",
        caller="engine",
        study="tilt",
        bundle="b" * 64,
        approved_bundle="b" * 64,
        stage="staging",
        simulated=True,
        verified=True,
        drift_stopped=False,
        killed={},
        market={s: Published(state=MarketState.NORMAL, at=AT) for s in ("AAA", "BBB")},
        prices={"AAA": D("60"), "BBB": D("40")},
        priced_at={"AAA": AT, "BBB": AT},
        previous_prices={"AAA": D("66"), "BBB": D("41")},
        volumes={},
        positions={"AAA": D(10_000)},
        cash=D(400_000),
        equity=D(1_000_000),
        valued_at=AT,
        equity_before=D(1_060_000),
        equity_peak=D(1_200_000),
        losing_streak=2,
        closes=(),
        breaks=(),
        working=(),
        orders_this_session=0,
        repeats={},
        features={"prices.close": FeatureAge(known_at=AT, allowed=None)},
        weights={"AAA": 0.6, "BBB": 0.3},
    )
    return replace(base, **changes)


def planned(side=Side.BUY, symbol="BBB", quantity="1000", limit=None, reference=None):
    price = {"AAA": D("60"), "BBB": D("40")}[symbol]
    collar = {Side.BUY: D("1.04"), Side.SELL: D("0.96")}[side]
    return PlannedOrder(
        symbol=symbol,
        side=side,
        quantity=D(quantity),
        order_type=OrderType.MARKET,
        limit_price=D(limit) if limit else price * collar,
        reference_price=D(reference) if reference else price,
        reason="test",
    )


def limits(section: str, **changes) -> Policy:
    changed = msgspec.structs.replace(getattr(POLICY, section), **changes)
    return msgspec.structs.replace(POLICY, **{section: changed})


def failing(order=None, policy=POLICY, **changes) -> list[str]:
    """Names of the checks that block one order, each for a reason and none because it broke."""
    (result,) = judge([order or planned()], context(**changes), policy)
    assert "the check failed" not in result.objections
    return [verdict.check for verdict in result.verdicts if not verdict.passed]


def normal(**known):
    """BBB as published NORMAL just now, with more known of it."""
    return {"BBB": Published(state=MarketState.NORMAL, at=AT, **known)}


WIDE = Bands(D("38"), D("42"))
