"""Trades as the journal shows them, each beside the close that its order met."""

from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal

from pipelines.gap import Trade
from runtime.journal.records import FillRecord, OrderRecord, SessionRecord


def trades_of(
    fills: Sequence[FillRecord],
    orders: Sequence[OrderRecord],
    sessions: Sequence[SessionRecord],
) -> tuple[Trade, ...]:
    """Return one trade per fill; the reference is the mark of the session that filled it.

    A fill on a session that was not closed, or of a symbol without a mark, is left out.
    """
    asked = {record.order.order_id: record.order.quantity for record in orders}
    marks = {record.day: record.marks for record in sessions}
    trades = []
    for record in fills:
        fill = record.fill
        day = fill.executed_at.astimezone(UTC).date()
        mark = marks.get(day, {}).get(fill.symbol)
        if mark is None:
            continue
        trades.append(
            Trade(
                symbol=fill.symbol,
                day=day,
                side=fill.side,
                asked=float(asked.get(fill.order_id, fill.quantity)),
                filled=float(fill.quantity),
                reference=float(Decimal(mark)),
                price=float(fill.price),
                fee=float(fill.fee),
            )
        )
    return tuple(trades)
