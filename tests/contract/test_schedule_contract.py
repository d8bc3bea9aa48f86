"""Fence, slots and lead over SQLite and PostgreSQL: one process at a time, each slot once."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from runtime.chain import ChainedLog
from runtime.database import open_database, transaction
from runtime.domain import OrderState
from runtime.errors import ClockInDoubt, JournalBroken, Superseded
from runtime.journal.records import CashFlow, SessionRecord
from runtime.journal.store import Journal
from runtime.scheduling.fence import Epochs
from runtime.scheduling.lead import FileLead, PostgresLead
from runtime.scheduling.slots import TABLE, Slots
from tests.runtime.journal.trading import (
    START,
    make_decision,
    make_fill,
    make_order,
    order_state,
)

AT = datetime(2026, 3, 6, 21, 5, tzinfo=UTC)
FRIDAY, MONDAY = date(2026, 3, 6), date(2026, 3, 9)
JOB = "session XNYS"


@pytest.fixture
def engine(database_url):
    opened = open_database(database_url)
    yield opened
    opened.dispose()


def take(engine, holder="a", account="live"):
    return Epochs(engine).take(account, holder=holder, at=AT)


def slots_of(engine, holder="a"):
    return Slots.open(engine, take(engine, holder), JOB)


def test_epochs_only_grow_and_are_each_accounts_own(engine):
    assert [take(engine).epoch for _ in range(3)] == [1, 2, 3]
    assert take(engine, account="replay").epoch == 1


def test_epochs_taken_at_once_are_all_different(engine):
    epochs, found = Epochs(engine), []
    threads = [
        threading.Thread(target=lambda: found.append(epochs.take("live", holder="x", at=AT).epoch))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 9))


def test_only_the_last_epoch_may_write_or_send(engine):
    old = take(engine, "old")
    with old.holding():
        pass
    new = take(engine, "new")
    with pytest.raises(Superseded, match=r"traded by new \(epoch 2\) now, no longer by old"):
        old.holding().__enter__()
    with new.holding():
        pass


def test_an_epoch_that_nobody_gave_out_is_refused(engine):
    fence = take(engine)
    with transaction(engine) as connection:
        connection.exec_driver_sql("DELETE FROM trading_epochs")
    with pytest.raises(Superseded, match="traded by nobody"):
        fence.holding().__enter__()


def test_nobody_takes_over_between_the_check_and_the_end_of_the_transaction(engine):
    old, order = take(engine, "old"), []
    inside, taker = threading.Event(), None

    def take_over():
        take(engine, "new")
        order.append("taken over")

    with old.holding():
        taker = threading.Thread(target=take_over)
        taker.start()
        inside.wait(0.15)  # time in which it would take over, if it could
        order.append("sent")
    taker.join(60)
    assert order == ["sent", "taken over"]


@pytest.mark.parametrize("write", ["decision", "state", "fills", "session", "flow"])
def test_every_write_of_the_order_path_is_refused_to_a_process_that_was_superseded(engine, write):
    old = take(engine, "old", account="paper")
    stale = Journal(engine, "paper", fence=old)
    first = make_order(10, tick="one")
    stale.record_decision(make_decision([first], "one"), [first])
    fresh = Journal(engine, "paper", fence=take(engine, "new", account="paper"))
    before = fresh.head()
    second = make_order(7, tick="two")
    calls = {
        "decision": lambda j: j.record_decision(make_decision([second], "two"), [second]),
        "state": lambda j: order_state(j, first.order_id, OrderState.WORKING, START),
        "fills": lambda j: j.record_fills([make_fill(5, "10", "0.07", of=first)]),
        "session": lambda j: j.close_session(_session(j)),
        "flow": lambda j: j.record_flow(_flow()),
    }
    with pytest.raises(Superseded):
        calls[write](stale)
    assert fresh.head() == before
    assert calls[write](fresh)
    assert fresh.head() != before


def _flow():
    return CashFlow(flow_id="more", amount=Decimal("10.00"), at=START, note="")


def _session(journal):
    book = journal.book()
    return SessionRecord(
        account=journal.account,
        day=START.date(),
        closed_at=START,
        marks={},
        positions={},
        cash=book.cash,
        equity=book.cash,
        realised=book.realised,
        unrealised=Decimal("0.00"),
        fees=book.fees_paid,
        benchmark="none",
        benchmark_return=None,
        breaks=(),
    )


def test_a_slot_is_claimed_once_and_ended_once(engine):
    slots = slots_of(engine)
    assert slots.last_ended() is None
    assert slots.claim(FRIDAY, AT)
    assert slots.claim(FRIDAY, AT)  # the same process, at its next attempt
    assert slots.end(FRIDAY, "done", AT)
    assert not slots.claim(FRIDAY, AT)
    assert not slots.end(FRIDAY, "late", AT)
    assert slots.last_ended() == FRIDAY
    assert [note.outcome for note in slots.notes()] == ["claimed", "done"]


def test_a_claim_whose_process_died_is_taken_up_by_the_next_epoch(engine):
    slots_of(engine, "dead").claim(FRIDAY, AT)
    heir = slots_of(engine, "heir")
    assert heir.claim(FRIDAY, AT)
    assert heir.claim(FRIDAY, AT)
    assert heir.end(FRIDAY, "done", AT)
    told = [(note.outcome, note.holder, note.epoch) for note in heir.notes()]
    assert told == [("claimed", "dead", 1), ("resumed", "heir", 2), ("done", "heir", 2)]


def test_a_process_that_was_superseded_neither_claims_nor_ends_nor_gives_up(engine):
    old = slots_of(engine, "old")
    old.claim(FRIDAY, AT)
    new = slots_of(engine, "new")
    for call in (
        lambda: old.claim(MONDAY, AT),
        lambda: old.end(FRIDAY, "done", AT),
        lambda: old.gave_up(FRIDAY, AT, "no"),
    ):
        with pytest.raises(Superseded):
            call()
    assert [note.outcome for note in new.notes()] == ["claimed"]


def test_two_replicas_that_both_believe_to_lead_claim_no_slot_twice(engine):
    """Whatever order they run in, each slot has one holder: the last epoch."""
    days = [date(2026, 3, 2) + timedelta(days=n) for n in range(5)]
    claims: list[tuple[date, str]] = []

    def replica(name: str) -> None:
        slots = slots_of(engine, name)
        for day in days:
            try:
                if slots.claim(day, AT):
                    slots.end(day, "done", AT)
                    claims.append((day, name))
            except Superseded:
                return

    threads = [threading.Thread(target=replica, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(day for day, _ in claims) == days
    ended = [note for note in slots_of(engine).notes() if note.outcome == "done"]
    assert sorted(note.slot for note in ended) == days


def test_what_was_given_up_may_be_taken_up_again(engine):
    slots = slots_of(engine)
    slots.claim(FRIDAY, AT)
    slots.gave_up(FRIDAY, AT, "no bars")
    assert slots.last_ended() is None
    assert slots_of(engine, "b").claim(FRIDAY, AT)
    assert [note.reason for note in slots.notes()] == ["", "no bars", ""]


def test_a_clock_that_lies_behind_the_record_claims_nothing(engine):
    slots_of(engine, "ahead").claim(FRIDAY, AT + timedelta(hours=1))
    slots = slots_of(engine, "behind")
    with pytest.raises(ClockInDoubt, match="ahead wrote at 2026-03-06T22:05"):
        slots.claim(FRIDAY, AT)
    assert slots.claim(FRIDAY, AT + timedelta(minutes=59, seconds=30))


def test_the_schedules_chain_is_whole(engine):
    slots = slots_of(engine)
    slots.claim(FRIDAY, AT)
    slots.end(FRIDAY, "done", AT)
    assert ChainedLog(engine, TABLE).verify().seq == 2
    with transaction(engine) as connection:
        connection.exec_driver_sql(f"UPDATE {TABLE} SET key = 'x' WHERE seq = 1")
    with pytest.raises(JournalBroken):
        ChainedLog(engine, TABLE).verify()


@pytest.fixture
def leads(database_url, engine, tmp_path):
    """Two replicas' leads over the same database."""
    if database_url.startswith("sqlite"):
        path = tmp_path / "trade.lead"
        made = FileLead(path), FileLead(path)
    else:
        made = PostgresLead(engine, "trade"), PostgresLead(engine, "trade")
    yield made
    for one in made:
        one.release()


def test_one_of_two_leads_and_the_other_follows_when_it_lets_go(leads):
    one, other = leads
    assert (one.take(), other.take()) == (True, False)
    assert (one.take(), one.holds(), other.holds()) == (True, True, False)
    one.release()
    assert (one.holds(), other.take(), other.holds()) == (False, True, True)
    assert not one.take()


def test_a_lock_file_that_was_removed_is_noticed(tmp_path):
    one, other = FileLead(tmp_path / "l"), FileLead(tmp_path / "l")
    assert one.take()
    (tmp_path / "l").unlink()
    assert not one.holds()
    assert other.take()
    assert (one.take(), other.holds()) == (False, True)


def test_a_leader_whose_session_the_server_ended_does_not_lead(postgres_server):
    with postgres_server.database() as url:
        engine = open_database(url)
        one, other = PostgresLead(engine, "trade"), PostgresLead(engine, "trade")
        assert one.take()
        with transaction(engine) as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                "AND granted AND pid <> pg_backend_pid()"
            )
        assert not one.holds()
        assert other.take()
        other.release()
        engine.dispose()


def test_a_leader_that_sends_no_beat_loses_the_lock_to_the_next(postgres_server):
    with postgres_server.database() as url:
        engine = open_database(url)
        one, other = PostgresLead(engine, "trade", stall=0.3), PostgresLead(engine, "trade")
        assert one.take()
        waiting = threading.Event()
        assert any(other.take() or waiting.wait(0.05) for _ in range(1200))
        assert not one.holds()
        other.release()
        engine.dispose()
