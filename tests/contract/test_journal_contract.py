"""The journal keeps its promises on every database it may run on."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
from msgspec.structs import replace as changed

from runtime.chain import ChainedLog, HeadAnchor
from runtime.database import open_database, transaction
from runtime.domain import OrderState, Side
from runtime.errors import EntryConflict, JournalBroken, OrderInvalid
from runtime.journal.records import CashFlow, OrderEvent, SessionRecord
from runtime.journal.store import Journal
from tests.runtime.journal.trading import (
    START,
    make_decision,
    make_fill,
    make_order,
    order_state,
    trial_balance,
)

DAY = date(2017, 2, 1)
MILLION = CashFlow(flow_id="opening", amount=Decimal("1000000.00"), at=START, note="paper money")


@pytest.fixture
def engine(database_url):
    opened = open_database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def journal(engine):
    return Journal(engine)


def record_trading(journal: Journal) -> None:
    """One decision, two orders; AAA fills in two parts, CCC expires; the session closes."""
    journal.record_flow(MILLION)
    bought, expired = make_order(100, "AAA"), make_order(-5, "CCC", venue="alternate")
    journal.record_decision(make_decision([bought, expired]), [bought, expired])
    for order in (bought, expired):
        order_state(journal, order.order_id, OrderState.WORKING, START, "taken")
    journal.record_fills(
        [
            make_fill(40, "10.005", "0.10", number=1, of=bought),
            make_fill(60, "10.01", "0.15", number=2, of=bought),
        ]
    )
    order_state(journal, expired.order_id, OrderState.EXPIRED, START + timedelta(days=1), "not met")
    journal.close_session(closing(journal, DAY, {"AAA": "11.00"}))


def closing(journal: Journal, day: date, marks: dict[str, str], **more) -> SessionRecord:
    book, prices = journal.book(), {symbol: Decimal(mark) for symbol, mark in marks.items()}
    return SessionRecord(
        account=journal.account,
        day=day,
        closed_at=START + (day - date(2017, 1, 31)),
        marks=prices,
        positions={symbol: one.quantity for symbol, one in book.positions().items()},
        cash=book.cash,
        equity=book.equity(prices),
        realised=book.realised,
        unrealised=book.unrealised(prices),
        **{"benchmark": "equal weight", "benchmark_return": 0.01, **more},
    )


def test_a_decision_comes_back_as_it_was_recorded_with_every_input_bit_for_bit(journal):
    order = make_order()
    record = make_decision([order])
    assert journal.record_decision(record, [order]) is True
    found = journal.decision(record.decision_id)
    assert found is not None
    for name, values in record.inputs.items():
        assert found.record.inputs[name].tobytes() == values.tobytes()
        assert found.record.inputs[name].shape == values.shape
    assert replace(found.record, inputs={}) == replace(record, inputs={})
    assert found.order_ids == (order.order_id,)
    assert found.record.plan[1].denied
    assert not found.record.plan[0].denied
    assert str(found.record.weights[1]) == "-0.0"


def test_the_same_tick_is_decided_once_and_the_first_decision_stands(journal):
    order = make_order()
    assert journal.record_decision(make_decision([order]), [order]) is True
    head = journal.head()
    other = make_order(200)
    assert journal.record_decision(make_decision([other]), [other]) is False
    assert journal.head() == head
    assert journal.orders()[0].order.quantity == 100
    assert journal.find_decision(order.bundle, order.tick) == make_decision().decision_id


def test_orders_are_pending_before_anything_is_sent_in_the_order_of_the_plan(journal):
    orders = [make_order(-5, "ZZZ"), make_order(7, "AAA"), make_order(7, "AAA", leg=1)]
    journal.record_decision(make_decision(orders), orders)
    standing = journal.open_orders()
    assert [one.order for one in standing] == orders
    assert {one.state for one in standing} == {OrderState.PENDING}
    assert {one.decision_id for one in standing} == {make_decision().decision_id}


def test_an_order_id_cannot_serve_two_decisions_and_the_second_leaves_no_trace(journal):
    order = make_order()
    journal.record_decision(make_decision([order]), [order])
    head = journal.head()
    stolen = changed(order, tick="2017-02-28")
    with pytest.raises(JournalBroken, match="belongs to another decision"):
        journal.record_decision(make_decision(tick="2017-02-28"), [stolen])
    assert journal.head() == head
    journal.verify()


def test_an_order_of_another_tick_is_refused(journal):
    with pytest.raises(OrderInvalid, match="not of decision"):
        journal.record_decision(make_decision(), [make_order(tick="2017-02-28")])


def test_a_float_in_a_plan_or_an_order_is_refused(journal):
    order = make_order()
    record = make_decision([order])
    line = record.plan[0]
    dirty = changed(line, order=changed(line.order, reference_price=10.5))
    with pytest.raises(OrderInvalid, match="must be an exact Decimal, was float"):
        journal.record_decision(replace(record, plan=(dirty,)), [order])
    with pytest.raises(OrderInvalid, match="must be an exact Decimal, was int"):
        journal.record_decision(record, [changed(order, quantity=100)])
    assert journal.head().seq == 0


def test_order_states_move_once_and_what_has_ended_stays_ended(journal):
    order = make_order()
    journal.record_decision(make_decision([order]), [order])
    name, later = order.order_id, START + timedelta(hours=1)
    assert order_state(journal, name, OrderState.UNKNOWN, START, "no answer") is True
    assert order_state(journal, name, OrderState.UNKNOWN, later, "again") is False
    assert journal.order(name).state is OrderState.UNKNOWN
    assert order_state(journal, name, OrderState.WORKING, later, "found") is True
    assert order_state(journal, name, OrderState.EXPIRED, later, "") is True
    assert order_state(journal, name, OrderState.CANCELLED, later, "late") is True
    assert journal.order(name).state is OrderState.EXPIRED
    assert journal.open_orders() == ()
    states = [event.state.value for event in journal.order_events(name)]
    assert states == ["unknown", "working", "expired", "cancelled"]
    assert journal.order_events(name)[0].note == "no answer"


def test_many_states_are_one_commit_and_repeats_inside_it_count_once(journal):
    orders = [make_order(10, symbol) for symbol in ("AAA", "CCC", "DDD")]
    journal.record_decision(make_decision(orders), orders)
    events = [
        OrderEvent(order_id=order.order_id, state=OrderState.WORKING, at=START)
        for order in [*orders, orders[0]]
    ]
    assert journal.record_order_states(events) == 3
    assert journal.record_order_states(events) == 0
    assert len(journal.orders(states=[OrderState.WORKING])) == 3
    assert journal.orders(states=[]) == ()


def test_an_order_that_was_never_journalled_can_have_no_state_and_no_fill(journal):
    with pytest.raises(JournalBroken, match="never journalled"):
        order_state(journal, "nobody", OrderState.WORKING, START)
    with pytest.raises(JournalBroken, match="never journalled"):
        journal.record_fills([make_fill(1, "10")])


def test_a_fill_is_booked_once_in_balanced_double_entry(journal):
    order = make_order()
    journal.record_flow(MILLION)
    journal.record_decision(make_decision([order]), [order])
    fill = make_fill(100, "10.0055", "1.01", number=1, of=order)
    assert journal.record_fills([fill, fill]) == 1
    assert journal.record_fills([fill]) == 0
    (record,) = journal.fills()
    amounts = {posting.account: posting.amount for posting in record.postings}
    assert amounts == {
        "cash": Decimal("-1001.56"),  # 1000.55 + 1.01, whole cents already
        "securities": Decimal("1000.55"),
        "fees in basis": Decimal("1.01"),
    }
    assert trial_balance(journal)["cash"] == Decimal("998998.44") == journal.book().cash
    assert sum(trial_balance(journal).values()) == 0
    assert journal.order(order.order_id).state is OrderState.FILLED


def test_what_rounding_to_the_cent_leaves_is_posted_openly(journal):
    order = make_order(3)
    journal.record_decision(make_decision([order]), [order])
    journal.record_fills([make_fill(3, "10.001667", "0.00", number=1, of=order)])
    amounts = {one.account: one.amount for one in journal.fills()[0].postings}
    assert amounts == {
        "cash": Decimal("-30.01"),
        "securities": Decimal("30.005001"),
        "rounding": Decimal("0.004999"),
    }


def test_a_partial_fill_leaves_the_order_working_and_a_late_one_is_booked_after_cancel(journal):
    order = make_order(100)
    journal.record_decision(make_decision([order]), [order])
    journal.record_fills([make_fill(30, "10", number=1, of=order)])
    standing = journal.order(order.order_id)
    assert (standing.state, standing.filled, standing.leaves) == (OrderState.WORKING, 30, 70)
    order_state(journal, order.order_id, OrderState.CANCELLED, START)
    journal.record_fills([make_fill(20, "10", number=2, of=order)])
    standing = journal.order(order.order_id)
    assert (standing.state, standing.filled, standing.leaves) == (OrderState.CANCELLED, 50, 0)
    assert journal.book().position("AAA") == 50


def test_an_execution_that_changes_its_content_is_refused(journal):
    order = make_order()
    journal.record_decision(make_decision([order]), [order])
    fill = make_fill(50, "10", number=1, of=order)
    journal.record_fills([fill])
    with pytest.raises(EntryConflict, match="booked with other content"):
        journal.record_fills([changed(fill, price=Decimal("10.01"))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbol": "ZZZ"}, "does not fit order"),
        ({"venue": "alternate"}, "does not fit order"),
        ({"side": Side.SELL}, "does not fit order"),
        ({"quantity": Decimal(101)}, "more than the 100"),
        ({"price": Decimal("10.1234567")}, "6 decimal places"),
        ({"fee": 0.5}, "must be an exact Decimal, was float"),
    ],
)
def test_a_fill_that_cannot_be_right_leaves_books_and_chain_as_they_were(journal, change, message):
    order = make_order()
    journal.record_decision(make_decision([order]), [order])
    good = make_fill(50, "10", number=1, of=order)
    head = journal.head()
    with pytest.raises(OrderInvalid, match=message):
        journal.record_fills([good, changed(make_fill(50, "10", number=2, of=order), **change)])
    assert journal.head() == head
    assert journal.book().cash == 0
    assert journal.record_fills([good]) == 1
    journal.verify()


def test_cash_flows_are_booked_once_and_cannot_change(journal):
    assert journal.record_flow(MILLION) is True
    assert journal.record_flow(MILLION) is False
    with pytest.raises(EntryConflict, match="another amount"):
        journal.record_flow(replace(MILLION, amount=Decimal("2.00")))
    with pytest.raises(OrderInvalid, match="whole number of cents"):
        journal.record_flow(replace(MILLION, flow_id="b", amount=Decimal("0.001")))
    assert journal.book().cash == journal.book().flows == Decimal("1000000.00")


def test_a_session_closes_once_and_feeds_the_equity_curve(journal):
    record_trading(journal)
    assert journal.close_session(closing(journal, DAY, {"AAA": "12.00"})) is False
    second = closing(journal, DAY + timedelta(days=1), {"AAA": "10.50"}, benchmark_return=None)
    assert journal.close_session(second) is True
    assert journal.last_session() == second
    assert journal.session(DAY).marks == {"AAA": Decimal(11)}
    points = journal.equity_curve()
    assert [point.day.day for point in points] == [1, 2]
    assert points[0].equity == Decimal("1000098.95")  # 1e6 - 1000.80 - 0.25 + 1100
    assert [point.benchmark_return for point in points] == [0.01, None]
    assert journal.sessions(limit=1) == (second,)
    assert [one.day for one in journal.sessions(end=DAY)] == [DAY]


@pytest.mark.parametrize(
    "change",
    [
        {"cash": Decimal("1.00")},
        {"positions": {"AAA": Decimal(99)}},
        {"equity": Decimal("1000000.00")},
    ],
)
def test_a_session_that_contradicts_the_book_is_refused(journal, change):
    record_trading(journal)
    record = closing(journal, DAY + timedelta(days=1), {"AAA": "12.00"})
    with pytest.raises(JournalBroken, match="the book says"):
        journal.close_session(replace(record, **change))
    with pytest.raises(OrderInvalid, match="is of account other, not paper"):
        journal.close_session(replace(record, account="other"))


def test_decisions_are_listed_newest_first_and_paged(journal):
    for month in range(1, 6):
        journal.record_decision(make_decision(tick=f"2017-0{month}-28"), [])
    newest = journal.decisions(limit=2)
    assert [one.record.tick for one in newest] == ["2017-05-28", "2017-04-28"]
    older = journal.decisions(limit=9, before=newest[-1].seq)
    assert [one.record.tick for one in older] == ["2017-03-28", "2017-02-28", "2017-01-28"]
    assert newest[0].record.inputs == {}
    assert newest[0].record.inputs_hash == make_decision().inputs_hash
    assert journal.decisions(bundle="none") == ()
    assert journal.decision("none") is None


def test_the_same_record_in_the_same_order_gives_the_same_head_on_every_database(journal):
    record_trading(journal)
    assert journal.verify() == journal.head()
    # Frozen when first written; SQLite and PostgreSQL must both meet it.
    assert journal.head().hash == (
        "475df7b7c5e4fccc3798969597ab0b54734a694fb17dfdc13f5a594b9a002dcb"
    )


def test_a_journal_opened_again_has_the_same_book_and_the_same_statement(journal):
    record_trading(journal)
    again = Journal(journal.engine)
    assert again.book().positions() == journal.book().positions()
    assert again.book().cash == journal.book().cash
    assert again.statement("primary", DAY) == journal.statement("primary", DAY)
    assert again.counts() == {
        "decisions": 1, "orders": 2, "fills": 2, "sessions": 1, "breaks": 0,
    }  # fmt: skip


def test_two_processes_on_one_journal_see_each_others_fills(database_url):
    one, two = Journal(open_database(database_url)), Journal(open_database(database_url))
    order = make_order(100)
    one.record_decision(make_decision([order]), [order])
    one.record_fills([make_fill(60, "10", number=1, of=order)])
    assert two.book().position("AAA") == 60
    two.record_fills([make_fill(40, "11", number=2, of=order)])
    assert one.book().position("AAA") == 100
    assert one.order(order.order_id).state is OrderState.FILLED
    one.verify()
    one.engine.dispose()
    two.engine.dispose()


def test_two_accounts_share_the_chain_and_nothing_else(engine):
    paper, other = Journal(engine), Journal(engine, account="other")
    record_trading(paper)
    other.record_flow(MILLION)
    assert other.book().cash == Decimal("1000000.00")
    assert other.fills() == other.orders() == other.sessions() == ()
    assert other.head() == paper.head()
    other.verify()


def test_a_statement_of_an_earlier_day_leaves_later_fills_out(journal):
    first, second = make_order(100), make_order(-30, tick="2017-02-28")
    journal.record_decision(make_decision([first]), [first])
    journal.record_decision(make_decision([second], "2017-02-28"), [second])
    journal.record_fills([make_fill(100, "10", number=1, of=first)])
    late = make_fill(-30, "12", "0.03", number=2, of=second, at=START + timedelta(days=28))
    journal.record_fills([late])
    assert journal.statement("primary", DAY).positions == {"AAA": 100}
    assert journal.statement("primary", DAY).cash_flow == Decimal("-1000.00")
    last = journal.statement("primary", late.executed_at.date())
    assert (last.positions, last.cash_flow) == ({"AAA": 70}, Decimal("359.97"))
    assert last.fills == (late,)
    assert journal.statement("alternate", DAY).positions == {}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE journal_fills SET price = '9.99' WHERE execution_id = 'x000001'", "fills row"),
        ("UPDATE journal_postings SET amount = '0.01' WHERE line = 0", "postings row"),
        ("DELETE FROM journal_fills WHERE execution_id = 'x000002'", "journal_fills lacks"),
        ("UPDATE journal_orders SET state = 'working'", "orders row"),
        ("UPDATE journal_sessions SET equity = '2000000'", "sessions row"),
        ("DELETE FROM journal_blobs", "stored inputs .* are missing"),
        (
            "INSERT INTO journal_flows VALUES (99, 'paper', 'gift', '1000.00')",
            "journal_flows holds .*99.* no entry explains",
        ),
        ("DELETE FROM journal WHERE seq = 1", "entry 1 is missing"),
    ],
)
def test_a_forged_row_is_found_though_the_chain_is_whole(journal, statement, message):
    record_trading(journal)
    journal.verify()
    with transaction(journal.engine) as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(JournalBroken, match=message):
        journal.verify()


def test_what_is_written_while_the_rows_are_proved_is_no_forgery(journal, monkeypatch):
    record_trading(journal)
    proved, writer = ChainedLog.proved, Journal(open_database(url_of(journal)), "other")

    def interrupted(self, anchors=(), connection=None):
        yield from proved(self, anchors, connection)
        if not writer.book().flows:
            writer.record_flow(MILLION)

    monkeypatch.setattr(ChainedLog, "proved", interrupted)
    before = journal.head()
    assert journal.verify() == before
    assert writer.head().seq == before.seq + 1
    monkeypatch.undo()
    assert journal.verify() == writer.head()
    writer.engine.dispose()


def url_of(journal: Journal) -> str:
    return journal.engine.url.render_as_string(hide_password=False)


def test_a_fill_cannot_be_booked_to_another_account_than_its_orders(engine):
    order = make_order()
    Journal(engine).record_decision(make_decision([order]), [order])
    with pytest.raises(OrderInvalid, match="is of account paper, not of other"):
        Journal(engine, account="other").record_fills([make_fill(1, "10", number=1, of=order)])


def test_an_execution_of_another_account_is_not_booked_again_and_takes_the_call_with_it(engine):
    paper, other = Journal(engine), Journal(engine, account="other")
    first, second = make_order(), make_order(tick="2017-02-28")
    paper.record_decision(make_decision([first]), [first])
    paper.record_fills([make_fill(1, "10", number=1, of=first)])
    other.record_decision(make_decision([second], "2017-02-28"), [second])
    fills = [make_fill(1, "10", number=number, of=second) for number in (2, 1)]
    for _ in range(2):
        with pytest.raises(EntryConflict):
            other.record_fills(fills)
        assert other.fills() == ()
        assert other.book().positions() == {}
    assert other.record_fills(fills[:1]) == 1
    other.verify()


def test_inputs_that_are_gone_are_an_error_and_not_an_unknown_decision(journal):
    journal.record_decision(make_decision(), [])
    with transaction(journal.engine) as connection:
        connection.exec_driver_sql("DELETE FROM journal_blobs")
    with pytest.raises(JournalBroken, match="are missing"):
        journal.decision(make_decision().decision_id)
    assert journal.verify(rows=False) == journal.head()


def test_inputs_that_were_changed_at_rest_are_refused_when_read(journal):
    journal.record_decision(make_decision(), [])
    with transaction(journal.engine) as connection:
        (data,) = connection.exec_driver_sql("SELECT data FROM journal_blobs").fetchone()
        forged = bytes(data)[:-1] + bytes([bytes(data)[-1] ^ 1])
        mark = "%s" if journal.engine.dialect.name == "postgresql" else "?"
        connection.exec_driver_sql(f"UPDATE journal_blobs SET data = {mark}", (forged,))
    with pytest.raises(JournalBroken, match="stored inputs"):
        journal.decision(make_decision().decision_id)


def test_equal_inputs_are_stored_once_and_different_ones_have_another_name(journal):
    journal.record_decision(make_decision(), [])
    journal.record_decision(make_decision(tick="2017-02-28"), [])
    other = replace(
        make_decision(tick="2017-03-31"), inputs={"close": np.ones((2, 3))}, inputs_hash=""
    )
    journal.record_decision(other, [])
    with journal.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM journal_blobs").scalar() == 2
    honest = make_decision(tick="2017-04-28")
    for lie in ({"inputs_hash": "0" * 64}, {"inputs": {"close": np.ones((2, 4))}}):
        with pytest.raises(OrderInvalid, match="not the hash of the inputs"):
            journal.record_decision(replace(honest, **lie), [])


def test_the_head_is_anchored_outside_at_each_close_and_a_cut_tail_is_found(engine, tmp_path):
    journal = Journal(engine, anchor=HeadAnchor(tmp_path / "heads"))
    record_trading(journal)
    journal.verify()
    with transaction(engine) as connection:
        connection.exec_driver_sql("DELETE FROM journal WHERE kind = 'session'")
        connection.exec_driver_sql("DELETE FROM journal_sessions")
    Journal(engine).verify()
    with pytest.raises(JournalBroken, match="was anchored outside but the log ends"):
        journal.verify()
