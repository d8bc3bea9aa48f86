"""The registry on SQLite and PostgreSQL: seats, monotonic versions, roll-back, whole history."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundles.contract import Signature, StopBands, canonical
from runtime.database import open_database, transaction
from runtime.errors import JournalBroken, RegistryConflict
from runtime.registry import ArmTest, Comparison, Promoted, Registry, judging

T0 = datetime(2017, 1, 1, tzinfo=UTC)


@pytest.fixture
def registry(database_url):
    engine = open_database(database_url)
    yield Registry(engine)
    engine.dispose()


def bundle(version: int, study: str = "tilt", stage="staging") -> Promoted:
    return Promoted(study=study, bundle=f"{version:064x}", version=version, stage=stage)


def activate(registry, version, *, hours=None, role="champion", study="tilt", stage="staging"):
    at = T0 + timedelta(hours=version if hours is None else hours)
    return registry.activate(
        bundle(version, study, stage), role=role, by="alice", why="better", at=at
    )


def test_an_empty_seat_holds_nothing(registry):
    assert registry.active() is None
    assert registry.history() == ()
    assert registry.newest_version("tilt") == 0


def test_the_activated_bundle_sits_until_the_next_one(registry):
    activate(registry, 1)
    activate(registry, 2)
    sitting = registry.active()
    assert (sitting.bundle, sitting.version, sitting.stage) == (f"{2:064x}", 2, "staging")
    assert registry.newest_version("tilt") == 2


def test_activating_what_sits_there_changes_nothing(registry):
    first = activate(registry, 1)
    assert activate(registry, 1, hours=5) == first
    assert len(registry.history()) == 1


def test_an_old_version_cannot_be_slipped_back_into_any_seat(registry):
    activate(registry, 1)
    activate(registry, 2)
    with pytest.raises(
        RegistryConflict, match=r"version 1 of study tilt is not newer .* version 2"
    ):
        activate(registry, 1, hours=9)
    with pytest.raises(RegistryConflict, match="not newer"):
        activate(registry, 1, hours=9, role="challenger")
    activate(registry, 1, hours=9, study="other", role="challenger")  # versions are per study
    assert registry.active().version == 2


def test_rolling_back_returns_one_bundle_at_a_time(registry):
    for version in (1, 2, 3):
        activate(registry, version)
    for expected, hours in ((2, 10), (1, 11)):
        change = registry.rollback(by="bob", why="worse", at=T0 + timedelta(hours=hours))
        assert (change.action, change.version) == ("rollback", expected)
        assert registry.active().version == expected
    with pytest.raises(RegistryConflict, match="no earlier bundle"):
        registry.rollback(by="bob", why="worse", at=T0 + timedelta(hours=12))
    with pytest.raises(RegistryConflict, match="not newer"):
        activate(registry, 3, hours=13)  # what was rolled back needs a new signature
    activate(registry, 4, hours=14)
    assert registry.active().version == 4


def test_a_retired_seat_is_empty_and_what_sat_there_cannot_be_rolled_back_to(registry):
    activate(registry, 1)
    change = registry.retire(by="bob", why="done", at=T0 + timedelta(hours=2))
    assert (change.stage, registry.active()) == ("retired", None)
    with pytest.raises(RegistryConflict, match="empty already"):
        registry.retire(by="bob", why="done", at=T0 + timedelta(hours=3))
    with pytest.raises(RegistryConflict, match="no earlier"):
        registry.rollback(by="bob", why="back", at=T0 + timedelta(hours=3))


def test_seats_are_independent(registry):
    activate(registry, 1, role="b")
    activate(registry, 2, role="a")
    assert (registry.active("a").version, registry.active("b").version) == (2, 1)


def test_it_answers_which_version_sat_when(registry):
    activate(registry, 1)
    activate(registry, 2, hours=5)
    registry.rollback(by="bob", why="worse", at=T0 + timedelta(hours=8))
    answers = {0: None, 1: 1, 4: 1, 5: 2, 7: 2, 8: 1, 99: 1}
    for hours, expected in answers.items():
        found = registry.active(at=T0 + timedelta(hours=hours))
        assert (found and found.version) == expected


def test_every_change_says_who_when_and_why(registry):
    activate(registry, 1)
    (change,) = registry.history("champion")
    assert (change.by, change.why, change.at) == ("alice", "better", "2017-01-01T01:00:00+00:00")
    with pytest.raises(RegistryConflict, match="who does it and why"):
        registry.activate(bundle(2), by=" ", why="x", at=T0 + timedelta(hours=2))
    assert len(registry.history()) == 1


def test_time_does_not_run_backwards_in_a_seat(registry):
    activate(registry, 1, hours=5)
    with pytest.raises(RegistryConflict, match="before the last change"):
        activate(registry, 2, hours=4)


def test_a_retired_bundle_is_not_activated(registry):
    with pytest.raises(RegistryConflict, match="is retired"):
        activate(registry, 1, stage="retired")


def test_history_survives_reopening_and_verifies(database_url):
    engine = open_database(database_url)
    activate(Registry(engine), 1)
    head = Registry(engine).head()
    again = Registry(open_database(database_url))
    assert again.active().version == 1
    assert again.verify() == head


def test_a_changed_entry_is_found(database_url):
    engine = open_database(database_url)
    registry = Registry(engine)
    activate(registry, 1)
    activate(registry, 2)
    with transaction(engine) as connection:
        connection.exec_driver_sql("UPDATE registry SET key = 'champion/9' WHERE seq = 1")
    with pytest.raises(JournalBroken, match="entry 1"):
        registry.verify()


def test_of_eight_racing_activations_of_one_version_exactly_one_wins(database_url):
    engine = open_database(database_url)
    registry = Registry(engine)

    def race(number: int) -> str:
        try:
            registry.activate(
                Promoted(study="tilt", bundle=f"{number:064x}", version=1, stage="staging"),
                by=f"racer {number}",
                why="first",
                at=T0,
            )
        except RegistryConflict:
            return "refused"
        return "activated"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(race, range(8)))
    assert sorted(results) == ["activated"] + ["refused"] * 7
    assert len(registry.history()) == 1
    engine.dispose()


@given(st.lists(st.sampled_from(["activate", "rollback", "retire"]), max_size=12))
def test_any_sequence_of_changes_matches_a_stack(tmp_path_factory, actions):
    """Oracle: a plain list used as a stack."""
    path = tmp_path_factory.mktemp("registry") / "r.db"
    engine = open_database(f"sqlite:///{path}")
    registry, stack, version = Registry(engine), [], 0
    for hours, action in enumerate(actions):
        at = T0 + timedelta(hours=hours)
        try:
            if action == "activate":
                version += 1
                activate(registry, version, hours=hours)
                stack.append(version)
            elif action == "rollback":
                registry.rollback(by="b", why="w", at=at)
                stack.pop()
            else:
                registry.retire(by="b", why="w", at=at)
                stack.clear()
        except RegistryConflict:
            allowed = len(stack) > 1 if action == "rollback" else bool(stack)
            assert not allowed
        sitting = registry.active()
        assert (sitting and sitting.version) == (stack[-1] if stack else None)
    engine.dispose()


def test_a_stop_puts_the_one_before_back_and_without_one_leaves_it_there_to_be_sold(registry):
    activate(registry, 1)
    activate(registry, 2)
    facts = {"by": "stop bands", "why": "drawdown 11 %"}
    first = registry.stop(bundle=f"{2:064x}", at=T0 + timedelta(hours=3), **facts)
    assert (first.action, first.version, first.stopped) == ("rollback", 1, False)
    again = registry.stop(bundle=f"{2:064x}", at=T0 + timedelta(hours=4), **facts)
    assert again is None  # another sits there by now
    flat = registry.stop(bundle=f"{1:064x}", at=T0 + timedelta(hours=5), **facts)
    assert (flat.action, flat.version, flat.stopped) == ("stop", 1, True)
    assert registry.active().stopped
    assert registry.stop(bundle=f"{1:064x}", at=T0 + timedelta(hours=6), **facts) is None
    with pytest.raises(RegistryConflict, match="not newer"):
        activate(registry, 1, hours=7)  # a stop is lifted by a new signature only
    activate(registry, 3, hours=8)
    assert not registry.active().stopped


def test_it_remembers_the_signature_that_allows_each_version(registry):
    signature = Signature(
        manifest_hash=f"{1:064x}",
        signer="alice",
        signed_at=T0.isoformat(),
        version=1,
        stage="staging",
        public_key="00",
        signature="11",
        bands=StopBands(max_drawdown="0.10"),
    )
    one = msgspec.structs.replace
    facts = {"by": "alice", "why": "w"}
    for version in (1, 2):
        promoted = Promoted(
            study="tilt",
            bundle=f"{1:064x}",
            version=version,
            stage="staging",
            promotion=one(signature, version=version),
        )
        registry.activate(promoted, at=T0 + timedelta(hours=version), **facts)
    restored = registry.rollback(at=T0 + timedelta(hours=3), **facts)
    assert restored.promotion == signature
    assert registry.active().promotion.bands.max_drawdown == "0.10"


def test_capital_is_shared_by_seats_that_are_taken_and_never_more_than_the_whole(registry):
    assert registry.allocation() is None
    activate(registry, 1)
    activate(registry, 1, study="other", role="arm.b")
    facts = {"by": "ada", "why": "a trial"}
    for fractions, words in (
        ({"champion": "0.6", "arm.b": "0.5"}, "add up to 1.1"),
        ({"champion": "0.6", "arm.c": "0.4"}, "seat arm.c is empty"),
        ({"champion": "-0.6"}, "above 0"),
        ({"champion": "half"}, "no number"),
        ({"challenger": "0.1"}, "decides in shadow"),
        ({"boss": "0.1"}, "no seat is called 'boss'"),
    ):
        with pytest.raises(RegistryConflict, match=words):
            registry.allocate(fractions, at=T0 + timedelta(hours=3), **facts)
    registry.allocate({"champion": "0.6", "arm.b": "0.3"}, at=T0 + timedelta(hours=4), **facts)
    assert registry.allocation().shares == {"arm.b": Decimal("0.3"), "champion": Decimal("0.6")}
    with pytest.raises(RegistryConflict, match=r"seat arm.b has 0.3 of the capital"):
        registry.retire(role="arm.b", at=T0 + timedelta(hours=5), **facts)
    registry.allocate({}, at=T0 + timedelta(hours=6), **facts)
    assert registry.allocation() is None
    assert registry.allocation(at=T0 + timedelta(hours=5)) is not None
    assert [len(one.fractions) for one in registry.allocations()] == [2, 0]
    registry.retire(role="arm.b", at=T0 + timedelta(hours=7), **facts)
    assert set(registry.seats()) == {"champion"}


def test_other_fractions_let_a_test_of_arms_go_on_and_other_terms_begin_it_anew(registry):
    activate(registry, 1)
    for role in ("arm.b", "arm.c"):
        activate(registry, 1, study=role, role=role)
    facts = {"by": "ada", "why": "a trial"}
    test = ArmTest(control="champion", alpha=0.05, bound=0.02)
    other = ArmTest(control="champion", alpha=0.01, bound=0.02)
    two, more = {"champion": "0.6", "arm.b": "0.4"}, {"champion": "0.5", "arm.b": "0.5"}
    begun = []
    for hour, (fractions, how) in enumerate(
        [
            (two, None),
            (two, test),
            (more, test),
            (more, other),
            (two, other),
            (two | {"arm.b": "0.2", "arm.c": "0.2"}, other),
            ({}, None),
            (two, other),
        ]
    ):
        registry.allocate(fractions, test=how, at=T0 + timedelta(hours=hour + 5), **facts)
        found = judging(registry.allocations())
        begun.append(found and datetime.fromisoformat(found.at).hour - 5)
    assert begun == [None, 1, 1, 3, 3, 5, None, 7]
    for fractions, words in (
        ({"arm.b": "0.5", "arm.c": "0.5"}, "no fraction"),
        ({}, "no fraction"),
    ):
        with pytest.raises(RegistryConflict, match=words):
            registry.allocate(fractions, test=test, at=T0 + timedelta(hours=20), **facts)
    with pytest.raises(RegistryConflict, match="is alone"):
        registry.allocate({"champion": "1"}, test=test, at=T0 + timedelta(hours=20), **facts)
    with pytest.raises(RegistryConflict, match="alpha must lie"):
        ArmTest(control="champion", alpha=0.6, bound=0.02)


def test_a_comparison_is_fixed_with_the_challenger(registry):
    activate(registry, 1)
    test = Comparison(against=f"{1:064x}", alpha=0.05, bound=0.05)
    registry.activate(
        bundle(2), role="challenger", by="ada", why="w", at=T0 + timedelta(hours=2), comparison=test
    )
    assert registry.active("challenger").comparison == test
    for wrong in ({"alpha": 0.7}, {"bound": 0.0}):
        with pytest.raises(RegistryConflict):
            Comparison(**{"against": "a", "alpha": 0.05, "bound": 0.05} | wrong)


def test_entries_without_the_newer_facts_keep_their_bytes(registry):
    """What was written before there were bands and comparisons must still verify."""
    change = activate(registry, 1)
    assert msgspec.json.decode(canonical(change)).keys() == {
        *("action", "role", "study", "bundle", "version", "stage", "by", "why", "at")
    }
