"""What was written wrong from the start is found by the proof, though chain and rows are whole."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace as changed

from runtime.database import open_database
from runtime.domain import OrderState
from runtime.errors import JournalBroken, OrderInvalid
from runtime.journal import wire
from runtime.journal.actions import Dividend
from runtime.journal.adjustments import Adjustments
from runtime.journal.store import Journal
from tests.runtime.journal.trading import START, make_decision, make_fill, make_order


@pytest.fixture
def journal(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'runtime.db'}")
    yield Journal(engine)
    engine.dispose()


def trade(journal: Journal) -> None:
    order = make_order(100)
    journal.record_decision(make_decision([order]), [order])
    journal.record_fills([make_fill(100, "10.00", "0.10", number=1, of=order)])
    paid = Dividend(
        action_id="d", symbol="AAA", effective=START.replace(year=2018), per_unit=Decimal("0.10")
    )
    Adjustments(journal).record_action(paid)


@pytest.mark.parametrize(
    ("writer", "wrong", "words"),
    [
        ("encode_fill", {"realised": "5.00"}, "realises what the fills do not give"),
        ("encode_fill", {"realised_average": "5.00"}, "realises what the fills do not give"),
        ("encode_fill", {"state": OrderState.WORKING}, "leaves its order working"),
        ("encode_fill", {"postings": (("cash", "", "1.00"),)}, "not the balanced double entry"),
        ("encode_adjustment", {"realised": "5.00"}, "realises what the events do not give"),
        ("encode_adjustment", {"realised_average": "5.00"}, "what the events do not give"),
        ("encode_adjustment", {"postings": ()}, "not the balanced double entry"),
    ],
)
def test_an_entry_that_a_writer_got_wrong_is_found(journal, monkeypatch, writer, wrong, words):
    right = getattr(wire, writer)

    def careless(*args) -> bytes:
        payload = right(*args)
        if writer == "encode_fill":
            return msgspec.json.encode(changed(wire.decode_fill(payload), **wrong))
        return msgspec.json.encode(changed(wire.decode_adjustment("dividend", payload), **wrong))

    monkeypatch.setattr(wire, writer, careless)
    trade(journal)
    assert journal.log.verify() == journal.head()  # the chain is as whole as any
    with pytest.raises(JournalBroken, match=words):
        journal.verify()


def test_what_writers_get_right_is_proved(journal):
    trade(journal)
    assert journal.verify() == journal.head()


def test_a_decision_is_not_kept_without_the_scene_that_it_names(journal):
    bare = replace(make_decision(), scene_hash="5" * 64)
    with pytest.raises(OrderInvalid, match="its scene is not given with it"):
        journal.record_decision(bare, [])
    assert journal.head().seq == 0
