"""The decision store answers by day, symbol, bundle and verdict, on every database."""

from dataclasses import replace
from datetime import date

import msgspec
import pytest

from runtime.database import open_database, transaction
from runtime.errors import JournalBroken, OrderInvalid
from runtime.journal.decisions import DecisionStore
from runtime.journal.records import decision_id
from runtime.journal.store import Journal
from tests.runtime.journal.trading import make_decision, make_order

OTHER = "c" * 64


@pytest.fixture
def journal(database_url):
    """Five months: AAA is bought in all but the last, in which nothing is decided."""
    engine = open_database(database_url)
    journal = Journal(engine)
    for month in range(1, 5):
        tick, bundle = f"2017-0{month}-28", "b" * 64 if month < 3 else OTHER
        order = make_order(100, "AAA", tick=tick, bundle=bundle)
        journal.record_decision(make_decision([order], tick, bundle=bundle), [order])
    empty = replace(
        make_decision([], "2017-05-28"),
        symbols=(),
        inputs={},
        inputs_hash="",
        current=(),
        scores=(),
        weights=(),
        signals=(),
        plan=(),
        notes=("refused: no bar",),
    )
    journal.record_decision(empty, [])
    yield journal
    engine.dispose()


def months(found) -> list[int]:
    return [int(one.record.tick[5:7]) for one in found]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"start": date(2017, 2, 28), "end": date(2017, 4, 28)}, [4, 3, 2]),
        ({"end": date(2017, 2, 27)}, [1]),
        ({"symbol": "AAA"}, [4, 3, 2, 1]),
        ({"symbol": "BBB"}, [4, 3, 2, 1]),
        ({"symbol": "ZZZ"}, []),
        ({"symbol": "AAA", "verdict": "ordered"}, [4, 3, 2, 1]),
        ({"symbol": "AAA", "verdict": "denied"}, []),
        ({"symbol": "BBB", "verdict": "denied", "bundle": "c"}, [4, 3]),
        ({"verdict": "3 size", "bundle": "bb"}, [2, 1]),
        ({"verdict": "6 loss"}, []),
        ({"verdict": "refused"}, [5]),
        ({"limit": 2}, [5, 4]),
    ],
)
def test_every_condition_narrows_what_is_found(journal, asked, expected):
    assert months(DecisionStore(journal).find(**asked)) == expected


def test_pages_follow_one_another(journal):
    store = DecisionStore(journal)
    first = store.find(limit=2)
    second = store.find(limit=2, before=first[-1].seq)
    assert months([*first, *second]) == [5, 4, 3, 2]
    assert first[0].record.inputs == {}
    with pytest.raises(OrderInvalid, match="at least one"):
        store.find(limit=0)


def test_another_account_s_decisions_are_not_shown(journal):
    other = Journal(journal.engine, "other")
    assert DecisionStore(other).find() == ()
    assert list(DecisionStore(other).stored()) == []


def test_what_is_stored_comes_oldest_first_with_its_inputs(journal):
    stored = list(DecisionStore(journal).stored(date(2017, 2, 1), date(2017, 3, 31)))
    first = journal.decision(decision_id("paper", "b" * 64, "2017-02-28"))
    assert first is not None
    assert [one.seq for one in stored] == [first.seq, first.seq + 1]
    assert stored[0].inputs == first.record.inputs_hash


def test_an_index_that_was_tampered_with_is_found(journal):
    journal.verify()
    with transaction(journal.engine) as connection:
        connection.exec_driver_sql("UPDATE journal_denials SET failed = '8 health' WHERE seq = 1")
    with pytest.raises(JournalBroken, match="journal_denials"):
        journal.verify()


def test_an_order_that_left_though_a_check_refused_it_is_found_by_an_audit(journal):
    """Nobody listens for it while trading, where what left counts as refused by nobody."""
    tick = "2017-06-28"
    order = make_order(100, "AAA", tick=tick)
    sound = make_decision([order], tick)
    sent, denied = sound.plan
    bad = msgspec.structs.replace(sent, verdicts=(*sent.verdicts, *denied.verdicts))
    journal.record_decision(replace(sound, plan=(bad, denied)), [order])
    with pytest.raises(JournalBroken, match="sent an order in AAA though a check refused it"):
        journal.verify()
