"""A plan that is told what is held in whole numbers is the plan that looks at every decimal."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundles.contract import SizingPolicy
from runtime.domain import Fill, Side
from runtime.journal.book import Book
from runtime.plan import make_plan

NAMES = tuple(f"S{number}" for number in range(6))
EQUITY, DAY = Decimal(100_000), date(2020, 3, 31)
# Units held, in 1e-6: whole lots wanted and what lies next to them, odd lots, far too many.
NEAR = st.builds(
    lambda lots, rest: lots * 10**6 + rest,
    st.integers(-3000, 3000),
    st.sampled_from([0, 0, 1, -1, 999_999, 500_000, 10**8, 2**52]),
)


@given(
    held=st.lists(NEAR, min_size=6, max_size=6),
    cents=st.lists(st.integers(100, 50_000), min_size=6, max_size=6),
    off=st.lists(st.sampled_from([0.0, 0.4, -0.6, 1.0, 1.4, None]), min_size=6, max_size=6),
    lot=st.sampled_from([1, 7, 100]),
)
def test_the_plan_is_the_same_whether_counts_are_at_hand_or_not(held, cents, off, lot):
    prices = {name: Decimal(cent) / 100 for name, cent in zip(NAMES, cents, strict=True)}
    positions = {name: Decimal(count).scaleb(-6) for name, count in zip(NAMES, held, strict=True)}
    # Each weight wants about what is held, some more, or nothing at all.
    weights = [
        0.0 if more is None else (count / 1e6 + more * lot) * cent / 100 / float(EQUITY)
        for count, cent, more in zip(held, cents, off, strict=True)
    ]
    found = [
        make_plan(
            np.array(weights),
            NAMES,
            prices=prices,
            positions={name: count for name, count in positions.items() if count},
            equity=EQUITY,
            sizing=SizingPolicy(invested=1.0, lot=lot, minimum_notional="50"),
            day=DAY,
            counts=counts,
        )
        for counts in (None, np.array(held, dtype=np.float64))
    ]
    assert found[0] == found[1]


def test_a_book_counts_what_it_holds_in_the_order_asked_for():
    book = Book()
    book.flow(EQUITY)
    for number, (symbol, side, units) in enumerate(
        [("S1", Side.BUY, "3"), ("S0", Side.SELL, "2.5"), ("S2", Side.BUY, "4")]
    ):
        book.apply(
            Fill(
                venue="v",
                execution_id=str(number),
                order_id="o",
                symbol=symbol,
                side=side,
                quantity=Decimal(units),
                price=Decimal(10),
                fee=Decimal(0),
                executed_at=datetime(2020, 3, 31, 20, tzinfo=UTC),
            )
        )
    assert book.counts(("S2", "S0", "S9", "S1")).tolist() == [4e6, -2.5e6, 0.0, 3e6]
