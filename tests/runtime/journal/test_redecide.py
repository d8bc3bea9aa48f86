"""Decisions are reached again from the journal alone, to the byte, and a change is noticed."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundles.inference import DecisionSession
from runtime.database import open_database, transaction
from runtime.errors import JournalBroken
from runtime.journal.records import DecisionRecord
from runtime.journal.redecide import redecide
from runtime.journal.store import Journal
from runtime.plan import signals
from tests.fakes.graphs import SYMBOLS, WINDOW, tilt_graph
from tests.runtime.journal.trading import make_decision

DAYS = [date(2017, month, 28) for month in range(1, 13)]
GRAPH = tilt_graph()


def loaded(bundle: str) -> DecisionSession:
    return DecisionSession(GRAPH)


def decided(day: date, seed: int) -> DecisionRecord:
    """Return a decision of the tilt graph on random prices."""
    random = np.random.default_rng(seed)
    inputs = {
        "prices": random.uniform(50, 150, (len(SYMBOLS), WINDOW)),
        "current": random.dirichlet(np.ones(len(SYMBOLS))) * 0.9,
    }
    answer = loaded("").run(inputs)
    return replace(
        make_decision(tick=day.isoformat()),
        symbols=SYMBOLS,
        inputs=inputs,
        inputs_hash="",
        current=tuple(inputs["current"].tolist()),
        scores=tuple(answer.score.tolist()),
        weights=tuple(answer.weight.tolist()),
        signals=signals(SYMBOLS, answer),
    )


def refused(day: date) -> DecisionRecord:
    return replace(
        make_decision(tick=day.isoformat()),
        symbols=(),
        inputs={},
        inputs_hash="",
        current=(),
        scores=(),
        weights=(),
        signals=(),
        plan=(),
    )


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('redecide') / 'a.db'}")
    journal = Journal(engine)
    for number, day in enumerate(DAYS[:-1]):
        journal.record_decision(decided(day, number), [])
    journal.record_decision(refused(DAYS[-1]), [])
    yield journal
    engine.dispose()


def test_every_decision_comes_out_as_it_is_journalled(journal):
    found = redecide(journal, loaded)
    assert (found.decisions, found.refusals, found.evaluations) == (11, 1, 11)
    assert found.differences == ()


@settings(max_examples=15)
@given(
    start=st.sampled_from([None, *DAYS]),
    end=st.sampled_from([None, *DAYS]),
    evaluations=st.integers(0, 300),
    threads=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_range_repetition_threads_and_order_change_no_byte(
    journal, start, end, evaluations, threads, seed
):
    found = redecide(
        journal,
        loaded,
        start=start,
        end=end,
        evaluations=evaluations,
        threads=threads,
        seed=seed,
    )
    asked = [day for day in DAYS[:-1] if (start or day) <= day <= (end or day)]
    assert found.decisions == len(asked)
    assert found.evaluations == (max(len(asked), evaluations) if asked else 0)
    assert found.differences == ()


def test_another_graph_is_noticed_in_every_decision(journal):
    found = redecide(journal, lambda _: DecisionSession(tilt_graph(tilt=8.000000001)))
    assert len(found.differences) == 11
    assert found.differences[0].tick == DAYS[0].isoformat()
    assert "weights differ by up to" in found.differences[0].what


def test_a_graph_that_changes_its_mind_is_noticed_when_asked_again(journal):
    loads = []

    def moody(bundle):
        loads.append(bundle)
        return DecisionSession(GRAPH if len(loads) == 1 else tilt_graph(inertia=0.2))

    assert redecide(journal, moody).differences == ()
    loads.clear()
    found = redecide(journal, moody, evaluations=20, threads=2)
    assert len(found.differences) == 9


def test_a_record_that_says_other_signals_than_its_graph_is_noticed(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'b.db'}")
    journal = Journal(engine)
    record = decided(DAYS[0], 1)
    journal.record_decision(replace(record, signals=record.signals[::-1]), [])
    (found,) = redecide(journal, loaded).differences
    assert found.what == "its entry would be written with other bytes"
    with transaction(engine) as connection:
        connection.exec_driver_sql("UPDATE journal_blobs SET data = x'00'")
    with pytest.raises(JournalBroken, match="stored inputs"):
        redecide(journal, loaded)
    engine.dispose()
