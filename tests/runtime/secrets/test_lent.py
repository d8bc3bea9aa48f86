"""When something that Vault lends is over, and for how long a replaced login is left alone."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.clock import ReplayClock
from runtime.secrets.database import DynamicDatabase
from runtime.secrets.lease import Lease
from tests.runtime.secrets.conftest import HOUR

LIFE, GRACE, MOMENT = timedelta(minutes=10), timedelta(seconds=30), timedelta(microseconds=1)


@dataclass
class Lender:
    """A login at a Vault that lends database users for ten minutes each."""

    clock: ReplayClock
    slow: timedelta = timedelta(0)  # how long Vault takes to lend
    generation: int = 1
    rng: random.Random = field(default_factory=lambda: random.Random(3))
    lent: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)

    def call(self, ask: Any) -> Any:
        database = SimpleNamespace(generate_credentials=self._lend)
        system = SimpleNamespace(renew_lease=self._renew, revoke_lease=self.revoked.append)
        return ask(SimpleNamespace(secrets=SimpleNamespace(database=database), sys=system))

    def _lend(self, role: str, *, mount_point: str) -> dict[str, Any]:
        self.clock.advance(self.clock.now() + self.slow)
        self.lent.append(f"{mount_point}/{role}/{len(self.lent) + 1}")
        named = {"username": self.lent[-1], "password": "-"}
        life = int(LIFE.total_seconds())
        return {"data": named, "lease_id": self.lent[-1], "lease_duration": life, "renewable": True}

    def _renew(self, lease_id: str, *, increment: int) -> dict[str, Any]:
        self.renewed.append(lease_id)
        return {"lease_duration": increment, "renewable": True}


@pytest.fixture
def lender():
    return Lender(ReplayClock(datetime(2026, 11, 20, 14, tzinfo=UTC)))


@pytest.fixture
def lent(lender):
    return DynamicDatabase(session=lender, role="desk", grace=GRACE)


def wait(lender: Lender, by: timedelta) -> None:
    lender.clock.advance(lender.clock.now() + by)


def test_a_login_is_shown_to_the_last_moment_of_its_lease_and_not_beyond(lender, lent):
    first = lent.current()
    wait(lender, LIFE - MOMENT)
    assert lent.current() is first
    wait(lender, MOMENT)
    assert lent.current() is not first
    assert lender.lent == ["database/desk/1", "database/desk/2"]


def test_a_login_that_ran_over_is_replaced_not_renewed_and_there_is_nothing_to_revoke(lender, lent):
    """Vault has dropped that user already: to renew or revoke its lease is an error there."""
    lent.current()
    wait(lender, LIFE)
    lent.keep()
    assert (len(lender.lent), lender.renewed) == (2, [])
    wait(lender, GRACE)
    lent.keep()
    assert lender.revoked == []
    wait(lender, LIFE - GRACE - MOMENT)
    lent.keep()
    assert lender.renewed == ["database/desk/2"], "one that still lives is renewed"


def test_a_replaced_login_is_revoked_when_its_grace_is_over_and_once(lender, lent):
    lent.current()
    lent.rotate()
    wait(lender, GRACE - MOMENT)
    assert lent.keep() == lender.clock.now() + MOMENT, "it comes back in time to revoke"
    assert lender.revoked == []
    wait(lender, MOMENT)
    lent.keep()
    wait(lender, GRACE)
    lent.keep()
    assert lender.revoked == ["database/desk/1"]


def test_the_grace_begins_when_the_next_login_is_there_however_long_vault_took(lender, lent):
    lent.current()
    lender.slow = GRACE
    lent.rotate()
    lender.slow = timedelta(0)
    wait(lender, GRACE - MOMENT)
    lent.keep()
    assert lender.revoked == [], "until a moment ago somebody may have been given the old one"
    wait(lender, MOMENT)
    lent.keep()
    assert lender.revoked == ["database/desk/1"]


def test_what_is_lent_for_no_time_at_all_never_ends():
    at = datetime(2026, 11, 20, 14, tzinfo=UTC)
    endless = Lease(id="", granted_at=at, duration=timedelta(0), renewable=False)
    short = Lease(id="", granted_at=at, duration=LIFE, renewable=False)
    assert [endless.is_over(at), endless.is_over(at + 9_999 * HOUR)] == [False, False]
    assert [short.is_over(at + LIFE - MOMENT), short.is_over(at + LIFE)] == [False, True]


def test_a_token_is_used_to_its_last_moment_and_then_a_new_one_is_asked_for(session, vault, clock):
    def logins() -> int:
        return vault.seen.count(("POST", "auth/approle/login"))

    def ask() -> None:
        session.call(lambda client: client.auth.token.lookup_self())

    ask()
    clock.advance(clock.now() + HOUR - MOMENT)
    ask()
    assert (logins(), session.generation) == (1, 1)
    clock.advance(clock.now() + MOMENT)
    ask()
    refused = [one for one in vault.seen if one[1] == "auth/token/lookup-self"]
    assert (logins(), session.generation, len(refused)) == (2, 2, 3), "it was not shown once more"
