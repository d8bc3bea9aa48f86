"""Every broker adapter keeps the port's promises: an order takes effect once, or not at all."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

import pytest
from msgspec.structs import replace as changed

from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue
from runtime.database import open_database
from runtime.domain import Bar, Order, OrderState, Side
from runtime.errors import OrderInvalid, VenueUnknownOutcome
from runtime.journal.reconcile import reconcile
from runtime.journal.store import Journal
from runtime.ports import Broker
from tests.fakes.misbehaving import MisbehavingBroker
from tests.runtime.journal.trading import START, make_decision, make_order

NEXT = datetime(2017, 2, 1, 21, tzinfo=UTC)
AFTER = datetime(2017, 2, 2, 21, tzinfo=UTC)
SYMBOLS = ("AAA", "BBB", "CCC")


def bars(at: datetime, close: str = "100.00") -> list[Bar]:
    return [
        Bar(symbol=symbol, close=Decimal(close), event_time=at, known_at=at) for symbol in SYMBOLS
    ]


Publish = Callable[[Sequence[Bar], datetime], int]


@pytest.fixture(params=["paper primary", "paper alternate", "paper that loses no reply"])
def adapter(request, tmp_path) -> tuple[Broker, Publish]:
    """A broker, and the test's hand on its market."""
    terms = ALTERNATE if "alternate" in request.param else PRIMARY
    venue = PaperVenue(tmp_path / "venue.db", terms)
    broker = MisbehavingBroker(venue, Random(1), loses=0.0) if "loses" in request.param else venue
    yield broker, venue.on_bars
    venue.close()


@pytest.fixture
def broker(adapter) -> Broker:
    return adapter[0]


@pytest.fixture
def publish(adapter) -> Publish:
    publish = adapter[1]
    publish(bars(START), START)
    return publish


def order_for(broker: Broker, signed: int = 100, symbol: str = "AAA", **more) -> Order:
    return make_order(signed, symbol, venue=broker.name, **more)


def test_it_quotes_both_sides_around_what_it_published(broker, publish):
    quote = broker.quote("AAA", START)
    assert quote.bid < Decimal(100) < quote.ask
    assert (quote.venue, quote.symbol, quote.at) == (broker.name, "AAA", START)
    assert quote.size > 0
    assert quote.size == int(quote.size)
    cost = (quote.ask - 100) / 100 + quote.fee_rate
    assert cost == pytest.approx(Decimal("0.0005"), abs=Decimal("0.00003"))  # about 5 bp all in


def test_it_quotes_nothing_that_it_has_not_published(broker, publish):
    with pytest.raises(OrderInvalid, match="no bar of ZZZ"):
        broker.quote("ZZZ", START)
    with pytest.raises(OrderInvalid, match="no bar of AAA"):
        broker.quote("AAA", START.replace(year=2016))


def test_an_order_placed_twice_is_one_order_and_executes_once(broker, publish):
    order = order_for(broker)
    assert broker.submit(order) is OrderState.WORKING
    assert broker.submit(order) is OrderState.WORKING
    publish(bars(NEXT), NEXT)
    publish(bars(NEXT), NEXT)
    assert broker.submit(order) is OrderState.FILLED
    assert len({fill.execution_id for _, fill in broker.executions(0)}) == 1
    assert len(broker.statement(NEXT.date()).fills) == 1


def test_an_order_id_cannot_come_back_with_other_content(broker, publish):
    order = order_for(broker)
    broker.submit(order)
    with pytest.raises(OrderInvalid, match="used for another order"):
        broker.submit(changed(order, quantity=Decimal(101)))
    with pytest.raises(OrderInvalid, match="not for"):
        broker.submit(changed(order, venue="elsewhere"))


def test_an_order_can_be_asked_about_at_any_time(broker, publish):
    order = order_for(broker)
    assert broker.find(order.order_id) is None
    broker.submit(order)
    assert broker.find(order.order_id) is OrderState.WORKING
    publish(bars(NEXT), NEXT)
    assert broker.find(order.order_id) is OrderState.FILLED


def test_a_cancelled_order_never_executes_and_an_executed_one_stays_so(broker, publish):
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


def test_a_limit_that_is_not_met_expires_with_its_session(broker, publish):
    order = order_for(broker, limit="99.00")
    broker.submit(order)
    publish(bars(NEXT), NEXT)
    assert broker.find(order.order_id) is OrderState.EXPIRED
    publish(bars(AFTER, "50.00"), AFTER)
    assert broker.executions(0) == []


def test_an_order_never_executes_on_a_bar_it_could_have_seen(broker, publish):
    order = order_for(broker)
    broker.submit(order)
    publish(bars(START), START)
    assert broker.find(order.order_id) is OrderState.WORKING


def test_executions_and_statement_tell_the_same_story(broker, publish):
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


def test_a_statement_of_an_earlier_day_is_not_changed_by_later_trading(broker, publish):
    broker.submit(order_for(broker, 100))
    publish(bars(NEXT), NEXT)
    before = broker.statement(NEXT.date())
    broker.submit(order_for(broker, -100, limit="1.00", tick="2017-02-01", created_at=NEXT))
    publish(bars(AFTER, "120"), AFTER)
    assert broker.statement(NEXT.date()) == before
    assert broker.statement(AFTER.date()).positions == {}
    empty = broker.statement(date(2017, 1, 31))
    assert (empty.positions, empty.fills, empty.cash_flow) == ({}, (), 0)


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


@pytest.mark.parametrize("seed", range(5))
def test_a_client_that_asks_before_resending_survives_lost_replies(tmp_path, seed):
    random = Random(seed)
    venue = PaperVenue(tmp_path / "venue.db", PRIMARY)
    broker = MisbehavingBroker(venue, random, loses=0.5)
    journal = Journal(open_database(f"sqlite:///{tmp_path / 'runtime.db'}"))
    orders = [make_order(number + 1, "AAA", leg=number) for number in range(40)]
    journal.record_decision(make_decision(orders), orders)
    venue.on_bars(bars(START), START)
    for order in orders:
        assert place(broker, order) is OrderState.WORKING
    venue.on_bars(bars(NEXT), NEXT)
    assert broker.lost > 0
    booked = sum(journal.record_fills([fill]) for _, fill in broker.executions(0))
    assert booked == len(orders)
    ours = journal.statement("primary", NEXT.date())
    assert reconcile(ours, broker.statement(NEXT.date())) == ()
    assert journal.open_orders() == ()
    journal.verify()
    journal.engine.dispose()
    venue.close()
