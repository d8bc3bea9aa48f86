"""Replays: the journal's head is a pure function of the inputs, however the years are cut."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.benchmark import EqualWeighted
from runtime.bundles.contract import SizingPolicy
from runtime.clock import ReplayClock, WallClock
from runtime.errors import ReplayImpossible
from runtime.replay import replay
from tests.fakes.market import XNYS, SyntheticMarket, open_bench

START, END = date(2017, 1, 3), date(2017, 4, 28)
DAYS = [session.day for session in XNYS.sessions(START, END)]


class Stopped(Exception):
    pass


def whole(folder: Path, **options):
    bench = open_bench(folder, **options)
    try:
        return replay(bench.engine(), XNYS, START, END)
    finally:
        bench.close()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return whole(tmp_path_factory.mktemp("whole"))


def test_a_replay_counts_what_the_journal_holds(tmp_path):
    told = []
    bench = open_bench(tmp_path)
    result = replay(bench.engine(), XNYS, START, END, told.append)
    assert [outcome.day for outcome in told] == DAYS
    assert result.sessions == len(DAYS) == 81
    assert result.decisions == 17  # week ends from 2017-01-06 to 2017-04-28
    assert result.orders == sum(outcome.orders for outcome in told)
    assert result.fills == sum(outcome.fills for outcome in told)
    assert result.fills == result.orders - told[-1].orders  # the last ones would fill on May 1
    assert result.breaks == 0
    assert result.journal_head == bench.desk.journal.verify().hash
    bench.close()


def test_the_same_replay_twice_ends_in_the_same_head(tmp_path, expected):
    assert whole(tmp_path) == expected


def test_other_prices_end_in_another_head(tmp_path, expected):
    other = whole(tmp_path, market=SyntheticMarket(seed=8))
    assert other.journal_head != expected.journal_head


@settings(max_examples=6)
@given(stops=st.lists(st.integers(1, len(DAYS) - 1), max_size=4))
def test_stopping_anywhere_and_going_on_changes_nothing(tmp_path_factory, expected, stops):
    folder = tmp_path_factory.mktemp("stopped")
    for stop in sorted(set(stops)):

        def stop_there(outcome, day=DAYS[stop]):
            if outcome.day >= day:
                raise Stopped

        bench = open_bench(folder)
        with pytest.raises(Stopped):
            replay(bench.engine(), XNYS, START, END, stop_there)
        bench.close()
    assert whole(folder) == expected


def test_a_replay_of_a_finished_range_does_nothing(tmp_path, expected):
    whole(tmp_path)
    bench, told = open_bench(tmp_path), []
    assert replay(bench.engine(), XNYS, START, END, told.append) == expected
    assert told == []
    bench.close()


def test_a_longer_range_goes_on_where_the_shorter_one_ended(tmp_path, expected):
    bench = open_bench(tmp_path)
    replay(bench.engine(), XNYS, START, DAYS[30])
    bench.close()
    assert whole(tmp_path) == expected


def test_a_replay_needs_sessions_and_a_clock_that_can_be_moved(tmp_path):
    bench = open_bench(tmp_path)
    with pytest.raises(ReplayImpossible, match="no session"):
        replay(bench.engine(), XNYS, date(2017, 1, 1), date(2017, 1, 2))
    wall = bench.changed(clock=WallClock())
    with pytest.raises(ReplayImpossible, match="ReplayClock"):
        replay(wall, XNYS, START, END)
    bench.close()


def test_postgresql_and_sqlite_come_to_the_same_head(tmp_path, database_url, expected):
    assert whole(tmp_path, database_url=database_url) == expected


def test_the_books_end_where_a_float_backtest_ends(tmp_path):
    """Independent oracle: fractional units, one price, 5 bp, written in eight lines of NumPy."""
    bench = open_bench(tmp_path)
    replay(bench.engine(), XNYS, START, END)
    closes = {
        session.day: bench.market.closes[:, index]
        for index, session in enumerate(bench.market.sessions)
    }
    decisions = {one.record.tick: one.record for one in bench.desk.journal.decisions(limit=100)}
    cash, units, wanted = 1_000_000.0, np.zeros(4), None
    for day in DAYS:
        if wanted is not None:
            traded = (wanted - units) * closes[day]
            cash -= traded.sum() + 0.0005 * np.abs(traded).sum()
            units, wanted = wanted, None
        equity = cash + (units * closes[day]).sum()
        if day.isoformat() in decisions:
            weights = np.array(decisions[day.isoformat()].weights)
            wanted = weights * 0.98 * equity / closes[day]
    last = bench.desk.journal.last_session()
    assert float(last.equity) == pytest.approx(equity, rel=3e-4)  # whole lots, two venues
    bench.close()


def test_the_benchmark_buys_alike_on_the_next_bar_and_pays_for_it():
    sizing = SizingPolicy(invested=1.0, cost_rate=0.01)
    benchmark = EqualWeighted(("A", "B"), sizing)
    steps = [
        benchmark.step({"A": Decimal(a), "B": Decimal(b)}, decides=decides)
        for a, b, decides in [(10, 10, True), (10, 20, False), (20, 20, False)]
    ]
    # 0.05 units of each asked at 10; filled at 10 and 20: 1.5 spent, 0.015 costs; then A doubles.
    assert steps[0] == 0.0
    assert steps[1] == pytest.approx(-0.015)
    assert benchmark.equity == pytest.approx(1 - 1.5 - 0.015 + 0.05 * 40)


def test_the_replay_clock_stands_at_each_close(tmp_path):
    bench, seen = open_bench(tmp_path), []
    clock = bench.desk.clock
    assert isinstance(clock, ReplayClock)
    replay(bench.engine(), XNYS, START, DAYS[3], lambda outcome: seen.append(clock.now()))
    assert seen == [XNYS.session(day).close for day in DAYS[:4]]
    records = bench.desk.journal.sessions()
    assert [record.closed_at for record in records] == seen
    bench.close()
