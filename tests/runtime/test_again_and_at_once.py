"""A session that is run again, or that another process decides at the same time: one effect."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from runtime.brokers.paper import PaperVenue
from runtime.domain import OrderState
from runtime.engine import fund
from tests.fakes.market import CAPITAL, XNYS, open_bench

FRIDAY, MONDAY = date(2017, 1, 6), date(2017, 1, 9)


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path)
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


def test_who_comes_second_to_a_decision_tells_of_none_and_asks_before_it_sends(bench, monkeypatch):
    journal, placed = bench.desk.journal, []
    record, submit = journal.record_decision, PaperVenue.submit

    def counted(venue, order):
        placed.append(order.order_id)
        return submit(venue, order)

    def beaten(decided, orders, beside):
        """Another process commits and sends between our look and our commit."""
        assert record(decided, orders, beside)
        for order in orders:
            bench.desk.broker(order.venue).submit(order)
        return record(decided, orders, beside)

    monkeypatch.setattr(PaperVenue, "submit", counted)
    monkeypatch.setattr(journal, "record_decision", beaten)
    session = XNYS.session(FRIDAY)
    bench.desk.clock.advance(session.close)
    outcome = bench.engine().run_session(session)
    assert (outcome.decision, outcome.orders) == (None, 0)
    assert sorted(placed) == sorted(one.order.order_id for one in journal.orders())
    assert {one.state for one in journal.orders()} == {OrderState.WORKING}


def test_a_session_that_is_closed_moves_neither_books_nor_benchmark_nor_seats(bench):
    watched = []
    engine = bench.changed(watch=lambda day, *_: watched.append(day) or "")
    for day in (FRIDAY, MONDAY):
        bench.desk.clock.advance(XNYS.session(day).close)
        engine.run_session(XNYS.session(day))
    history, head = engine.history, bench.desk.journal.head()
    before = (history.benchmark.equity, history.peak, tuple(history.closes), history.last_day)
    bench.desk.clock.advance(XNYS.session(MONDAY).close + timedelta(minutes=1))
    assert engine.run_session(XNYS.session(FRIDAY)).benchmark_return is None
    after = (history.benchmark.equity, history.peak, tuple(history.closes), history.last_day)
    assert (after, bench.desk.journal.head()) == (before, head)
    assert watched == [FRIDAY, MONDAY]
