"""Intents that were not sent, venues that lose answers, and books that differ from theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

import msgspec
import pytest

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.domain import Bar, Fill, OrderState, Side
from runtime.engine import fund
from runtime.errors import PolicyInvalid, VenueUnknownOutcome
from runtime.execution.venues import Venues
from runtime.policies.policy import default_policy
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, SyntheticMarket, open_bench
from tests.fakes.misbehaving import MisbehavingBroker
from tests.runtime.engine.sessions import FRIDAY, MONDAY, run


class DiesBeforeSending(Venues):
    def send(self, fresh, at, day):
        raise KeyboardInterrupt


def died_before_sending(bench):
    """Let a process commit a decision and die before it sends; return the session."""
    session = XNYS.session(FRIDAY)
    bench.desk.clock.advance(session.close)
    dying = bench.engine()
    dying.venues = DiesBeforeSending(bench.desk)
    with pytest.raises(KeyboardInterrupt):
        dying.run_session(session)
    return session


def test_a_decision_by_another_process_is_kept_and_its_intents_are_sent(bench):
    """A process died between commit and send: the next one asks, then sends under the same ids."""
    session = died_before_sending(bench)
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
    died_before_sending(bench)
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
