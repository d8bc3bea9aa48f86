"""A whole routing decision over 10 venues of 5 levels, beside a bare split and a linear program.

The decision: eight checks, the split, the child orders, and the JSON of it all. The checks are
prepared once for a tick, here of a hundred orders, as in the engine. The bare split is the same
heap over the same levels in floats: no check, no words, no record. CPU time of this process, books
rotated, ours and the bare one interleaved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from heapq import heapify, heappop, heapreplace
from statistics import median
from time import process_time_ns

import msgspec
import numpy as np
from scipy.optimize import linprog

from benchmarks.bench_guardrails import context_of, plan_of, wide_policy
from runtime.domain import Order, PlannedOrder
from runtime.guardrails import Context, judge
from runtime.journal.records import PlanLine
from runtime.policies.policy import Policy
from runtime.routing.router import Ladder, child_orders, split

VENUES, LEVELS, ORDERS, ROUNDS = 10, 5, 100, 40
QUANTITY = 1000  # units, about what two or three venues show at their best
AT = datetime(2026, 3, 16, 15, 0, tzinfo=UTC)
P99_US, TIMES_BARE, TIMES_LP = 25.0, 4.0, 50.0

Book = list[Ladder]


@dataclass(frozen=True)
class Level:
    """One level of the bare split."""

    price: float  # USD per unit with the fee
    size: float  # units


def run() -> list[dict[str, object]]:
    """Time decisions on random books and compare their cost with the linear program's."""
    symbols = [f"S{number:04d}" for number in range(ORDERS)]
    plan = [
        msgspec.structs.replace(order, quantity=Decimal(QUANTITY)) for order in plan_of(symbols)
    ]
    rich = Decimal(100_000_000)
    context = replace(context_of(symbols), cash=rich, equity=rich)
    policy = wide_policy()
    random = np.random.default_rng(7)
    books = [_book(random, symbol) for symbol in symbols]
    bare = [[[_level(one, depth) for depth in range(LEVELS)] for one in book] for book in books]
    program = _programs(plan, books)
    ours: list[float] = []
    splits: list[float] = []
    for _ in range(ROUNDS):
        ours += _decisions(plan, books, context, policy)
        splits += _bare_splits(bare, float(QUANTITY))
    mine, theirs, worst = median(ours), median(splits), float(np.quantile(ours, 0.99))
    name = f"routing decision, {VENUES} venues x {LEVELS} levels"
    return [
        _figure(f"{name}, p99", worst, P99_US, "limit"),
        _figure(name, mine, TIMES_BARE * theirs, f"{TIMES_BARE:g} x a bare heap split"),
        _figure(f"{name}, against HiGHS", mine, program / TIMES_LP, "a linear program / 50"),
    ]


def _decisions(
    plan: Sequence[PlannedOrder], books: Sequence[Book], context: Context, policy: Policy
) -> list[float]:
    """Return microseconds of CPU of each decision of a tick; its share of the checks included."""
    started = process_time_ns()
    judged = judge(plan, context, policy)
    checks = (process_time_ns() - started) / len(plan)
    taken = []
    for one, book in zip(judged, books, strict=True):
        started = process_time_ns()
        chosen = split(one.order, book)
        children: tuple[Order, ...] = child_orders(
            chosen, one.order, account="live", bundle="b" * 64, tick="2026-03-16", created_at=AT
        )
        ids = tuple([child.order_id for child in children])
        line = PlanLine(
            order=one.order, verdicts=one.verdicts, route=chosen.explanation, order_ids=ids
        )
        record = msgspec.json.encode((line, children))
        taken.append((process_time_ns() - started + checks) / 1000)
        if not (one.passed and record):
            raise RuntimeError(f"an order of the benchmark was blocked: {one.objections}")
    return taken


def _bare_splits(books: Sequence[Sequence[Sequence[Level]]], asked: float) -> list[float]:
    taken = []
    for book in books:
        started = process_time_ns()
        _bare_split(book, asked)
        taken.append((process_time_ns() - started) / 1000)
    return taken


def _bare_split(book: Sequence[Sequence[Level]], left: float) -> list[tuple[int, float]]:
    heap = [(levels[0].price, venue, 0) for venue, levels in enumerate(book)]
    heapify(heap)
    parts = []
    while heap and left > 0.0:
        _, venue, depth = heap[0]
        part = min(left, book[venue][depth].size)
        parts.append((venue, part))
        left -= part
        if depth + 1 < len(book[venue]):
            heapreplace(heap, (book[venue][depth + 1].price, venue, depth + 1))
        else:
            heappop(heap)
    return parts


def _programs(plan: Sequence[PlannedOrder], books: Sequence[Book]) -> float:
    """Return microseconds of CPU of a linear program, median; ours must cost the same."""
    taken = []
    for order, book in zip(plan, books, strict=True):
        levels = [_level(one, depth) for one in book for depth in range(LEVELS)]
        started = process_time_ns()
        best = linprog(
            [level.price for level in levels],
            A_eq=[[1.0] * len(levels)],
            b_eq=[float(order.quantity)],
            bounds=[(0.0, level.size) for level in levels],
        )
        taken.append((process_time_ns() - started) / 1000)
        cost = float(split(order, book).cost)
        if abs(cost - best.fun) > 1e-6 * cost:
            raise RuntimeError(f"{order.symbol}: the split costs {cost}, the program {best.fun}")
    return median(taken)


def _book(random: np.random.Generator, symbol: str) -> Book:
    """Return what ten venues offer of a symbol, a few cents around 40 USD, below the limit."""
    book = []
    for venue in range(VENUES):
        first = 4000 + int(random.integers(0, 6))
        steps = np.cumsum(random.integers(1, 4, LEVELS))
        sizes = random.integers(1, 9, LEVELS) * 100
        book.append(
            Ladder(
                venue=f"venue{venue}",
                symbol=symbol,
                fee_rate=Decimal(int(random.integers(-2, 4))).scaleb(-4),
                levels=[
                    (Decimal(first + int(step)).scaleb(-2), Decimal(int(size)), venue)
                    for step, size in zip(steps, sizes, strict=True)
                ],
            )
        )
    return book


def _level(ladder: Ladder, depth: int) -> Level:
    price, size, _ = ladder.levels[depth]
    return Level(float(price * (1 + ladder.fee_rate)), float(size))


def _figure(name: str, ours: float, peer: float, peer_name: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": peer / ours,
        "unit": "us",
    }
