"""Encoded answers: built once per state of the journal, and never served past their time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from runtime.errors import DatabaseUnavailable
from service.web.answers import Health
from service.web.health import Looking
from service.web.snapshots import CAPACITY, FRESH, STALE, STILL, Aged, Snapshots


class World:
    """A head that moves and a clock that is set."""

    def __init__(self) -> None:
        self.head, self.now, self.built, self.looked = 1, 0.0, 0, 0

    def read_head(self) -> int:
        self.looked += 1
        return self.head

    def build(self) -> dict[str, int]:
        self.built += 1
        return {"head": self.head}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def snapshots(world: World) -> Snapshots:
    return Snapshots(world.read_head, lambda: world.now)


def ask(snapshots: Snapshots, world: World, *key: str) -> bytes:
    return asyncio.run(snapshots.answer(key or ("q",), world.build))


def test_a_fresh_answer_costs_neither_a_build_nor_a_look(snapshots, world):
    first = ask(snapshots, world)
    world.now += FRESH / 2
    assert ask(snapshots, world) is first
    assert (world.built, world.looked) == (1, 1)


def test_an_unmoved_journal_keeps_the_answer(snapshots, world):
    ask(snapshots, world)
    world.now += 100 * FRESH
    ask(snapshots, world)
    assert (world.built, world.looked) == (1, 2)


def test_a_moved_journal_brings_a_new_answer(snapshots, world):
    ask(snapshots, world)
    world.head, world.now = 2, world.now + 2 * FRESH
    assert ask(snapshots, world) == b'{"head":2}'


def test_questions_are_kept_apart_and_their_number_is_bounded(snapshots, world):
    async def many() -> None:
        for number in range(3 * CAPACITY):
            await snapshots.answer((str(number),), world.build)

    asyncio.run(many())
    assert world.built == 3 * CAPACITY
    assert len(snapshots._kept) <= CAPACITY


def test_a_failing_build_is_not_kept(snapshots, world):
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(snapshots.answer(("q",), fail))
    assert ask(snapshots, world) == b'{"head":1}'


def fails(*_: object) -> int:
    raise DatabaseUnavailable("runtime.db does not answer")


def test_without_a_database_the_last_answer_is_given_with_its_age(snapshots, world):
    first = ask(snapshots, world)
    snapshots.head = fails
    world.now += 40
    old = ask(snapshots, world)
    assert old == first
    assert isinstance(old, Aged)
    assert old.age == 40


def test_an_answer_that_is_too_old_is_none_and_neither_is_one_that_was_never_built(
    snapshots, world
):
    ask(snapshots, world)
    snapshots.head = fails
    world.now += STALE + 1
    for key in ("q", "never asked"):
        with pytest.raises(DatabaseUnavailable):
            ask(snapshots, world, key)


def test_when_the_database_answers_again_so_does_the_service(snapshots, world):
    ask(snapshots, world)
    snapshots.head, world.now = fails, 40.0
    ask(snapshots, world)
    snapshots.head, world.head = world.read_head, 2
    assert isinstance(ask(snapshots, world), Aged)  # it is left alone for a moment
    world.now += 1
    fresh = ask(snapshots, world)
    assert fresh == b'{"head":2}'
    assert not isinstance(fresh, Aged)


def test_while_the_database_stands_still_many_questions_take_one_thread_and_nobody_waits(world):
    """A frozen server: the renewal hangs, and whoever asks gets the last answer meanwhile."""
    hanging, looks = threading.Event(), []

    def head() -> int:
        looks.append(None)
        if len(looks) > 1:
            hanging.wait(30)
        return world.read_head()

    snapshots = Snapshots(head, lambda: world.now, hurry=0.01)

    async def many() -> list[bytes]:
        first = await snapshots.answer(("q",), world.build)
        world.now += 40
        later = [snapshots.answer(("q",), world.build) for _ in range(20)]
        found = await asyncio.gather(*later)
        hanging.set()
        return [first, *found]

    first, *rest = asyncio.run(many())
    assert len(looks) == 2
    assert all(isinstance(one, Aged) and one == first for one in rest)


def test_a_database_that_fails_is_asked_less_and_less_and_by_one_question_at_a_time(
    snapshots, world
):
    for key in ("a", "b", "c"):
        ask(snapshots, world, key)
    failures = []

    def head() -> int:
        failures.append(world.now)
        raise DatabaseUnavailable("runtime.db does not answer")

    snapshots.head = head

    async def half_a_minute() -> None:
        for tenth in range(400, 700):
            world.now = tenth / 10
            for key in ("a", "b", "c"):
                assert isinstance(await snapshots.answer((key,), world.build), Aged)

    asyncio.run(half_a_minute())
    assert failures == pytest.approx(
        [40.0, 40.5, 41.5, 43.5, 47.5, 52.5, 57.5, 62.5, 67.5], abs=0.2
    )
    with pytest.raises(DatabaseUnavailable, match="asked again every few seconds"):
        ask(snapshots, world, "never asked")


def test_once_the_head_hangs_no_other_question_takes_a_thread(world):
    hanging, looks = threading.Event(), []

    def head() -> int:
        looks.append(None)
        if world.now > 0:
            hanging.wait(30)
        return world.read_head()

    snapshots = Snapshots(head, lambda: world.now, hurry=0.01)

    async def many() -> None:
        await snapshots.answer(("a",), world.build)
        await snapshots.answer(("b",), world.build)
        world.now = 40.0
        assert isinstance(await snapshots.answer(("a",), world.build), Aged)
        while len(looks) < 3:
            await asyncio.sleep(0.001)  # until its thread has begun
        world.now += STILL + 0.1
        assert isinstance(await snapshots.answer(("b",), world.build), Aged)
        with pytest.raises(DatabaseUnavailable):
            await snapshots.answer(("c",), world.build)
        hanging.set()

    asyncio.run(many())
    assert len(looks) == 3


def test_a_defect_is_not_covered_up_by_an_old_answer(snapshots, world):
    ask(snapshots, world)
    world.now, world.head = 40.0, 2

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(snapshots.answer(("q",), fail))


def test_while_a_check_stands_still_health_says_so_on_one_thread_and_recovers():
    hanging, looks, now = threading.Event(), [], [0.0]

    def look() -> Health:
        looks.append(None)
        hanging.wait(30)
        return Health(status="ready", live=True, ready=True, checks=())

    looking = Looking(look, lambda: now[0], hurry=0.01)

    async def ask_often() -> list[Health]:
        first = await looking.answer()
        now[0] = 12.0
        later = await asyncio.gather(*[looking.answer() for _ in range(5)])
        hanging.set()
        looking.hurry = 30
        return [first, *later, await looking.answer(), await looking.answer()]

    *stuck, over, fresh = asyncio.run(ask_often())
    assert [one.ready for one in stuck] == [False] * 6
    assert "no answer for 12 s; a database stands still" in stuck[-1].checks[0].reason
    assert over.ready
    assert fresh.ready
    assert len(looks) == 2  # one for all who were told, one anew
