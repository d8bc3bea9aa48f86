"""What is checked before a record is chained, and the table rows that are derived from it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from runtime.chain import micros
from runtime.domain import Fill, Order, OrderState
from runtime.errors import JournalBroken, OrderInvalid
from runtime.journal.book import Book
from runtime.journal.exact import all_exact, check_units, plain, text
from runtime.journal.lookups import Standing
from runtime.journal.records import DecisionRecord, SessionRecord

_PENDING = OrderState.PENDING.value
_FILLED, _WORKING = OrderState.FILLED, OrderState.WORKING
_micros = lru_cache(maxsize=8)(micros)  # all orders of a tick were created at one instant


def next_state(current: OrderState, recorded: OrderState) -> OrderState:
    """Return where an order stands after a change is recorded: what has ended stays ended."""
    if current.terminal or recorded is OrderState.PENDING:
        return current
    return recorded


def state_after_fill(current: OrderState, filled: Decimal, quantity: Decimal) -> OrderState:
    """Return where an order stands once `filled` of `quantity` units have executed."""
    if filled == quantity:
        return _FILLED
    return current if current.terminal else _WORKING


def state_after_correction(current: OrderState, filled: Decimal, quantity: Decimal) -> OrderState:
    """Return where an order stands once an execution was taken back or replaced.

    What a filled order lacks then is not asked for again: it ends as cancelled.
    """
    if filled == quantity:
        return OrderState.FILLED
    return OrderState.CANCELLED if current is OrderState.FILLED else current


def day_of(fill: Fill) -> str:
    """Return the UTC date of a fill; XNYS and XNSE sessions close on their own UTC date."""
    at = fill.executed_at
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).date().isoformat()


def check_orders(orders: Sequence[Order], record: DecisionRecord) -> None:
    """Refuse orders whose amounts are not exact or that are of another decision; OrderInvalid."""
    amounts = [one.quantity for one in orders] + [one.limit_price for one in orders]
    amounts += [one.stop_price for one in orders if one.stop_price is not None]
    of = {(one.bundle, one.tick) for one in orders}
    if not all_exact(amounts) or not of <= {(record.bundle, record.tick)}:
        for order in orders:
            _check_order(order, record)


def _check_order(order: Order, record: DecisionRecord) -> None:
    check_units(order.quantity, order.symbol, "order quantity")
    check_units(order.limit_price, order.symbol, "limit price")
    if order.stop_price is not None:
        check_units(order.stop_price, order.symbol, "stop price")
    if (order.bundle, order.tick) != (record.bundle, record.tick):
        raise OrderInvalid(
            f"order {order.order_id} is of {order.bundle}/{order.tick}, "
            f"not of decision {record.decision_id}"
        )


def check_fill(fill: Fill, order: Standing, filled: Decimal, account: str) -> None:
    """Refuse a fill that does not fit its order, of which `filled` units have executed.

    Raises:
        OrderInvalid: another account, symbol, side or venue, or more units than were asked for.
    """
    if order.account != account:
        raise OrderInvalid(
            f"execution {fill.execution_id} is of account {order.account}, not of {account}"
        )
    if fill.symbol != order.symbol or fill.side != order.side or fill.venue != order.venue:
        raise OrderInvalid(
            f"execution {fill.execution_id}: {fill.side.value} {fill.symbol} at {fill.venue} does "
            f"not fit order {order.order_id}: {order.side} {order.symbol} at {order.venue}"
        )
    if filled + fill.quantity > order.quantity:
        raise OrderInvalid(
            f"execution {fill.execution_id}: {fill.quantity} on top of {filled} is more than the "
            f"{order.quantity} that order {order.order_id} asked for; ask the venue"
        )


def check_session(record: SessionRecord, book: Book, account: str) -> None:
    """Refuse a session that contradicts the book.

    Raises:
        JournalBroken: cash, positions or equity differ.
        OrderInvalid: another account's session, or a mark is missing.
    """
    if record.account != account:
        raise OrderInvalid(f"session {record.day} is of account {record.account}, not {account}")
    pairs = (
        ("cash", record.cash, book.cash),
        ("positions", {s: q for s, q in record.positions.items() if q}, book.quantities()),
        ("equity", record.equity, book.equity(record.marks)),
    )
    for name, given, kept in pairs:
        if given != kept:
            raise JournalBroken(f"session {record.day}: {name} given {given}, the book says {kept}")


def decision_row(seq: int, record: DecisionRecord, account: str) -> tuple[object, ...]:
    """Return a row of `journal_decisions`."""
    return (
        seq,
        record.decision_id,
        account,
        record.bundle,
        record.tick,
        micros(record.decided_at),
        record.inputs_hash,
    )


def denial_rows(seq: int, record: DecisionRecord) -> list[tuple[object, ...]]:
    """Return the rows of `journal_denials`: the plan's orders that a check refused, and which."""
    refused = [
        (number, line.order.symbol, [one.check for one in line.verdicts if not one.passed])
        for number, line in enumerate(record.plan)
        if not line.order_ids  # what left was refused by nobody
    ]
    return [
        (seq, number, symbol, failed)
        for number, symbol, checks in refused
        if checks
        for failed in sorted(set(checks))
    ]


def order_row(
    seq: int, line: int, order: Order, decision_id: str, account: str
) -> tuple[object, ...]:
    """Return a row of `journal_orders` for an order that was just committed."""
    created = _micros(order.created_at)
    return (
        order.order_id,
        seq,
        account,
        decision_id,
        order.bundle,
        order.tick,
        order.symbol,
        order.leg,
        order.venue,
        str(order.side),
        text(order.quantity),
        str(order.order_type),
        text(order.limit_price),
        str(order.time_in_force),
        created,
        _PENDING,
        "0",
        "",
        created,
        line,
        None if order.stop_price is None else text(order.stop_price),
    )


def fill_row(seq: int, fill: Fill, account: str) -> tuple[Any, ...]:
    """Return a row of `journal_fills`, time and day last; the fill is from `wire.plain_fill`."""
    return (
        seq,
        account,
        fill.venue,
        fill.execution_id,
        fill.order_id,
        fill.symbol,
        str(fill.side),
        plain(fill.quantity),
        plain(fill.price),
        plain(fill.fee),
        micros(fill.executed_at),
        day_of(fill),
    )


def adjustment_row(
    seq: int, account: str, kind: str, name: str, symbol: str, effective: datetime
) -> tuple[object, ...]:
    """Return a row of `journal_adjustments`: an action, a correction, a break or its resolution."""
    return (seq, account, kind, name, symbol, micros(effective))


def posting_rows(
    seq: int, account: str, lines: Sequence[tuple[str, str, str]]
) -> list[tuple[object, ...]]:
    """Return the rows of `journal_postings` of one entry, from its postings as written."""
    return [
        (seq, number, account, ledger, symbol, amount)
        for number, (ledger, symbol, amount) in enumerate(lines)
    ]


def session_row(seq: int, record: SessionRecord) -> tuple[object, ...]:
    """Return a row of `journal_sessions`."""
    return (
        record.account,
        record.day.isoformat(),
        seq,
        text(record.cash),
        text(record.equity),
        record.benchmark_return,
        len(record.breaks),
    )
