"""One session of the engine: its steps, its refusals, and what happens when a venue goes silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import msgspec
import numpy as np
import pytest

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.clock import ReplayClock
from runtime.domain import Bar, Fill, OrderState, Side
from runtime.engine import Engine, fund
from runtime.errors import DecisionInvalid, FeedInvalid, PolicyInvalid, VenueUnknownOutcome
from runtime.execution.venues import Venues
from runtime.guardrails import MarketState, Published
from runtime.policies.policy import default_policy
from tests.fakes.graphs import SYMBOLS, tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, Bench, SyntheticMarket, open_bench
from tests.fakes.misbehaving import MisbehavingBroker
from tests.runtime.journal.trading import make_decision, make_order, order_state

FRIDAY, MONDAY = date(2017, 1, 6), date(2017, 1, 9)  # week_end: Friday decides, Monday fills


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path)
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


def run(bench: Bench, *days: date, engine: Engine | None = None):
    """Run sessions at their closes and return the last outcome."""
    engine = engine or bench.engine()
    for day in days:
        session = XNYS.session(day)
        clock = bench.desk.clock
        assert isinstance(clock, ReplayClock)
        clock.advance(session.close)
        outcome = engine.run_session(session)
    return outcome


def test_a_session_that_is_not_due_only_marks_and_closes(bench):
    outcome = run(bench, date(2017, 1, 5))
    assert (outcome.decision, outcome.orders, outcome.fills) == (None, 0, 0)
    last = bench.desk.journal.last_session()
    assert (last.day, last.equity, last.breaks) == (date(2017, 1, 5), CAPITAL, ())


def test_a_tick_decides_commits_and_sends_and_the_next_session_fills(bench):
    journal = bench.desk.journal
    decided = run(bench, FRIDAY)
    record = journal.decision(decided.decision.decision_id).record
    assert record.tick == "2017-01-06"
    assert record.policy_hash == default_policy().hash
    assert record.inputs["prices"].shape == (4, 5)
    assert [len(line.verdicts) for line in record.plan] == [8] * 4
    assert all(line.route and line.order_ids for line in record.plan)
    orders = journal.orders(record.decision_id)
    assert decided.orders == len(orders) >= 4
    assert {order.state for order in orders} == {OrderState.WORKING}

    filled = run(bench, MONDAY)
    assert filled.fills == len(orders)
    assert {o.state for o in journal.orders(record.decision_id)} == {OrderState.FILLED}
    close = XNYS.session(MONDAY).close
    assert {one.fill.executed_at for one in journal.fills()} == {close}
    last = journal.last_session()
    invested = last.equity - last.cash
    # the graph asks for 0.9, the sizing policy invests 0.98 of it
    assert Decimal("0.87") < invested / last.equity < Decimal("0.89")


def test_how_often_orders_were_repeated_is_handed_out_as_it_stood_then(bench):
    history = bench.engine().history
    decided = run(bench, FRIDAY).decision
    before = history.repeats()
    history.decided(decided)
    once = history.repeats()
    for _ in range(12):
        history.decided(decided)
    assert (len(before), set(once.values()), set(history.repeats().values())) == (0, {1}, {10})
    with pytest.raises(TypeError):
        once[next(iter(once))] = 7


@dataclass
class Ticking(ReplayClock):
    """A clock on which time goes by: every look at it is seven milliseconds later."""

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=7)
        return self.at


def test_an_acknowledgement_carries_the_time_it_came_so_that_latency_can_be_measured(bench):
    session = XNYS.session(FRIDAY)
    engine = bench.changed(clock=Ticking(session.close))
    outcome = engine.run_session(session)
    journal = bench.desk.journal
    decided = journal.decision(outcome.decision.decision_id).record.decided_at
    waited = [
        (event.at - decided) / timedelta(milliseconds=1)
        for record in journal.orders()
        for event in journal.order_events(record.order.order_id)
        if event.state is OrderState.WORKING
    ]
    assert len(waited) == outcome.orders
    assert min(waited) >= 7.0
    assert len(set(waited)) == len(waited), "orders are sent one after another"


def test_the_graph_sees_exactly_what_was_known_at_the_close(bench):
    outcome = run(bench, FRIDAY)
    market = bench.market
    last = [session.day for session in market.sessions].index(FRIDAY)
    expected = market.closes[:, last - 4 : last + 1]
    np.testing.assert_array_equal(outcome.decision.inputs["prices"], expected)
    assert outcome.decision.current == (0.0,) * 4
    assert outcome.decision.known_at == XNYS.session(FRIDAY).close


def test_a_tick_runs_again_without_any_effect(bench):
    run(bench, FRIDAY, MONDAY)
    head = bench.desk.journal.head()
    session = XNYS.session(MONDAY)
    for engine in (bench.engine(), bench.engine()):
        outcome = engine.run_session(session)
        assert (outcome.decision, outcome.orders, outcome.fills) == (None, 0, 0)
    assert bench.desk.journal.head() == head


def test_the_account_never_trades_before_it_is_funded(tmp_path):
    bench = open_bench(tmp_path)
    outcome = run(bench, FRIDAY)
    assert "equity" in outcome.refusal
    assert bench.desk.journal.orders() == ()
    bench.close()


def test_a_kill_engaged_overnight_cancels_working_orders_before_the_next_bar_and_blocks_new_ones(
    bench,
):
    run(bench, FRIDAY)
    (bench.folder / "kill" / "all").touch()
    assert run(bench, MONDAY).fills == 0
    journal = bench.desk.journal
    assert {o.state for o in journal.orders()} == {OrderState.CANCELLED}
    assert all("kill switch all" in order.note for order in journal.orders())
    assert journal.book().positions() == {}
    week = [session.day for session in XNYS.sessions(date(2017, 1, 10), date(2017, 1, 13))]
    outcome = run(bench, *week)
    assert outcome.orders == 0
    assert outcome.denied == len(outcome.decision.plan) > 0
    assert "all on" in outcome.decision.plan[0].verdicts[0].observed


def test_a_kill_cancels_though_the_feed_is_down(bench):
    run(bench, FRIDAY)
    bench.desk.kill.engage("all", "feed is gone")

    class Gone(type(bench.desk.feed)):
        def bars(self, symbols, at):
            raise FeedInvalid("nobody answers")

    with pytest.raises(FeedInvalid):
        run(bench, MONDAY, engine=bench.changed(feed=Gone(bench.market, "prices.close")))
    assert {o.state for o in bench.desk.journal.orders()} == {OrderState.CANCELLED}


def test_a_kill_of_one_symbol_cancels_its_orders_and_lets_the_others_fill(bench):
    run(bench, FRIDAY)
    bench.desk.kill.engage("symbol.BBB", "odd prints")
    run(bench, MONDAY)
    ended = {o.order.symbol: o.state for o in bench.desk.journal.orders()}
    assert ended == dict.fromkeys(SYMBOLS, OrderState.FILLED) | {"BBB": OrderState.CANCELLED}


def test_working_orders_are_cancelled_before_the_next_bar_when_the_kill_is_on(bench):
    engine = bench.engine()
    run(bench, FRIDAY, engine=engine)
    bench.desk.kill.engage("study.tilt", "looks wrong")
    session = XNYS.session(FRIDAY)
    engine.venues.settle(session.close, FRIDAY)  # what a live operator triggers the same evening
    assert {o.state for o in bench.desk.journal.orders()} == {OrderState.CANCELLED}
    assert "looks wrong" in bench.desk.journal.orders()[0].note
    assert run(bench, MONDAY, engine=engine).fills == 0


def test_intents_are_denied_if_the_kill_comes_between_commit_and_send(bench):
    kill = bench.desk.kill

    class KillsWhenAsked(PaperVenue):
        def quote(self, symbol, at):
            if "all" not in kill.engaged():
                kill.engage("all", "in between")
            return super().quote(symbol, at)

    venue = KillsWhenAsked(bench.folder / "venues" / "late.db", PRIMARY)
    engine = bench.changed(brokers=(venue,))
    run(bench, FRIDAY, engine=engine)
    orders = bench.desk.journal.orders()
    assert orders
    assert {order.state for order in orders} == {OrderState.DENIED}
    assert all(venue.find(order.order.order_id) is None for order in orders)


def test_an_unapproved_bundle_decides_but_sends_nothing(tmp_path):
    bench = open_bench(tmp_path, approved=lambda: "f" * 64)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    outcome = run(bench, FRIDAY)
    assert (outcome.orders, outcome.denied) == (0, 4)
    assert {line.verdicts[0].check for line in outcome.decision.plan} == {"1 authority"}
    assert not any(line.verdicts[0].passed for line in outcome.decision.plan)
    bench.close()


def test_orders_that_another_bundle_sent_in_this_session_count_against_its_limit(bench):
    """A new bundle takes over between the commit of a tick and the session's close."""
    journal, tick = bench.desk.journal, FRIDAY.isoformat()
    earlier = [make_order(10, name, tick=tick, leg=leg) for name in "ABC" for leg in range(2)]
    journal.record_decision(make_decision(earlier, tick), earlier)
    at = XNYS.session(FRIDAY).open
    for order in earlier:
        order_state(journal, order.order_id, OrderState.REJECTED, at)
    assert journal.sent_at(tick) == 3  # two legs are one order

    def limited(most: int):
        policy = default_policy()
        rate = msgspec.structs.replace(policy.rate, max_orders_per_session=most)
        return msgspec.structs.replace(policy, rate=rate)

    outcome = run(bench, FRIDAY, engine=bench.changed(policy=limited(5)))
    denied = [line for line in outcome.decision.plan if line.denied]
    assert len(outcome.decision.plan) - len(denied) == 2
    failed = {verdict.check for line in denied for verdict in line.verdicts if not verdict.passed}
    assert failed == {"7 rate"}


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


class DiesBeforeSending(Venues):
    def send(self, fresh, at, day):
        raise KeyboardInterrupt


def test_a_decision_by_another_process_is_kept_and_its_intents_are_sent(bench):
    """A process died between commit and send: the next one asks, then sends under the same ids."""
    session = XNYS.session(FRIDAY)
    bench.desk.clock.advance(session.close)
    dying = bench.engine()
    dying.venues = DiesBeforeSending(bench.desk)
    with pytest.raises(KeyboardInterrupt):
        dying.run_session(session)
    journal = bench.desk.journal
    pending = journal.orders()
    assert {record.state for record in pending} == {OrderState.PENDING}
    assert journal.last_session() is None

    outcome = bench.engine().run_session(session)
    assert outcome.decision is None
    assert [r.order for r in journal.orders()] == [r.order for r in pending]
    assert {record.state for record in journal.orders()} == {OrderState.WORKING}
    assert journal.last_session().day == FRIDAY
    assert run(bench, MONDAY).fills == len(pending)


def test_intents_found_after_the_next_open_are_not_sent(bench):
    session = XNYS.session(FRIDAY)
    bench.desk.clock.advance(session.close)
    dying = bench.engine()
    dying.venues = DiesBeforeSending(bench.desk)
    with pytest.raises(KeyboardInterrupt):
        dying.run_session(session)
    bench.desk.clock.advance(XNYS.session(MONDAY).open)
    bench.engine().venues.send((), bench.desk.clock.now(), FRIDAY)
    assert {o.state for o in bench.desk.journal.orders()} == {OrderState.EXPIRED}
    run(bench, MONDAY)
    assert bench.desk.journal.fills() == ()


class Silent(PaperVenue):
    """Takes orders or not, and answers nothing while `silent`."""

    silent = True
    takes = True

    def submit(self, order):
        if self.takes:
            super().submit(order)
        raise VenueUnknownOutcome(f"{self.name}: no answer")

    def find(self, order_id):
        if self.silent:
            raise VenueUnknownOutcome(f"{self.name}: no answer")
        return super().find(order_id)


@pytest.mark.parametrize("takes", [True, False])
def test_a_silent_venue_leaves_orders_unknown_until_it_can_be_asked(bench, takes):
    venue = Silent(bench.folder / "venues" / "silent.db", PRIMARY)
    venue.takes = takes
    engine = bench.changed(brokers=(venue,))
    run(bench, FRIDAY, engine=engine)
    orders = bench.desk.journal.orders()
    assert {order.state for order in orders} == {OrderState.UNKNOWN}
    venue.silent = False
    fills = run(bench, MONDAY, engine=engine).fills
    states = {order.state for order in bench.desk.journal.orders()}
    assert (fills, states) == ((4, {OrderState.FILLED}) if takes else (0, {OrderState.EXPIRED}))


class Misbehaving(MisbehavingBroker):
    """The misbehaving broker around a paper venue, which still hears bars."""

    def expire_before(self, opened: datetime) -> None:
        assert isinstance(self._broker, PaperVenue)
        self._broker.expire_before(opened)

    def on_bars(self, bars: Sequence[Bar], at: datetime) -> int:
        assert isinstance(self._broker, PaperVenue)
        return self._broker.on_bars(bars, at)


def test_a_venue_that_loses_a_third_of_its_answers_changes_nothing_in_the_books(tmp_path):
    days = [session.day for session in XNYS.sessions(date(2017, 1, 3), date(2017, 3, 31))]
    books, sent = [], []
    for name, loses in (("good", 0.0), ("bad", 0.35)):
        manifest = tilt_manifest(schedule="daily")
        bench = open_bench(tmp_path / name, manifest=manifest)
        fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
        brokers = tuple(
            Misbehaving(broker, Random(number), loses=loses)
            for number, broker in enumerate(bench.desk.brokers)
        )
        run(bench, *days, engine=bench.changed(brokers=brokers))
        journal = bench.desk.journal
        last = journal.last_session()
        fills = sorted((f.fill.venue, f.fill.execution_id) for f in journal.fills())
        books.append((last.cash, last.positions, fills))
        assert all(record.breaks == () for record in journal.sessions())
        assert max(Counter(fills).values()) == 1
        sent.append(sum(broker.lost for broker in brokers))
        bench.close()
    assert books[0] == books[1]
    assert sent[0] == 0 < sent[1]


def test_an_execution_nobody_ordered_is_a_break_and_blocks_new_risk(bench):
    engine = bench.engine()
    run(bench, FRIDAY, MONDAY, engine=engine)
    venue = bench.desk.brokers[0]
    executions = venue.executions

    def with_a_foreign_one(after):
        number = 1_000_000
        foreign = Fill(
            venue=venue.name,
            execution_id="foreign",
            order_id="nobody",
            symbol="AAA",
            side=Side.BUY,
            quantity=Decimal(1),
            price=Decimal(50),
            fee=Decimal(0),
            executed_at=XNYS.session(date(2017, 1, 10)).close,
        )
        return [*executions(after), (number, foreign)]

    def statement_with_it(day):
        told = type(venue).statement(venue, day)
        extra = tuple(f for _, f in with_a_foreign_one(0) if f.execution_id == "foreign")
        mine = tuple(f for f in extra if f.executed_at.date() == day)
        return replace(told, fills=(*told.fills, *mine))

    venue.executions, venue.statement = with_a_foreign_one, statement_with_it
    days = [session.day for session in XNYS.sessions(date(2017, 1, 10), date(2017, 1, 13))]
    outcome = run(bench, *days, engine=engine)
    sessions = bench.desk.journal.sessions()
    assert [len(s.breaks) for s in sessions if s.day >= days[0]] == [1, 0, 0, 0]
    assert str(sessions[2].breaks[0].kind) == "missing here"
    buys = [line for line in outcome.decision.plan if line.order.side is Side.BUY]
    assert buys
    assert all(line.denied for line in buys)
    assert "missing here" in str(buys[0].verdicts[5].reason)
    restarted = bench.engine()
    assert restarted.history.broken_days == (days[0],)


def test_a_position_that_differs_from_the_venues_is_a_break(bench):
    engine = bench.engine()
    run(bench, FRIDAY, MONDAY, engine=engine)
    venue = bench.desk.brokers[0]
    venue._record._database.execute(
        "UPDATE positions SET quantity = quantity + 1 WHERE symbol = 'AAA'"
    )
    outcome = run(bench, date(2017, 1, 10), engine=engine)
    assert [str(one.kind) for one in outcome.breaks] == ["position"]


def test_an_order_that_misses_its_limit_expires_and_is_replanned(tmp_path):
    wild = SyntheticMarket(volatility=0.06, seed=3)
    manifest = tilt_manifest(schedule="daily")
    sizes = msgspec.structs.replace(default_policy().size, max_notional_of_equity=Decimal(2))
    open_ = msgspec.structs.replace(default_policy().exposure, max_gross_of_equity=Decimal(3))
    loss = msgspec.structs.replace(default_policy().loss, max_daily_loss=Decimal(1))
    policy = msgspec.structs.replace(default_policy(), size=sizes, exposure=open_, loss=loss)
    bench = open_bench(tmp_path, market=wild, manifest=manifest, policy=policy)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    days = [session.day for session in XNYS.sessions(date(2017, 1, 3), date(2017, 2, 28))]
    run(bench, *days)
    states = Counter(record.state for record in bench.desk.journal.orders())
    assert states[OrderState.EXPIRED] > 0
    assert states[OrderState.FILLED] > states[OrderState.EXPIRED]
    assert all(record.breaks == () for record in bench.desk.journal.sessions())
    bench.close()


def test_a_desk_never_mixes_paper_and_real_venues(bench):
    class Real:
        name = "exchange"

    with pytest.raises(PolicyInvalid, match="paper venues only or real ones only"):
        replace(bench.desk, brokers=(*bench.desk.brokers, Real()))
    with pytest.raises(PolicyInvalid, match="share a name"):
        replace(bench.desk, brokers=bench.desk.brokers * 2)
    assert bench.desk.simulated
    assert not replace(bench.desk, brokers=(Real(),)).simulated


def test_losses_and_streaks_are_counted_alike_after_a_restart(bench):
    engine = bench.engine()
    days = [session.day for session in XNYS.sessions(date(2017, 1, 3), date(2017, 4, 28))]
    run(bench, *days, engine=engine)
    restarted = bench.engine().history
    ours = engine.history
    for name in ("equity", "peak", "losing_streak", "last_day", "broken_days", "marks"):
        assert getattr(restarted, name) == getattr(ours, name)
    assert restarted.repeats() == ours.repeats()
    assert restarted.benchmark.equity == ours.benchmark.equity
    equities = [record.equity for record in bench.desk.journal.sessions()]
    assert ours.peak == max(equities)
    streak = 0
    while streak + 1 < len(equities) and equities[-1 - streak] < equities[-2 - streak]:
        streak += 1
    assert ours.losing_streak == streak
