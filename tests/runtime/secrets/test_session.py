"""A login at Vault lasts: through renewals, seals, restarts and revocations."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import SecretForbidden, SecretUnavailable
from runtime.secrets.keeper import Keeper
from runtime.secrets.lease import Lease
from runtime.secrets.session import AppRoleLogin, TokenLogin, VaultSession
from runtime.secrets.vault import VaultSecrets
from tests.fakes.vault import serving
from tests.runtime.secrets.conftest import HOUR, START, is_published


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_lease_is_renewed_at_two_thirds_or_a_little_earlier_never_later(seconds, luck):
    lease = Lease(id="x", granted_at=START, duration=timedelta(seconds=seconds), renewable=True)
    share = (lease.renew_at(luck) - START) / lease.duration
    assert 2 / 3 - 0.1 - 1e-6 <= share <= 2 / 3 + 1e-6
    assert not lease.is_over(lease.renew_at(luck))
    assert lease.is_over(lease.ends_at)


def kept(session: VaultSession) -> VaultSecrets:
    found = VaultSecrets(session)
    found.write("live", {"token": "one"}, expected=0)
    return found


def test_a_token_is_renewed_before_it_ends_and_made_anew_at_its_maximal_life(session, vault, clock):
    secrets, keeper = kept(session), Keeper(kept=[session], clock=clock)
    logins = []
    for _ in range(60 * 10):  # ten hours by the minute; a token lives for three at most
        clock.advance(clock.now() + timedelta(minutes=1))
        keeper.round()
        logins.append(session.generation)
        assert len(vault.tokens) >= 2, "the token ended before it was renewed"
    assert keeper.faults() == ()
    assert 3 <= logins[-1] <= 6
    assert secrets.read("live", "token") == "one"
    renewals = [path for _, path in vault.seen if path == "auth/token/renew-self"]
    assert len(renewals) >= 10


def test_a_revoked_token_is_replaced_without_anybody_noticing(session, vault):
    secrets = kept(session)
    vault.revoke_every_token()
    assert secrets.read("live", "token") == "one"
    assert session.generation == 2


def test_a_token_that_was_handed_out_cannot_be_replaced_so_its_refusal_is_told(
    vault, address, clock, session
):
    kept(session)
    shown = next(name for name in vault.tokens if name != vault.root)
    secrets = VaultSecrets(VaultSession(address=address, login=TokenLogin(shown), clock=clock))
    assert secrets.read("live", "token") == "one"
    vault.revoke_every_token()
    with pytest.raises(SecretForbidden, match="hand out another one") as told:
        secrets.read("live", "token")
    assert shown not in str(told.value)


def test_a_wrong_secret_id_is_refused_in_one_sentence_without_the_secret(address, vault, clock):
    role = vault.app_role(ttl=HOUR, max_ttl=HOUR)
    login = AppRoleLogin(role, lambda: "not-the-one")
    with pytest.raises(SecretForbidden, match="invalid role or secret ID") as told:
        VaultSecrets(VaultSession(address=address, login=login, clock=clock)).read("a", "b")
    assert "not-the-one" not in str(told.value)


def test_a_role_without_the_right_to_write_is_refused_as_that(vault, address, clock):
    role = vault.app_role(ttl=HOUR, max_ttl=HOUR)
    login = AppRoleLogin(role, lambda: vault.roles[role].secret_id)
    secrets = VaultSecrets(VaultSession(address=address, login=login, clock=clock))
    with pytest.raises(SecretForbidden, match="give its policy the right"):
        secrets.write("live", {"token": "x"}, expected=0)


def unblocked_after(seconds: float, act) -> threading.Thread:
    def run() -> None:
        time.sleep(seconds)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("trouble", ["sealed", "frozen"])
def test_a_short_absence_is_waited_out(session, vault, trouble):
    secrets = kept(session)
    setattr(vault, trouble, True)
    thread = unblocked_after(0.3, lambda: setattr(vault, trouble, False))
    assert secrets.read("live", "token") == "one"
    thread.join()


def test_a_server_that_fails_twice_is_asked_again(session, vault):
    secrets = kept(session)
    vault.failing = 2
    assert secrets.read("live", "token") == "one"


@pytest.mark.parametrize(
    ("trouble", "words"), [("sealed", "Vault is sealed"), ("frozen", "no connection")]
)
def test_a_long_absence_is_told_with_its_cause(session, vault, trouble, words):
    secrets = kept(session)
    session.patience = timedelta(seconds=0.3)
    setattr(vault, trouble, True)
    with pytest.raises(SecretUnavailable, match=words):
        secrets.read("live", "token")


def test_a_restarted_server_is_found_again(vault, clock, session):
    with serving(vault) as url:
        session.address, port = url, int(url.rsplit(":", 1)[1])
        secrets = kept(session)
    session.patience = timedelta(seconds=0.2)
    with pytest.raises(SecretUnavailable, match="no connection"):
        secrets.read("live", "token")
    with serving(vault, port=port):
        assert secrets.read("live", "token") == "one"


def test_a_renewal_that_meets_a_sealed_server_is_tried_again_until_it_answers(
    session, vault, clock
):
    kept(session)
    keeper = Keeper(kept=[session], clock=clock)
    clock.advance(clock.now() + timedelta(minutes=45))
    vault.sealed = True
    wait = keeper.round()
    assert "sealed" in keeper.faults()[0]
    assert wait <= timedelta(seconds=30)
    vault.sealed = False
    clock.advance(clock.now() + wait)
    assert keeper.round() > timedelta(seconds=30)
    assert keeper.faults() == ()
    assert session.generation == 1, "the token was renewed, not made anew"


def test_the_check_against_the_published_routes_can_fail():
    assert is_published("PUT", "sys/leases/renew")
    assert not is_published("GET", "sys/leases/renew")
    assert not is_published("GET", "sys/nowhere")
