"""Decisions are reached again from the journal alone, to the byte, and every change is noticed."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime.tick
from runtime.bundles.inference import DecisionSession
from runtime.database import open_database, reading, transaction
from runtime.errors import DatabaseUnavailable, JournalBroken
from runtime.journal.blobs import compress, decode_arrays, encode_arrays, restore
from runtime.journal.queries import JournalQueries
from runtime.journal.redecide import Redecided, redecide
from runtime.journal.store import Journal
from runtime.market.states import Published
from tests.fakes.graphs import tilt_graph
from tests.fakes.market import Bench, open_bench
from tests.runtime.journal.eventful import RESTING, SESSIONS, open_eventful, trade
from tests.runtime.journal.trading import make_decision

DAYS = [session.day for session in SESSIONS]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    opened = trade(open_eventful(tmp_path_factory.mktemp("eventful")))
    yield opened
    opened.close()


@pytest.fixture
def copied(bench, tmp_path):
    """A copy of the account's database, to be tampered with."""
    with (
        sqlite3.connect(bench.folder / "runtime.db") as standing,
        sqlite3.connect(tmp_path / "copy.db") as copy,
    ):
        standing.backup(copy)
    journal = JournalQueries(open_database(f"sqlite:///{tmp_path / 'copy.db'}"), "paper")
    yield journal
    journal.engine.dispose()


def again(bench: Bench, journal: JournalQueries | None = None, **options) -> Redecided:
    return redecide(journal or bench.desk.journal, lambda _: bench.bundle, **options)


def test_every_decision_comes_out_as_it_is_journalled_whatever_happened(bench):
    found = again(bench)
    assert found.differences == ()
    assert found.whole == found.decisions + found.refusals == len(DAYS)
    records = [one.record for one in bench.desk.journal.decisions(limit=100)]
    said = " ".join(
        f"{verdict.check} {verdict.limit} {verdict.reason}"
        for record in records
        for line in record.plan
        for verdict in line.verdicts
        if not verdict.passed
    )
    for word in ("position 21", "no reason given", "another bundle", "code T1", "holds other"):
        assert word in said, said
    refusals = {note for record in records if not record.symbols for note in record.notes}
    assert any("bars are not known" in note for note in refusals)
    assert any("not finite" in note for note in refusals)
    assert len({record.policy_hash for record in records}) == 2


@pytest.mark.parametrize("execution", [None, RESTING], ids=["at the market", "resting"])
def test_restarts_leave_every_decision_as_it_is(tmp_path, bench, execution):
    restarts = frozenset(DAYS[5::3])
    sessions = SESSIONS if execution is None else SESSIONS[:28]
    eventful = open_eventful(tmp_path, execution=execution)
    opened = trade(eventful, restarts=restarts, sessions=sessions)
    found = again(opened)
    assert (found.whole, found.differences) == (len(sessions), ())
    if execution is None:
        assert opened.desk.journal.head() == bench.desk.journal.head()
    else:
        working = [one for one in opened.desk.journal.orders() if one.note.startswith("replaced")]
        assert working  # so that decisions had resting orders to take into account
    opened.close()


@settings(max_examples=10)
@given(
    start=st.sampled_from([None, *DAYS]),
    end=st.sampled_from([None, *DAYS]),
    pieces=st.integers(1, 4),
    evaluations=st.integers(0, 300),
    threads=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_range_pieces_repetition_and_threads_change_no_byte(
    bench, start, end, pieces, evaluations, threads, seed
):
    parts = [
        again(
            bench,
            start=start,
            end=end,
            part=(number, pieces),
            evaluations=evaluations,
            threads=threads,
            seed=seed,
        )
        for number in range(pieces)
    ]
    asked = [day for day in DAYS if (start or day) <= day <= (end or day)]
    assert sum(one.whole for one in parts) == len(asked)
    assert [difference for one in parts for difference in one.differences] == []
    for one in parts:
        assert one.evaluations == (max(one.decisions, evaluations) if one.decisions else 0)


def test_another_graph_is_noticed_in_every_decision(bench):
    other = replace(bench.bundle, session=DecisionSession(tilt_graph(tilt=8.000000001)))
    found = redecide(bench.desk.journal, lambda _: other)
    assert len(found.differences) == found.decisions
    first = found.differences[0]
    assert first.field.startswith("weights[")
    assert first.was != first.now
    assert float(first.was) == pytest.approx(float(first.now))


def test_a_graph_that_changes_its_mind_is_noticed_when_asked_again(bench):
    loads = []

    def moody(_):
        loads.append(1)
        graph = tilt_graph() if len(loads) == 1 else tilt_graph(inertia=0.2)
        return replace(bench.bundle, session=DecisionSession(graph))

    assert redecide(bench.desk.journal, moody).differences == ()
    loads.clear()
    found = redecide(bench.desk.journal, moody, evaluations=100, threads=2)
    assert len(found.differences) == 100 - found.decisions


@pytest.mark.parametrize(
    ("function", "wrong", "field"),
    [
        ("make_plan", lambda plan: replace(plan, orders=plan.orders[1:]), "plan["),
        ("judge", lambda judged: judged[::-1], "plan["),
        (
            "route_order",
            lambda route: msgspec.structs.replace(route, explanation="elsewhere"),
            "].route",
        ),
        ("inside_bands", lambda orders: orders[:-1], "plan"),
    ],
)
def test_other_code_than_the_one_that_decided_is_noticed(
    bench, monkeypatch, function, wrong, field
):
    real = getattr(runtime.tick, function)
    monkeypatch.setattr(runtime.tick, function, lambda *a, **k: wrong(real(*a, **k)))
    found = again(bench)
    assert found.differences
    assert any(field in one.field for one in found.differences), found.differences[:3]


def test_a_changed_price_of_one_quote_is_found_in_the_decision_that_saw_it(bench, copied):
    victim = _decided(copied, "2017-01-20")
    name = victim.record.scene_hash
    scene = msgspec.json.decode(_blob(copied, name))
    scene["quotes"][0]["ask"] = str(Decimal(scene["quotes"][0]["ask"]) + Decimal("0.01"))
    _store(copied, name, msgspec.json.encode(scene))
    assert _told(again(bench, copied)) == [(victim.record.decision_id, "scene")]


def test_one_changed_byte_of_inputs_is_found_in_the_decision_that_read_it(bench, copied):
    victim = _decided(copied, "2017-01-20")
    data = bytearray(_blob(copied, victim.record.inputs_hash))
    data[-1] ^= 1
    _store(copied, victim.record.inputs_hash, bytes(data))
    found = again(bench, copied)
    assert _told(found) == [(victim.record.decision_id, "inputs")]
    assert "were changed" in found.differences[0].what


def test_a_changed_limit_is_found_in_every_decision_that_names_the_policy(bench, copied):
    narrow = _decided(copied, "2017-01-20").record.policy_hash
    policy = _blob(copied, narrow)
    assert b'"0.21"' in policy
    _store(copied, narrow, policy.replace(b'"0.21"', b'"0.22"'))
    named = [
        one.record.decision_id
        for one in reversed(copied.decisions(limit=100))
        if one.record.policy_hash == narrow
    ]
    assert _told(again(bench, copied)) == [(name, "policy") for name in named]
    assert len(named) == 9


@pytest.mark.parametrize(
    ("what", "field"),
    [("inputs_hash", "inputs"), ("scene_hash", "scene"), ("policy_hash", "policy")],
)
def test_what_is_missing_is_named(bench, copied, what, field):
    victim = _decided(copied, "2017-01-20").record
    with transaction(copied.engine) as connection:
        connection.exec_driver_sql(
            "DELETE FROM journal_blobs WHERE name = ?", (getattr(victim, what),)
        )
    found = again(bench, copied)
    assert (victim.decision_id, field) in _told(found)
    assert {one.field for one in found.differences} == {field}
    assert "are missing" in found.differences[0].now


@pytest.mark.parametrize("what", ["inputs_hash", "scene_hash", "policy_hash", "arrays"])
def test_an_audit_holds_what_a_decision_was_told_against_its_hash(copied, what):
    """Not only whoever decides again, who reads some days of one account, finds it changed."""
    whole = Journal(copied.engine)
    whole.verify()
    victim = _decided(copied, "2017-02-22").record
    if what == "arrays":
        name = msgspec.json.decode(_blob(copied, victim.scene_hash))["arrays"]
    else:
        name = getattr(victim, what)
    _store(copied, name, _blob(copied, name) + b" ")
    with pytest.raises(JournalBroken, match=f"{name} were changed"):
        whole.verify()
    with transaction(copied.engine) as connection:
        connection.exec_driver_sql("DELETE FROM journal_blobs WHERE name = ?", (name,))
    with pytest.raises(JournalBroken, match=f"{name} of a decision are missing"):
        whole.verify()


def test_what_was_read_for_a_refusal_is_proved_too(bench, copied):
    victim = _decided(copied, "2017-02-22").record
    assert not victim.symbols
    name = msgspec.json.decode(_blob(copied, victim.scene_hash))["arrays"]
    arrays = {key: value.copy() for key, value in decode_arrays(_blob(copied, name)).items()}
    assert np.isnan(arrays["0"]).any()
    _store(copied, name, encode_arrays({key: np.ones_like(arrays[key]) for key in arrays}))
    assert _told(again(bench, copied)) == [(victim.decision_id, "scene")]


class Down:
    """Answers of a desk, one of which cannot be had on each of three days."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.real = bench, bench.desk
        self.days = dict(zip(("approved", "market", "kill"), DAYS[6:9], strict=True))
        self.deciding = set[date]()

    def check(self, what: str) -> None:
        if self.days.get(what) == self.bench.desk.clock.now().date():
            del self.days[what]
            raise DatabaseUnavailable(f"{what} cannot be had")

    def approved(self) -> str | None:
        self.check("approved")
        self.deciding.add(self.bench.desk.clock.now().date())
        return self.real.approved()

    def market(self, at: datetime) -> Mapping[str, Published]:
        self.check("market")
        return self.real.market(at)

    def engaged(self) -> dict[str, str]:
        today = self.bench.desk.clock.now().date()
        if today in self.deciding:  # before that it is read for the orders that stand
            self.check("kill")
        return self.real.kill.engaged()


def test_an_answer_that_could_not_be_had_is_proved_as_the_refusal_it_became(tmp_path):
    bench = open_eventful(tmp_path)
    down = Down(bench)
    bench.changed(approved=down.approved, market=down.market, kill=down)
    trade(bench, sessions=SESSIONS[:10])
    assert down.days == {}
    refused = {
        one.record.tick: one.record.notes
        for one in bench.desk.journal.decisions(limit=100)
        if any("cannot be had" in note for note in one.record.notes)
    }
    assert refused == {
        day.isoformat(): (f"refused: {what} cannot be had",)
        for what, day in zip(("approved", "market", "kill"), DAYS[6:9], strict=True)
    }
    found = again(bench)
    assert (found.whole, found.differences) == (10, ())
    bench.close()


def test_a_forged_entry_is_named_by_decision_field_was_and_is(bench, copied):
    """The chain would not hold either; here the forger is caught by what he wrote."""
    victim = next(
        one
        for one in copied.decisions(limit=100)
        if one.record.plan and not one.record.plan[0].denied
    )
    line = victim.record.plan[0]
    _forge(copied, victim.seq, line.verdicts[4].observed, "12.34%")
    (one, *_) = again(bench, copied).differences
    assert one.decision_id == victim.record.decision_id
    assert one.field == f"plan[{line.order.symbol}].verdicts[5 exposure].observed"
    assert (one.was, one.now) == ("12.34%", line.verdicts[4].observed)


def test_a_fill_that_was_another_one_changes_what_is_decided_after_it(bench, copied):
    fill = next(one for one in copied.fills() if one.fill.executed_at.date() > date(2017, 1, 5))
    price = fill.fill.price
    _forge(copied, fill.seq, f'"price":"{price}"', f'"price":"{price + 1}"')
    found = again(bench, copied)
    after = [one for one in copied.decisions(limit=100) if one.seq > fill.seq]
    assert {one.decision_id for one in found.differences} <= {
        one.record.decision_id for one in after
    }
    assert len(found.differences) > len(after) * 0.9
    assert found.differences[0].field in {"inputs_hash", "current[0]", "cash", "scores[0]"} | {
        f"current[{n}]" for n in range(4)
    }


def test_a_decision_nobody_listened_to_is_held_to_its_graph_and_counted_apart(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'b.db'}")
    journal, bench = Journal(engine), open_bench(tmp_path)
    random = np.random.default_rng(1)
    inputs = {"prices": random.uniform(50, 150, (4, 5)), "current": np.full(4, 0.2)}
    answer = bench.bundle.session.run(inputs)
    record = replace(
        make_decision(),
        symbols=bench.bundle.manifest.symbols,
        inputs=inputs,
        inputs_hash="",
        current=tuple(inputs["current"].tolist()),
        scores=tuple(answer.score.tolist()),
        weights=tuple(answer.weight.tolist()),
        signals=runtime.plan.signals(bench.bundle.manifest.symbols, answer),
    )
    journal.record_decision(record, [])
    other = replace(make_decision(tick="2017-02-28"), signals=record.signals[::-1])
    journal.record_decision(
        replace(record, tick=other.tick, decision_id=other.decision_id, signals=other.signals), []
    )
    found = redecide(journal, lambda _: bench.bundle)
    assert (found.decisions, found.whole) == (2, 0)
    assert [(one.decision_id, one.field) for one in found.differences] == [
        (other.decision_id, f"signals[{record.symbols[-1]}].symbol")
    ]
    engine.dispose()
    bench.close()


def test_one_session_of_the_graph_computes_in_one_thread(bench):
    options = bench.bundle.session._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.use_deterministic_compute


def _told(found: Redecided) -> list[tuple[str, str]]:
    return [(one.decision_id, one.field) for one in found.differences]


def _decided(journal: JournalQueries, tick: str):
    return next(one for one in journal.decisions(limit=100) if one.record.tick == tick)


def _blob(journal: JournalQueries, name: str) -> bytes:
    with reading(journal.engine) as connection:
        query = "SELECT data FROM journal_blobs WHERE name = ?"
        ((data,),) = journal.sql.rows(connection, query, (name,))
    return restore(name, bytes(data))


def _store(journal: JournalQueries, name: str, data: bytes) -> None:
    with transaction(journal.engine) as connection:
        connection.exec_driver_sql(
            "UPDATE journal_blobs SET data = ? WHERE name = ?", (compress(data), name)
        )


def _forge(journal: JournalQueries, seq: int, was: str, now: str) -> None:
    """Write another text into an entry, its first occurrence."""
    with transaction(journal.engine) as connection:
        ((payload,),) = journal.sql.rows(
            connection, "SELECT payload FROM journal WHERE seq = ?", (seq,)
        )
        assert was.encode() in payload
        changed = bytes(payload).replace(was.encode(), now.encode(), 1)
        connection.exec_driver_sql("UPDATE journal SET payload = ? WHERE seq = ?", (changed, seq))
