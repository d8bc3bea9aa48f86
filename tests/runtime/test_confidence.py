"""A graph that says how sure it is: checked like every output, journalled, held to its word."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import msgspec
import numpy as np
import pytest
from onnx import helper

from runtime.bundles.contract import DeclaredConfidence, canonical
from runtime.bundles.explain import ablate
from runtime.bundles.golden import golden_bytes, read_golden
from runtime.bundles.inference import Decided, DecisionSession
from runtime.engine import Engine, fund
from runtime.errors import BundleRefused, DecisionInvalid
from runtime.joint.joint_graph import JointGraph
from runtime.journal.redecide import redecide
from runtime.plan import signals
from tests.fakes.graphs import SYMBOLS, graph_bytes, tilt_graph, tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, open_bench
from tests.fakes.several import joint_desk, members, tilted
from tests.fakes.sure import DECLARED, FLOOR, sure_bundle, sure_graph, sure_inputs, sure_rows
from tests.runtime.test_shadow import shadowed

FRIDAYS = (date(2017, 1, 6), date(2017, 1, 13))


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path)
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


def ran(desk, start: date, end: date):
    """Run every session between two days and return the desk's journal."""
    engine = Engine(desk)
    for session in XNYS.sessions(start, end):
        desk.clock.advance(session.close)
        engine.run_session(session)
    return desk.journal


def test_the_third_output_is_the_formula_and_abstaining_leaves_exact_zeros():
    given = sure_inputs(7)
    decided = DecisionSession(sure_graph(), abstains_below=FLOOR).run(given)
    ratio = given["prices"][:, -1] / given["prices"][:, 0]
    np.testing.assert_allclose(decided.confidence, 1 / (1 + np.exp(-20 * (ratio - 1))), rtol=1e-12)
    unsure = decided.confidence < FLOOR
    assert 0 < unsure.sum() < unsure.size
    plain = DecisionSession(tilt_graph()).run(given)
    assert plain.confidence is None
    np.testing.assert_array_equal(decided.weight, np.where(unsure, 0.0, plain.weight))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (sure_graph(stretch=2.5), "confidence must lie in 0..1"),
        (sure_graph(shift=-0.6), "confidence must lie in 0..1"),
        (sure_graph(abstains=False), "below 0.5 the graph promised to abstain"),
    ],
)
def test_an_impossible_confidence_or_a_broken_promise_is_no_decision(graph, words):
    with pytest.raises(DecisionInvalid, match=words):
        DecisionSession(graph, abstains_below=FLOOR).run(sure_inputs(7))


def test_a_confidence_that_is_not_a_number_is_no_decision():
    said = {"score": "fixed", "weight": "fixed", "confidence": "sure"}
    graph = graph_bytes(
        [helper.make_node("Identity", [source], [name]) for name, source in said.items()],
        {"fixed": np.array([0.1, 0.1])},
        inputs={"sure": ("n",)},
        outputs=dict.fromkeys(said, ("n",)),
    )
    session = DecisionSession(graph)
    assert session.run({"sure": np.array([0.0, 1.0])}).confidence is not None
    for wild in (np.nan, np.inf, -np.inf):
        with pytest.raises(DecisionInvalid, match=r"confidence must lie in 0\.\.1"):
            session.run({"sure": np.array([0.5, wild])})


def test_manifest_and_graph_must_agree_that_there_is_a_confidence(tmp_path):
    assert sure_bundle(tmp_path / "both", sure_graph()).session.confident
    with pytest.raises(BundleRefused, match="gives a confidence, the manifest declares no"):
        sure_bundle(tmp_path / "undeclared", sure_graph(), manifest=tilt_manifest())
    with pytest.raises(BundleRefused, match="to abstain by a confidence that it does not give"):
        sure_bundle(tmp_path / "no output", tilt_graph())
    never = msgspec.structs.replace(DECLARED, abstains_below=None)
    with pytest.raises(BundleRefused, match="gives no confidence, the manifest declares a"):
        sure_bundle(
            tmp_path / "neither",
            tilt_graph(),
            manifest=msgspec.structs.replace(tilt_manifest(), confidence=never),
        )
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        DeclaredConfidence(of="crowd", means="", abstains_below=1.5)


def test_a_bundle_without_confidence_says_nothing_of_it():
    assert b"confidence" not in canonical(tilt_manifest())
    rows = [replace(row, confidence=None) for row in sure_rows(sure_graph())]
    assert b"confidence" not in golden_bytes(rows)


def test_golden_rows_carry_the_confidence_and_a_changed_bit_is_refused(tmp_path):
    rows = sure_rows(sure_graph())
    (back, *_) = read_golden(golden_bytes(rows))
    assert back.confidence.tobytes() == rows[0].confidence.tobytes()
    nudged = [replace(row, confidence=np.nextafter(row.confidence, 1.0)) for row in rows]
    with pytest.raises(BundleRefused, match="confidence differs by up to"):
        sure_bundle(tmp_path / "nudged", sure_graph(), rows=nudged)
    missing = [replace(row, confidence=None) for row in rows]
    with pytest.raises(BundleRefused, match="confidence is on one side only"):
        sure_bundle(tmp_path / "missing", sure_graph(), rows=missing)
    with pytest.raises(ValueError, match="the same inputs and outputs"):
        golden_bytes([rows[0], replace(rows[1], confidence=None)])


def test_signals_say_what_the_graph_said():
    sure = np.array([0.2, 0.9, 0.5, 0.6])
    said = signals(SYMBOLS, Decided(score=np.arange(4.0), weight=np.zeros(4), confidence=sure))
    assert [one.confidence for one in said] == sure.tolist()


def test_the_engine_journals_the_confidence_and_decides_it_again(bench, tmp_path):
    bundle = sure_bundle(tmp_path / "sure", sure_graph())
    desk = replace(bench.desk, bundle=bundle, approved=lambda: bundle.hash)
    journal = ran(desk, FRIDAYS[0], date(2017, 1, 20))
    decisions = [journal.decision(one.record.decision_id).record for one in journal.decisions()]
    assert len(decisions) == 3
    for record in decisions:
        decided = bundle.session.run(record.inputs)
        said = np.array([one.confidence for one in record.signals])
        assert said.tobytes() == decided.confidence.tobytes()
        assert all(one.weight == 0.0 for one in record.signals if one.confidence < FLOOR)
    found = redecide(journal, lambda _: bundle, evaluations=10)
    assert (found.decisions, found.evaluations, found.differences) == (3, 10, ())
    nudged = replace(bundle, session=DecisionSession(sure_graph(shift=1e-15)))
    other = redecide(journal, lambda _: nudged)
    assert len(other.differences) == 3
    assert all("confidence" in one.field for one in other.differences)  # nothing else moved


def test_another_confidence_is_noticed_when_a_decision_is_asked_again(bench, tmp_path):
    bundle = sure_bundle(tmp_path / "sure", sure_graph())
    desk = replace(bench.desk, bundle=bundle, approved=lambda: bundle.hash)
    journal, loads = ran(desk, *FRIDAYS), []

    def moody(name):
        loads.append(name)
        other = DecisionSession(sure_graph(shift=1e-15))
        return bundle if len(loads) == 1 else replace(bundle, session=other)

    found = redecide(journal, moody, evaluations=6)
    assert len(found.differences) == 4  # the two asked for are as they were, the four others not


def test_a_tick_whose_confidence_is_impossible_is_refused_and_sends_nothing(bench, tmp_path):
    wide = sure_graph(stretch=1.7, abstains=False)
    still = {"prices": np.full((4, 5), 100.0), "current": np.zeros(4)}
    said = DecisionSession(wide).run(still)
    assert said.confidence.tolist() == [0.85] * 4
    row = replace(sure_rows(sure_graph())[0], inputs=still, score=said.score)
    rows = [replace(row, weight=said.weight, confidence=said.confidence)]
    manifest = msgspec.structs.replace(
        tilt_manifest(), confidence=msgspec.structs.replace(DECLARED, abstains_below=None)
    )
    bundle = sure_bundle(tmp_path / "wide", wide, manifest=manifest, rows=rows)
    desk = replace(bench.desk, bundle=bundle, approved=lambda: bundle.hash)
    journal = ran(desk, FRIDAYS[0], date(2017, 2, 17))
    decisions = [one.record for one in journal.decisions()]
    refused = [one for one in decisions if not one.symbols]
    assert refused
    assert len(refused) < len(decisions)
    assert all("confidence must lie in 0..1" in one.notes[0] for one in refused)
    assert all(not journal.orders(one.decision_id) for one in refused)


def test_each_input_s_part_in_the_confidence_is_told(tmp_path):
    bundle, given = sure_bundle(tmp_path, sure_graph()), sure_inputs(7)
    found = {one.input: one for one in ablate(bundle.session, bundle.inputs, given)}
    assert set(found["current"].confidence) == {0.0}
    assert max(map(abs, found["prices"].confidence)) > 0.01


def test_a_joint_decision_keeps_each_member_s_confidence(bench, tmp_path):
    both = {
        "champion": sure_bundle(bench.folder, sure_graph()),
        "arm.plain": tilted(bench.folder, "plain"),
    }
    desk, _ = joint_desk(bench.desk, members(both, {"champion": "0.5", "arm.plain": "0.5"}))
    journal = ran(desk, *FRIDAYS)
    graphs = {role: (bundle.session, bundle.inputs) for role, bundle in both.items()}
    for decision in journal.decisions():
        record = journal.decision(decision.record.decision_id).record
        assert record.inputs["confidence champion"].shape == (4,)
        assert "confidence arm.plain" not in record.inputs
        again = JointGraph(graphs).run(record.inputs)
        assert again.weight.tobytes() == np.array(record.weights).tobytes()
        nudged = {**record.inputs, "confidence champion": np.full(4, 0.5)}
        with pytest.raises(DecisionInvalid, match="champion gives another confidence"):
            JointGraph(graphs).run(nudged)


def test_a_challenger_s_confidence_is_written_down(bench, tmp_path):
    bundle = sure_bundle(tmp_path / "one", sure_graph())
    desk, record = shadowed(bench, bundle)
    ran(desk, *FRIDAYS)
    decided = record.decisions("paper", bundle.hash)
    assert len(decided) == 2
    assert all(len(one.confidences) == 4 and max(one.confidences) <= 1 for one in decided)
    silent = msgspec.structs.replace(decided[0], confidences=msgspec.UNSET)
    assert b"confidence" not in canonical(silent)
