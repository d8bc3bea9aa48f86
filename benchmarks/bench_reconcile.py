"""A day's reconciliation with a venue, beside the same comparison in plain Decimal arithmetic.

Two statements of the same executions, each made by itself, so that nothing is equal because it is
one object. Ours is `reconcile`, as every start and every close runs it. The peer matches execution
by execution, compares every term and adds up what each side says was paid, in Decimals to the cent.
On the day that agrees both must find a difference of exactly 0; on the day that does not, ours must
find each difference that was put in, and nothing else. CPU time of this process, both in turn.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from statistics import median
from time import process_time

from msgspec.structs import replace as changed

from runtime.domain import Fill, Side
from runtime.journal.book import Book
from runtime.journal.reconcile import reconcile
from runtime.ports import Statement

FILLS, ROUNDS, WRONG = 20_000, 9, 200
TIMES = 8.0
DAY = date(2017, 1, 31)
CENT = Decimal("0.01")


def run() -> list[dict[str, object]]:
    """Return the figures of a day that agrees and of one that does not."""
    ours, theirs = _statement(_fills()), _statement(_fills())
    wrong = list(theirs.fills)
    for place in range(0, FILLS, FILLS // WRONG):
        wrong[place] = changed(wrong[place], price=wrong[place].price + CENT)
    differs = replace(theirs, fills=tuple(wrong))
    if reconcile(ours, theirs) or _decimals(ours, theirs) != 0:
        raise RuntimeError("two statements of the same executions differ")
    found = reconcile(ours, differs)
    if len(found) != WRONG or {one.kind.value for one in found} != {"price"}:
        raise RuntimeError(f"{WRONG} prices differ, {len(found)} breaks were found")
    figures = []
    for name, other in (("that agree", theirs), (f"of which {WRONG} differ", differs)):
        mine, peer = [], []
        for _ in range(ROUNDS):
            mine.append(_micros(lambda other=other: reconcile(ours, other)))  # type: ignore[misc]
            peer.append(_micros(lambda other=other: _decimals(ours, other)))  # type: ignore[misc]
        limit = median(peer) / TIMES
        figures.append(
            {
                "name": f"reconciliation of {FILLS} executions {name}, per execution",
                "ours": median(mine),
                "peer": limit,
                "peer_name": f"the same comparison in Decimals / {TIMES:g}",
                "ratio": limit / median(mine),
                "unit": "us",
            }
        )
    return figures


def _micros(work: Callable[[], object]) -> float:
    """Return microseconds of CPU per execution."""
    started = process_time()
    work()
    return (process_time() - started) / FILLS * 1e6


def _decimals(ours: Statement, theirs: Statement) -> Decimal:
    """Return what the venue claims beyond us, USD, adding up every execution of both sides."""
    there = {fill.execution_id: fill for fill in theirs.fills}
    claimed = Decimal("0.00")
    for mine in ours.fills:
        yours = there.pop(mine.execution_id)
        if _terms(mine) == _terms(yours) or mine.price != yours.price:
            claimed += _paid(mine) - _paid(yours)
    return claimed


def _terms(fill: Fill) -> tuple[object, ...]:
    return (
        fill.order_id,
        fill.symbol,
        fill.side,
        fill.quantity,
        fill.price,
        fill.fee,
        fill.executed_at,
    )


def _paid(fill: Fill) -> Decimal:
    """Return what an execution cost, USD, whole cents."""
    exact = fill.side.sign * fill.quantity * fill.price + fill.fee
    return exact.quantize(CENT, ROUND_HALF_UP)


def _fills() -> list[Fill]:
    return [
        Fill(
            venue="primary",
            execution_id=f"{number:024x}",
            order_id=f"{number // 2:024x}",
            symbol=f"S{number % 50:04d}",
            side=Side.SELL if number % 3 else Side.BUY,
            quantity=Decimal(10 + number % 90),
            price=Decimal(100_000 + number % 9_973).scaleb(-4),
            fee=Decimal(35 + number % 7).scaleb(-2),
            executed_at=datetime(2017, 1, 31, 21, 0, number % 60, tzinfo=UTC),
        )
        for number in range(FILLS)
    ]


def _statement(fills: list[Fill]) -> Statement:
    """Return a day's statement, its cash and units from the books, in integers."""
    book = Book()
    for fill in fills:
        book.apply(fill)
    return Statement(
        venue="primary",
        day=DAY,
        positions=book.quantities(),
        cash_flow=book.cash,
        fills=tuple(fills),
    )


if __name__ == "__main__":
    for figure in run():
        print(figure)
