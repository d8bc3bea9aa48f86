"""A secret that is replaced: who still shows the value before is served for ten minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from runtime.clock import ReplayClock
from runtime.errors import SecretMissing, SecretUnavailable
from runtime.secrets.rotating import RotatingSecret
from runtime.secrets.source import SecretRef, SecretVersion

MINUTE = timedelta(minutes=1)
MOMENT = timedelta(microseconds=1)


@dataclass
class Shelf:
    """One path and every version of it."""

    clock: ReplayClock
    versions: list[SecretVersion] = field(default_factory=list)
    away: bool = False

    def write(self, path: str, fields: Mapping[str, str], *, expected: int) -> int:
        held = dict(self.versions[-1].fields) if self.versions else {}
        number = len(self.versions) + 1
        self.versions.append(
            SecretVersion(version=number, written_at=self.clock.now(), fields=held | dict(fields))
        )
        return number

    def newest(self, path: str) -> SecretVersion | None:
        return self.version(path, len(self.versions))

    def version(self, path: str, number: int) -> SecretVersion | None:
        if self.away:
            raise SecretUnavailable("away")
        return self.versions[number - 1] if 0 < number <= len(self.versions) else None

    def read(self, path: str, field: str) -> str:
        raise AssertionError(f"{path}#{field}: who rotates asks for versions, not for a value")


@pytest.fixture
def clock():
    return ReplayClock(datetime(2026, 11, 20, 14, tzinfo=UTC))


@pytest.fixture
def shelf(clock):
    return Shelf(clock)


@pytest.fixture
def secret(shelf, clock):
    return RotatingSecret(keeper=shelf, ref=SecretRef(path="sluice", field="token"), clock=clock)


def wait(clock: ReplayClock, by: timedelta) -> None:
    clock.advance(clock.now() + by)


def test_the_value_before_counts_for_ten_minutes_and_not_a_moment_longer(shelf, secret, clock):
    shelf.write("sluice", {"token": "old"}, expected=0)
    wait(clock, timedelta(days=9))
    shelf.write("sluice", {"token": "new"}, expected=1)
    secret.look()
    wait(clock, 10 * MINUTE - MOMENT)
    assert secret.accepted() == ("new", "old")
    wait(clock, MOMENT)
    assert secret.accepted() == ("new",)
    secret.look()
    assert secret.accepted() == ("new",)


def test_what_else_the_path_holds_may_be_replaced_meanwhile(shelf, secret, clock):
    """Both tokens of one path are rotated one after the other; neither's callers are refused."""
    shelf.write("sluice", {"token": "old", "venue": "a"}, expected=0)
    wait(clock, timedelta(days=9))
    shelf.write("sluice", {"token": "new"}, expected=1)
    wait(clock, MINUTE)
    shelf.write("sluice", {"venue": "b"}, expected=2)
    secret.look()
    assert secret.accepted() == ("new", "old")
    wait(clock, 9 * MINUTE - MOMENT)
    secret.look()
    assert secret.accepted() == ("new", "old"), "from when it was replaced itself"
    wait(clock, MOMENT)
    secret.look()
    assert secret.accepted() == ("new",)


def test_a_secret_replaced_twice_is_served_under_all_three_each_for_its_time(shelf, secret, clock):
    for value in ("first", "second", "third"):
        shelf.write("sluice", {"token": value}, expected=len(shelf.versions))
        wait(clock, 4 * MINUTE)
    secret.look()
    assert secret.accepted() == ("third", "second", "first")
    wait(clock, 2 * MINUTE)  # ten after the second took the first's place
    assert secret.accepted() == ("third", "second")


def test_no_request_in_the_midst_of_a_look_is_refused_with_the_value_before(shelf, clock):
    asked: list[tuple[str, ...]] = []

    class Asked(RotatingSecret):
        """Asked by a request after every step of a look."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if shelf.versions:
                asked.append(self.accepted())

    secret = Asked(keeper=shelf, ref=SecretRef(path="sluice", field="token"), clock=clock)
    shelf.write("sluice", {"token": "old"}, expected=0)
    secret.look()
    asked.clear()
    shelf.write("sluice", {"token": "new"}, expected=1)
    secret.look()
    assert len(asked) > 1
    assert all("old" in answer for answer in asked)
    assert asked[-1] == ("new", "old")


def test_what_was_read_stays_while_the_source_is_away(shelf, secret, clock):
    assert secret.accepted() == ()
    with pytest.raises(SecretMissing, match="sluice#token is not there"):
        secret.look()
    shelf.write("sluice", {"token": "value"}, expected=0)
    secret.look()
    shelf.away = True
    assert secret.keep() == clock.now() + secret.every
    assert (secret.accepted(), secret.fault) == (("value",), "away")
