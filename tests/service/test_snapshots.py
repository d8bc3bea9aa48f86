"""Encoded answers: built once per state of the journal, and never served past their time."""

from __future__ import annotations

import asyncio

import pytest

from service.snapshots import CAPACITY, FRESH, Snapshots


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
    for number in range(3 * CAPACITY):
        ask(snapshots, world, str(number))
    assert len(snapshots._kept) <= CAPACITY


def test_a_failing_build_is_not_kept(snapshots, world):
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(snapshots.answer(("q",), fail))
    assert ask(snapshots, world) == b'{"head":1}'
