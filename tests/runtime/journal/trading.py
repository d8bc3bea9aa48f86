"""Orders, fills and decisions for tests of the journal, with sensible defaults."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np

from runtime.database import reading
from runtime.domain import (
    Fill,
    Order,
    OrderState,
    OrderType,
    PlannedOrder,
    Side,
    Signal,
    TimeInForce,
    Verdict,
    order_id,
)
from runtime.journal.records import DecisionRecord, OrderEvent, PlanLine, decision_id
from runtime.journal.store import Journal

BUNDLE = "b" * 64
START = datetime(2017, 1, 31, 21, tzinfo=UTC)


def buy_or_sell(signed: int) -> Side:
    return Side.BUY if signed > 0 else Side.SELL


def order_state(
    journal: Journal, order_id: str, state: OrderState, at: datetime, note: str = ""
) -> bool:
    """Record one change of an order's state; return whether it was one."""
    event = OrderEvent(order_id=order_id, state=state, at=at, note=note)
    return journal.record_order_states([event]) == 1


def make_fill(
    signed: int,
    price: str,
    fee: str = "0.00",
    *,
    symbol: str = "AAA",
    number: int = 0,
    of: Order | None = None,
    venue: str = "primary",
    at: datetime | None = None,
) -> Fill:
    """A fill of a signed number of units; `number` names it and, unless given, sets its time."""
    return Fill(
        venue=of.venue if of else venue,
        execution_id=f"x{number:06d}",
        order_id=of.order_id if of else f"o{number}",
        symbol=of.symbol if of else symbol,
        side=of.side if of else buy_or_sell(signed),
        quantity=Decimal(abs(signed)),
        price=Decimal(price),
        fee=Decimal(fee),
        executed_at=at or START + timedelta(days=1, seconds=number),
    )


def make_order(
    signed: int = 100,
    symbol: str = "AAA",
    *,
    tick: str = "2017-01-31",
    leg: int = 0,
    venue: str = "primary",
    limit: str = "1000.00",
    bundle: str = BUNDLE,
    created_at: datetime = START,
    time_in_force: TimeInForce = TimeInForce.DAY,
) -> Order:
    return Order(
        order_id=order_id("paper", bundle, tick, symbol, leg),
        bundle=bundle,
        tick=tick,
        symbol=symbol,
        leg=leg,
        venue=venue,
        side=buy_or_sell(signed),
        quantity=Decimal(abs(signed)),
        order_type=OrderType.MARKET,
        limit_price=Decimal(limit),
        time_in_force=time_in_force,
        created_at=created_at,
    )


def make_planned(
    signed: int = 100, symbol: str = "AAA", limit: str = "1000.00", reference: str = "10.00"
) -> PlannedOrder:
    return PlannedOrder(
        symbol=symbol,
        side=buy_or_sell(signed),
        quantity=Decimal(abs(signed)),
        order_type=OrderType.MARKET,
        limit_price=Decimal(limit),
        reference_price=Decimal(reference),
        reason="0 % to 10 %",
    )


def make_decision(
    orders: Sequence[Order] = (),
    tick: str = "2017-01-31",
    *,
    bundle: str = BUNDLE,
    decided_at: datetime = START,
) -> DecisionRecord:
    """A decision over AAA and BBB; AAA's plan lines are the orders, BBB's order is denied."""
    passed = Verdict(check="3 size", passed=True, limit="1000", observed="100", reason="fits")
    failed = msgspec.structs.replace(
        passed, passed=False, observed="5000", reason="above the limit"
    )
    lines = [
        PlanLine(
            order=make_planned(int(order.side.sign * order.quantity), order.symbol),
            verdicts=(passed,),
            route=f"all to {order.venue}",
            order_ids=(order.order_id,),
        )
        for order in orders
    ]
    lines.append(
        PlanLine(order=make_planned(5000, "BBB"), verdicts=(failed,), route="", order_ids=())
    )
    return DecisionRecord(
        decision_id=decision_id("paper", bundle, tick),
        bundle=bundle,
        study="momentum",
        tick=tick,
        decided_at=decided_at,
        known_at=decided_at,
        snapshot_hash="5" * 64,
        policy_hash="9" * 64,
        symbols=("AAA", "BBB"),
        inputs={
            "close": np.array([[1.0, 2.0, 3.5], [4.0, 5.0, 0.1 + 0.2]]),
            "current": np.array([0.0, 0.25]),
        },
        current=(0.0, 0.25),
        scores=(1.5, -0.1 - 0.2),
        weights=(0.75, -0.0),
        signals=(Signal(symbol="AAA", score=1.5, weight=0.75, confidence=1.0),),
        plan=tuple(lines),
        cash=Decimal("1000000.00"),
        equity=Decimal("1000000.00"),
    )


def trial_balance(journal: Journal) -> dict[str, Decimal]:
    """Add up the postings by ledger account, debits positive, straight from the table."""
    with reading(journal.engine) as connection:
        rows = connection.exec_driver_sql("SELECT ledger, amount FROM journal_postings").fetchall()
    totals: dict[str, Decimal] = {}
    for ledger, amount in rows:
        totals[ledger] = totals.get(ledger, Decimal(0)) + Decimal(amount)
    return totals
