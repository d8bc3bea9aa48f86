"""Made-up lives of many accounts: every decision differs, and every one is reached again."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.bundles.inference import DecisionSession
from runtime.database import open_database, reading
from runtime.journal import wire
from runtime.journal.blobs import restore
from runtime.journal.redecide import redecide
from runtime.journal.store import Journal
from runtime.proof.scene import decode
from tests.fakes.graphs import tilt_graph
from tests.golden.lives import live
from tests.golden.million import lengths, make, prove
from tests.golden.outside import KINDS

SIZES = [(7, 320), (8, 260), (11, 180), (12, 1), (13, 39), (22, 200)]  # seed, sessions


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lives")
    places = [(folder / f"{seed}.db", seed, size) for seed, size in SIZES]
    return places, [make(place)[0] for place in places]


def test_a_thousand_different_decisions_are_reached_again_to_the_byte(lives):
    places, hashes = lives
    found = [prove(place) for place in places]
    total = sum(size for _, size in SIZES)
    assert sum(one[2] for one in found) == total == 1000
    assert [line for one in found for line in one[3]] == []
    assert np.unique(np.frombuffer(b"".join(hashes), dtype="<u8")).size == total
    refused = sum(one[1] for one in found)
    assert 0 < refused < total / 10


def test_these_lives_know_refusals_of_every_check_and_orders_of_every_fate(lives):
    checks, states, kinds, venues = set(), set(), set(), set()
    for path, _, _ in lives[0]:
        engine = open_database(f"sqlite:///{path}")
        with reading(engine) as connection:
            blobs = dict(connection.exec_driver_sql("SELECT name, data FROM journal_blobs").all())
        for entry in Journal(engine).log.entries():
            kinds.add(entry.kind)
            if entry.kind == "order":
                states.add(wire.decode_event(entry.payload, entry.at).state.value)
            elif entry.kind == "decision":
                record, _, _ = wire.decode_decision(entry.payload, {})
                scene = decode(restore(record.scene_hash, blobs[record.scene_hash]))
                venues.add("paper" if scene.simulated else "money")
                checks |= {v.check for p in record.plan for v in p.verdicts if not v.passed}
        engine.dispose()
    known = ("1 authority", "2 market", "3 size", "5 exposure", "6 loss", "7 rate", "route")
    assert checks.issuperset(known)
    assert states == {"rejected", "expired", "cancelled", "working"}
    assert venues == {"paper", "money"}
    assert kinds == {"flow", "fill", "order", "decision", "session", "dividend"}


def test_a_life_is_lived_alike_by_whoever_lives_it(tmp_path):
    heads = []
    for name in ("one", "other"):
        engine = open_database(f"sqlite:///{tmp_path / name}.db")
        journal = Journal(engine)
        assert len(list(live(journal, 5, 60))) == 60
        heads.append(journal.log.verify())
        engine.dispose()
    assert heads[0] == heads[1]


def test_a_graph_that_differs_in_its_ninth_digit_is_noticed_in_a_life(lives):
    path, _, _ = lives[0][0]
    engine = open_database(f"sqlite:///{path}")
    kinds = {kind.load().hash: kind for kind in KINDS}

    def load(name):
        bundle, kind = kinds[name].load(), kinds[name]
        graph = tilt_graph(tilt=kind.tilt * (1 + 1e-9), inertia=kind.inertia)
        object.__setattr__(bundle, "session", DecisionSession(graph, checked=True))
        return bundle

    found = redecide(Journal(engine), load)
    assert len(found.differences) == found.decisions > 300
    engine.dispose()


@pytest.mark.parametrize("decisions", [1, 17, 5000])
def test_lengths_of_lives_add_up(decisions):
    found = list(lengths(decisions, 3))
    assert sum(found) == decisions
    assert min(found) >= 1
