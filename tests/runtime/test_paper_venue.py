"""The paper venue's own arithmetic, its memory, and its agreement with our books to 0.00."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue, VenueTerms
from runtime.database import open_database
from runtime.domain import Bar, OrderState, TimeInForce
from runtime.errors import DatabaseUnavailable, OrderInvalid
from runtime.journal.reconcile import BreakClass, reconcile
from runtime.journal.store import Journal
from tests.runtime.journal.trading import START, make_decision, make_order

NEXT = datetime(2017, 2, 1, 21, tzinfo=UTC)


def bar(close: str, symbol: str = "AAA", at: datetime = NEXT) -> Bar:
    return Bar(symbol=symbol, close=Decimal(close), event_time=at, known_at=at)


@pytest.fixture
def venue(tmp_path):
    opened = PaperVenue(tmp_path / "primary.db", PRIMARY)
    yield opened
    opened.close()


def test_price_is_the_close_moved_by_half_the_spread_and_fee_is_rounded_half_up(venue):
    venue.submit(make_order(100))
    venue.submit(make_order(-100, leg=1, limit="1"))
    venue.on_bars([bar("33.333333")], NEXT)
    bought, sold = (fill for _, fill in venue.executions(0))
    # 33.333333 * (1 +- 0.00025) = 33.34166633325, 33.32499966675; fee 0.83354, 0.83312
    assert (bought.price, bought.fee) == (Decimal("33.341666"), Decimal("0.83"))
    assert (sold.price, sold.fee) == (Decimal("33.325000"), Decimal("0.83"))
    # -3334.1666 - 0.83 = -3334.9966 -> -3335.00; 3332.50 - 0.83 = 3331.67
    assert venue.statement(NEXT.date()).cash_flow == Decimal("-3335.00") + Decimal("3331.67")


def test_a_half_cent_fee_rounds_up(tmp_path):
    terms = VenueTerms(
        name="primary", half_spread=Decimal(0), fee_rate=Decimal("0.0005"), depth=Decimal(10)
    )
    venue = PaperVenue(tmp_path / "v.db", terms)
    venue.submit(make_order(1))
    venue.on_bars([bar("10.00")], NEXT)  # 0.0005 * 10 = 0.005
    assert venue.executions(0)[0][1].fee == Decimal("0.01")


def test_execution_ids_are_a_function_of_order_and_bar(tmp_path):
    names = []
    for number in range(2):
        venue = PaperVenue(tmp_path / f"{number}.db", PRIMARY)
        venue.submit(make_order())
        venue.on_bars([bar("10")], NEXT)
        names.append(venue.executions(0)[0][1].execution_id)
        venue.close()
    assert names[0] == names[1]
    assert len(names[0]) == 24


def test_the_size_shown_follows_the_price_and_a_larger_order_still_executes_whole(venue):
    venue.on_bars([bar("300", at=START)], START)
    assert venue.quote("AAA", START).size == 333  # 100000 / 300, whole units
    venue.submit(make_order(5000))
    venue.on_bars([bar("300")], NEXT)
    assert venue.executions(0)[0][1].quantity == 5000


def test_a_symbol_without_a_new_bar_lets_its_day_order_expire(venue):
    venue.submit(make_order(10, "AAA"))
    venue.submit(make_order(10, "BBB"))
    venue.on_bars([bar("10", "AAA"), bar("10", "BBB", START)], NEXT)
    assert venue.find(make_order(10, "AAA").order_id) is OrderState.FILLED
    assert venue.find(make_order(10, "BBB").order_id) is OrderState.EXPIRED


def test_an_immediate_order_that_misses_is_cancelled_and_not_expired(venue):
    order = make_order(10, limit="9", time_in_force=TimeInForce.IOC)
    venue.submit(order)
    venue.on_bars([bar("10")], NEXT)
    assert venue.find(order.order_id) is OrderState.CANCELLED


def test_orders_of_a_session_that_went_by_unseen_end_and_younger_ones_work_on(venue):
    old, quick = make_order(10, "AAA"), make_order(10, "BBB", time_in_force=TimeInForce.IOC)
    young = make_order(10, "CCC", created_at=NEXT)
    for order in (old, quick, young):
        venue.submit(order)
    venue.expire_before(NEXT)
    states = [venue.find(order.order_id) for order in (old, quick, young)]
    assert states == [OrderState.EXPIRED, OrderState.CANCELLED, OrderState.WORKING]


def test_an_order_created_after_the_bar_waits_for_the_next_one(venue):
    late = make_order(10, created_at=NEXT)
    venue.submit(late)
    venue.on_bars([bar("10")], NEXT)
    assert venue.find(late.order_id) is OrderState.WORKING
    after = NEXT + timedelta(days=1)
    assert venue.on_bars([bar("10", at=after)], after) == 1


def test_a_bar_from_the_future_or_without_a_price_is_refused(venue):
    with pytest.raises(OrderInvalid, match="not known or not valid"):
        venue.on_bars([bar("10")], START)
    with pytest.raises(OrderInvalid, match="not known or not valid"):
        venue.on_bars([bar("0")], NEXT)


def test_a_venue_opened_again_remembers_orders_executions_and_positions(tmp_path):
    path = tmp_path / "v.db"
    first = PaperVenue(path, PRIMARY)
    first.submit(make_order(10))
    first.close()
    second = PaperVenue(path, PRIMARY)
    second.on_bars([bar("10")], NEXT)
    second.close()
    third = PaperVenue(path, PRIMARY)
    assert third.find(make_order(10).order_id) is OrderState.FILLED
    assert third.statement(NEXT.date()).positions == {"AAA": 10}
    assert third.executions(third.executions(0)[-1][0]) == []


def test_a_record_that_does_not_open_is_refused_with_its_path(tmp_path):
    with pytest.raises(DatabaseUnavailable, match="does the folder exist"):
        PaperVenue(tmp_path / "nowhere" / "v.db", PRIMARY)


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.integers(-500, 500).filter(bool),
            st.decimals("0.01", "2000", places=6),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_two_books_that_compute_apart_reconcile_to_the_cent_every_session(
    tmp_path_factory, trading
):
    folder = tmp_path_factory.mktemp("reconcile")
    journal = Journal(open_database(f"sqlite:///{folder / 'runtime.db'}"))
    venues = [PaperVenue(folder / f"{one.name}.db", one) for one in (PRIMARY, ALTERNATE)]
    for number, (signed, close, first) in enumerate(trading):
        opened = START + timedelta(days=number)
        venue = venues[0 if first else 1]
        limit = "100000" if signed > 0 else "0.000001"
        tick = opened.date().isoformat()
        order = make_order(signed, venue=venue.name, tick=tick, created_at=opened, limit=limit)
        journal.record_decision(make_decision([order], tick, decided_at=opened), [order])
        venue.submit(order)
        closed = opened + timedelta(days=1)
        for one in venues:
            one.on_bars([bar(str(close), at=closed)], closed)
            journal.record_fills([fill for _, fill in one.executions(0)])
            ours = journal.statement(one.name, closed.date())
            assert reconcile(ours, one.statement(closed.date())) == ()
    assert journal.counts()["fills"] == len(trading)
    journal.verify()
    journal.engine.dispose()
    for one in venues:
        one.close()


def test_an_execution_that_never_reached_the_journal_breaks_the_reconciliation(venue, tmp_path):
    journal = Journal(open_database(f"sqlite:///{tmp_path / 'runtime.db'}"))
    order = make_order(10)
    journal.record_decision(make_decision([order]), [order])
    venue.submit(order)
    venue.on_bars([bar("10")], NEXT)
    theirs = venue.statement(NEXT.date())
    found = {one.kind for one in reconcile(journal.statement("primary", NEXT.date()), theirs)}
    assert found == {BreakClass.MISSING_HERE, BreakClass.POSITION, BreakClass.CASH}
    journal.record_fills(theirs.fills)
    assert reconcile(journal.statement("primary", NEXT.date()), theirs) == ()
    journal.engine.dispose()


_VICTIM = """
import sys
from pathlib import Path
from runtime.brokers.paper import PRIMARY, PaperVenue
from tests.runtime.journal.trading import make_order
venue = PaperVenue(Path(sys.argv[1]), PRIMARY)
for number in range(100_000):
    order = make_order(1, leg=number)
    venue.submit(order)
    print(order.order_id, flush=True)
"""


@pytest.mark.parametrize("after", [3, 40])
def test_a_killed_process_loses_no_order_the_venue_had_acknowledged(tmp_path: Path, after: int):
    path = tmp_path / "v.db"
    root = Path(__file__).parents[2]
    victim = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert victim.stdout is not None
    told = [victim.stdout.readline().strip() for _ in range(after)]
    time.sleep(0.01 * after / 10)
    victim.send_signal(signal.SIGKILL)
    told += [line.strip() for line in victim.stdout if line.endswith("\n")]
    victim.wait()
    venue = PaperVenue(path, PRIMARY)
    assert all(venue.find(name) is OrderState.WORKING for name in told)
    filled = venue.on_bars([bar("10")], NEXT)
    assert len(told) <= filled <= len(told) + 1
    assert replace(venue.statement(NEXT.date()), fills=()).positions == {"AAA": filled}
