"""Late bars, stale features, a graph that fails: waited for, blocked, or refused on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from runtime.engine import fund
from runtime.errors import DecisionInvalid
from runtime.guardrails import MarketState, Published
from tests.fakes.graphs import SYMBOLS
from tests.fakes.market import CAPITAL, XNYS, Bench, SyntheticMarket, open_bench
from tests.runtime.engine.sessions import FRIDAY, MONDAY, run


def test_a_symbol_that_is_not_normal_is_not_traded_and_the_others_are(bench):
    def states(at: datetime):
        halted = {"BBB": Published(state=MarketState.HALTED, at=at)}
        return {s: Published(state=MarketState.NORMAL, at=at) for s in SYMBOLS} | halted

    outcome = run(bench, FRIDAY, engine=bench.changed(market=states))
    assert [line.order.symbol for line in outcome.decision.plan if line.denied] == ["BBB"]
    assert {record.order.symbol for record in bench.desk.journal.orders()} == {"AAA", "CCC", "DDD"}


def dead_feed(bench: Bench):
    """A feed that died on Thursday."""
    return replace(bench.desk.feed, reader=SyntheticMarket(last=date(2017, 1, 5)))


def test_bars_of_an_earlier_session_decide_mark_and_close_nothing(bench):
    outcome = run(bench, FRIDAY, engine=bench.changed(feed=dead_feed(bench)))
    assert (outcome.orders, outcome.equity, outcome.unpriced) == (0, None, SYMBOLS)
    assert outcome.refusal == f"refused: there is no bar of 2017-01-06 for {', '.join(SYMBOLS)}"
    assert bench.desk.journal.last_session() is None
    assert bench.desk.journal.equity_curve() == ()


def test_one_stale_holding_is_enough_to_leave_the_session_open(bench):
    run(bench, FRIDAY, MONDAY)

    class OneLate(type(bench.desk.feed)):
        def bars(self, symbols, at):
            bars = super().bars(symbols, at)
            old = XNYS.session(MONDAY).close
            return [replace(bars[0], event_time=old, known_at=old), *bars[1:]]

    late = OneLate(bench.market, bench.desk.feed.feature)
    outcome = run(bench, date(2017, 1, 10), engine=bench.changed(feed=late))
    assert (outcome.unpriced, outcome.equity) == (SYMBOLS[:1], None)
    assert bench.desk.journal.last_session().day == MONDAY


def test_bars_that_can_still_come_are_waited_for_and_then_decided_on(bench):
    good, session = bench.desk.feed, XNYS.session(FRIDAY)
    bench.desk.clock.advance(session.close)
    waiting = bench.changed(feed=dead_feed(bench)).run_session(session, final=False)
    assert (waiting.decision, waiting.equity) == (None, None)
    outcome = bench.changed(feed=good).run_session(session, final=False)
    assert outcome.orders > 0
    assert bench.desk.journal.last_session().equity == CAPITAL


def test_stale_features_block_every_order(bench):
    market = SyntheticMarket(last=date(2017, 1, 5))
    allowed = {"prices": timedelta(hours=20)}
    outcome = run(bench, FRIDAY, engine=bench.changed(reader=market, freshness=allowed))
    assert (outcome.orders, outcome.denied) == (0, 4)
    failed = {v.check for line in outcome.decision.plan for v in line.verdicts if not v.passed}
    assert failed == {"8 health"}


def test_missing_history_is_a_refusal_on_record_and_the_session_closes(tmp_path):
    bench = open_bench(tmp_path, market=SyntheticMarket(first=date(2017, 1, 4)))
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    outcome = run(bench, FRIDAY)
    assert "5 bars are not known" in outcome.refusal
    (kept,) = bench.desk.journal.decisions()
    assert kept.record.notes == (outcome.refusal,)
    assert bench.desk.journal.last_session().day == FRIDAY
    bench.close()


def test_a_graph_that_fails_is_a_refusal_on_record(bench):
    class Broken:
        def run(self, inputs):
            raise DecisionInvalid("output weight holds a value that is not finite")

    engine = bench.changed(bundle=replace(bench.bundle, session=Broken()))
    assert "not finite" in run(bench, FRIDAY, engine=engine).refusal
    assert bench.desk.journal.orders() == ()
