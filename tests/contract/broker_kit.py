"""The broker adapter kit: what every adapter has to keep, alone and through an engine.

Make an adapter, subclass `BrokerKit`, override its fixture `adapter`, and run pytest on it;
docs/broker-adapters.md walks through it. `publish` is the kit's hand on the market: for a paper
venue it publishes bars, for a broker's test system it has to make the same closes happen.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace as changed

from runtime.bundles.contract import SizingPolicy
from runtime.database import open_database
from runtime.domain import Bar, Order, OrderState, OrderType, Side, TimeInForce
from runtime.engine import Engine, fund
from runtime.errors import OrderInvalid, VenueUnknownOutcome
from runtime.execution.style import Execution
from runtime.journal.reconcile import reconcile
from runtime.journal.store import Journal
from runtime.ports import Broker
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, open_bench
from tests.fakes.misbehaving import MisbehavingBroker, MisbehavingVenue
from tests.runtime.journal.trading import START, make_decision, make_order

NEXT = datetime(2017, 2, 1, 21, tzinfo=UTC)
AFTER = datetime(2017, 2, 2, 21, tzinfo=UTC)
SYMBOLS = ("AAA", "BBB", "CCC")
Publish = Callable[[Sequence[Bar], datetime], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter under test, and the kit's hands on its market."""

    broker: Broker
    publish: Publish  # bars of a close, and when they are known
    new_session: Callable[[datetime], None]  # what was for sessions before that opening has ended


def bars(at: datetime, close: str = "100.00") -> list[Bar]:
    """Return a bar of every symbol."""
    return [
        Bar(symbol=symbol, close=Decimal(close), event_time=at, known_at=at) for symbol in SYMBOLS
    ]


def order_for(broker: Broker, signed: int = 100, symbol: str = "AAA", **more) -> Order:
    """Return an order for a broker; it is a market order unless `make_order` is told otherwise."""
    return make_order(signed, symbol, venue=broker.name, **more)


def place(broker: Broker, order: Order) -> OrderState:
    """What an engine does: on no answer ask by id, send the same order only if it is absent."""
    for _ in range(100):
        try:
            return broker.submit(order)
        except VenueUnknownOutcome:
            state = broker.find(order.order_id)
            if state is not None:
                return state
    raise AssertionError("a hundred lost replies in a row")


class BrokerKit:
    """The suite; pytest collects it from subclasses, which override `adapter`."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Iterator[Adapter]:
        """An adapter with an empty record."""
        raise NotImplementedError("override the fixture `adapter` of the broker kit")

    @pytest.fixture
    def broker(self, adapter: Adapter) -> Broker:
        return adapter.broker

    @pytest.fixture
    def publish(self, adapter: Adapter) -> Publish:
        adapter.publish(bars(START), START)
        return adapter.publish

    def test_it_quotes_both_sides_around_what_it_published(self, broker, publish):
        quote = broker.quote("AAA", START)
        assert quote.bid < Decimal(100) < quote.ask
        assert (quote.venue, quote.symbol, quote.at) == (broker.name, "AAA", START)
        assert quote.size > 0
        assert quote.size == int(quote.size)

    def test_it_quotes_nothing_that_it_has_not_published(self, broker, publish):
        with pytest.raises(OrderInvalid, match="no bar of ZZZ"):
            broker.quote("ZZZ", START)
        with pytest.raises(OrderInvalid, match="no bar of AAA"):
            broker.quote("AAA", START.replace(year=2016))

    def test_an_order_placed_twice_is_one_order_and_executes_once(self, broker, publish):
        order = order_for(broker)
        assert broker.submit(order) is OrderState.WORKING
        assert broker.submit(order) is OrderState.WORKING
        publish(bars(NEXT), NEXT)
        publish(bars(NEXT), NEXT)
        assert broker.submit(order) is OrderState.FILLED
        assert len({fill.execution_id for _, fill in broker.executions(0)}) == 1
        assert len(broker.statement(NEXT.date()).fills) == 1

    def test_an_order_id_cannot_come_back_with_other_content(self, broker, publish):
        order = order_for(broker)
        broker.submit(order)
        with pytest.raises(OrderInvalid, match="used for another order"):
            broker.submit(changed(order, quantity=Decimal(101)))
        with pytest.raises(OrderInvalid, match="not for"):
            broker.submit(changed(order, venue="elsewhere"))

    def test_an_order_can_be_asked_about_at_any_time(self, broker, publish):
        order = order_for(broker)
        assert broker.find(order.order_id) is None
        broker.submit(order)
        assert broker.find(order.order_id) is OrderState.WORKING
        publish(bars(NEXT), NEXT)
        assert broker.find(order.order_id) is OrderState.FILLED

    def test_a_cancelled_order_never_executes_and_an_executed_one_stays_so(self, broker, publish):
        gone, done = order_for(broker, symbol="AAA"), order_for(broker, symbol="BBB")
        broker.submit(gone)
        broker.submit(done)
        assert broker.cancel(gone.order_id) is OrderState.CANCELLED
        assert broker.cancel(gone.order_id) is OrderState.CANCELLED
        publish(bars(NEXT), NEXT)
        assert broker.cancel(done.order_id) is OrderState.FILLED
        assert {fill.order_id for _, fill in broker.executions(0)} == {done.order_id}
        with pytest.raises(OrderInvalid, match="never received"):
            broker.cancel("nobody")

    def test_a_limit_that_is_not_met_expires_with_its_session(self, broker, publish):
        order = order_for(broker, limit="99.00")
        broker.submit(order)
        publish(bars(NEXT), NEXT)
        assert broker.find(order.order_id) is OrderState.EXPIRED
        publish(bars(AFTER, "50.00"), AFTER)
        assert broker.executions(0) == []

    def test_an_order_never_executes_on_a_bar_it_could_have_seen(self, broker, publish):
        order = order_for(broker)
        broker.submit(order)
        publish(bars(START), START)
        assert broker.find(order.order_id) is OrderState.WORKING

    def test_executions_and_statement_tell_the_same_story(self, broker, publish):
        orders = [order_for(broker, 100, "AAA"), order_for(broker, -40, "BBB", limit="1.00")]
        for order in orders:
            broker.submit(order)
        publish(bars(NEXT, "101.37"), NEXT)
        fills = {fill.execution_id: fill for _, fill in broker.executions(0)}
        statement = broker.statement(NEXT.date())
        assert {fill.execution_id: fill for fill in statement.fills} == fills
        assert statement.positions == {"AAA": Decimal(100), "BBB": Decimal(-40)}
        cents = sum(
            (-fill.side.sign * fill.quantity * fill.price - fill.fee).quantize(Decimal("0.01"))
            for fill in fills.values()
        )
        assert statement.cash_flow == cents
        for fill in fills.values():
            assert fill.executed_at == NEXT
            better = fill.price > Decimal("101.37") if fill.side is Side.BUY else fill.price < 102
            assert better

    def test_a_statement_of_an_earlier_day_is_not_changed_by_later_trading(self, broker, publish):
        broker.submit(order_for(broker, 100))
        publish(bars(NEXT), NEXT)
        before = broker.statement(NEXT.date())
        broker.submit(order_for(broker, -100, limit="1.00", tick="2017-02-01", created_at=NEXT))
        publish(bars(AFTER, "120"), AFTER)
        assert broker.statement(NEXT.date()) == before
        assert broker.statement(AFTER.date()).positions == {}
        empty = broker.statement(date(2017, 1, 31))
        assert (empty.positions, empty.fills, empty.cash_flow) == ({}, (), 0)

    # --- quantities and types --------------------------------------------------------------

    def test_filled_leaves_and_cancelled_are_what_was_ordered_at_every_stage(self, broker, publish):
        done, gone = order_for(broker, symbol="AAA"), order_for(broker, symbol="BBB")
        assert broker.report("nobody") is None
        for order in (done, gone):
            broker.submit(order)
            report = broker.report(order.order_id)
            assert (report.filled, report.leaves, report.cancelled) == (0, 100, 0)
        broker.cancel(gone.order_id)
        publish(bars(NEXT), NEXT)
        filled, cancelled = broker.report(done.order_id), broker.report(gone.order_id)
        assert (filled.filled, filled.leaves, filled.cancelled) == (100, 0, 0)
        assert (cancelled.filled, cancelled.leaves, cancelled.cancelled) == (0, 0, 100)

    @pytest.mark.parametrize("time", [TimeInForce.IOC, TimeInForce.FOK])
    def test_nothing_filled_at_once_is_a_normal_end_and_nothing_of_it_rests(
        self, broker, publish, time
    ):
        asked = order_for(broker, limit="99.00")
        asked = changed(asked, order_type=OrderType.LIMIT, time_in_force=time)
        broker.submit(asked)
        publish(bars(NEXT), NEXT)
        assert broker.find(asked.order_id) is OrderState.CANCELLED
        publish(bars(AFTER, "98.00"), AFTER)
        assert broker.executions(0) == []

    def test_what_is_good_till_cancelled_outlives_its_session(self, adapter, broker, publish):
        asked = order_for(broker, limit="99.00")
        asked = changed(asked, order_type=OrderType.LIMIT, time_in_force=TimeInForce.GTC)
        broker.submit(asked)
        publish(bars(NEXT), NEXT)
        assert broker.find(asked.order_id) is OrderState.WORKING
        adapter.new_session(NEXT)
        publish(bars(AFTER, "98.00"), AFTER)
        assert broker.find(asked.order_id) is OrderState.FILLED

    def test_a_stop_sleeps_until_it_is_traded(self, broker, publish):
        asked = changed(
            order_for(broker, -100, limit="90.00"),
            order_type=OrderType.STOP,
            time_in_force=TimeInForce.GTC,
            stop_price=Decimal("97.00"),
        )
        broker.submit(asked)
        publish(bars(NEXT, "98.00"), NEXT)
        assert broker.find(asked.order_id) is OrderState.WORKING
        publish(bars(AFTER, "96.00"), AFTER)
        assert broker.find(asked.order_id) is OrderState.FILLED
        with pytest.raises(OrderInvalid, match="used for another order"):
            broker.submit(changed(asked, stop_price=Decimal("96.00")))

    # --- faults ----------------------------------------------------------------------------

    @pytest.mark.parametrize("seed", range(3))
    def test_a_client_that_asks_before_resending_survives_lost_replies(
        self, tmp_path, broker, publish, seed
    ):
        bad = MisbehavingBroker(broker, Random(seed), loses=0.5, late=0.2)
        journal = Journal(open_database(f"sqlite:///{tmp_path / 'runtime.db'}"))
        orders = [
            make_order(number + 1, "AAA", leg=number, venue=broker.name) for number in range(40)
        ]
        journal.record_decision(make_decision(orders), orders)
        for order in orders:
            assert place(bad, order) is OrderState.WORKING
        publish(bars(NEXT), NEXT)
        assert bad.lost > 0
        assert bad.delayed > 0
        booked = sum(journal.record_fills([fill]) for _, fill in bad.executions(0))
        assert booked == len(orders)
        ours = journal.statement(broker.name, NEXT.date())
        assert reconcile(ours, broker.statement(NEXT.date())) == ()
        assert journal.open_orders() == ()
        journal.verify()
        journal.engine.dispose()

    @pytest.mark.parametrize(
        ("faults", "execution"),
        [
            ({"loses": 0.2}, Execution()),
            ({"loses": 0.2, "deaf": 0.3, "late": 0.3}, Execution()),
            ({"loses": 0.2, "withholds": 0.3}, Execution()),
            (
                {"loses": 0.2, "deaf": 0.2, "late": 0.2, "withholds": 0.2},
                Execution(
                    order_type=OrderType.LIMIT, within="-0.004", time_in_force=TimeInForce.GTC
                ),
            ),
        ],
        ids=["lost", "deaf and late", "withheld", "all, with orders that rest"],
    )
    def test_an_engine_behind_any_mix_of_faults_keeps_the_venues_own_books(
        self, tmp_path, adapter, faults, execution
    ):
        venue = adapter.broker
        sizing = changed(SizingPolicy(), execution=execution)
        bench = open_bench(tmp_path, manifest=tilt_manifest(schedule="daily", sizing=sizing))
        journal = bench.desk.journal
        fund(journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
        bad = MisbehavingVenue(
            venue, Random(7), publish=adapter.publish, new_session=adapter.new_session, **faults
        )
        engine = bench.changed(brokers=(bad,))
        days = [one.day for one in XNYS.sessions(date(2017, 1, 3), date(2017, 1, 31))]
        for day in days:
            _session(engine, day)
        bad.behaves()  # at last everything is told
        for one in XNYS.sessions(date(2017, 2, 1), date(2017, 2, 3)):
            _session(engine, one.day)
            days.append(one.day)

        assert bad.lost + bad.delayed + bad.withheld > 10
        told = {fill.execution_id: fill for _, fill in venue.executions(0)}
        booked = Counter(one.fill.execution_id for one in journal.fills())
        assert set(booked) == set(told), "what the venue executed is booked, and nothing else"
        assert set(booked.values()) == {1}
        for day in days:
            assert reconcile(journal.statement(venue.name, day), venue.statement(day)) == ()
        ours = {one.order.order_id for one in journal.orders()}
        assert {fill.order_id for fill in told.values()} <= ours
        for record in journal.orders():
            report = record.report
            assert report.filled + report.leaves + report.cancelled == record.order.quantity
            said = venue.report(record.order.order_id)
            assert report.filled == (said.filled if said else 0)
            if record.state is OrderState.REJECTED:
                assert said is None, "an unknown outcome is never taken for a rejection"
        assert journal.last_session().breaks == ()
        journal.verify()
        bench.close()


def _session(engine: Engine, day: date) -> None:
    session = XNYS.session(day)
    engine.desk.clock.advance(session.close)
    engine.run_session(session)
