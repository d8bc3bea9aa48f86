"""One suite over every source of secrets: the environment, Vault's API, and a real Vault if given.

The real one is used when VAULT_ADDR and VAULT_TOKEN are set (for instance a development server of
Vault or OpenBao); the token needs rights on the key-value mount `secret`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from runtime.clock import WallClock
from runtime.errors import SecretConflict, SecretMissing
from runtime.secrets.environment import EnvSecrets, variable
from runtime.secrets.session import TokenLogin, VaultSession
from runtime.secrets.source import SecretKeeper, SecretRef, SecretSource
from runtime.secrets.vault import VaultSecrets
from tests.fakes.vault import FakeVault, serving

Write = Callable[[str, dict[str, str]], None]
REAL = bool(os.environ.get("VAULT_ADDR") and os.environ.get("VAULT_TOKEN"))
real = pytest.param(
    "real", marks=pytest.mark.skipif(not REAL, reason="needs VAULT_ADDR and VAULT_TOKEN")
)


def at(address: str, token: str) -> VaultSecrets:
    session = VaultSession(
        address=address,
        login=TokenLogin(token),
        clock=WallClock(),
        patience=timedelta(seconds=1),
    )
    return VaultSecrets(session)


@pytest.fixture
def fake_keeper() -> Iterator[VaultSecrets]:
    vault = FakeVault(clock=WallClock())
    with serving(vault) as address:
        yield at(address, vault.root)


@pytest.fixture(params=["fake", real])
def keeper(request) -> SecretKeeper:
    if request.param == "real":
        return at(os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"])
    return request.getfixturevalue("fake_keeper")


@pytest.fixture
def path() -> str:
    return f"sluice-test/{uuid.uuid4().hex}"


@pytest.fixture(params=["environment", "fake", real])
def source(request, path) -> tuple[SecretSource, Write]:
    if request.param == "environment":
        environ: dict[str, str] = {}

        def write(at_path: str, fields: dict[str, str]) -> None:
            environ.update({variable(at_path, name): value for name, value in fields.items()})

        return EnvSecrets(environ), write
    kept = (
        request.getfixturevalue("fake_keeper")
        if request.param == "fake"
        else at(os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"])
    )
    return kept, lambda at_path, fields: kept.write(at_path, fields, expected=0) and None


def test_a_field_reads_as_it_was_written(source, path):
    secrets, write = source
    write(path, {"user": "ada", "password": " päss\n#word= "})
    assert secrets.read(path, "password") == " päss\n#word= "


def test_absent_path_and_absent_field_look_the_same(source, path):
    secrets, write = source
    write(path, {"user": "ada"})
    for wanted in ((path, "nope"), (path + "/nowhere", "user")):
        with pytest.raises(SecretMissing, match="#"):
            secrets.read(*wanted)


def test_a_source_never_shows_what_it_holds(source, path):
    secrets, write = source
    write(path, {"password": "hunter2-hunter2"})
    assert "hunter2" not in repr(secrets)


def test_versions_count_and_stay_readable(keeper, path):
    assert keeper.newest(path) is None
    assert keeper.write(path, {"a": "1"}, expected=0) == 1
    assert keeper.write(path, {"a": "2"}, expected=1) == 2
    newest, first = keeper.newest(path), keeper.version(path, 1)
    assert (newest.version, newest.fields) == (2, {"a": "2"})
    assert (first.version, first.fields) == (1, {"a": "1"})
    assert first.written_at <= newest.written_at
    assert keeper.version(path, 9) is None
    assert "2" not in repr(newest.fields) or "fields" not in repr(newest)


def test_the_second_of_two_writers_is_refused_and_nothing_is_lost(keeper, path):
    keeper.write(path, {"a": "1"}, expected=0)
    with pytest.raises(SecretConflict, match="look again"):
        keeper.write(path, {"a": "x"}, expected=0)
    assert keeper.read(path, "a") == "1"


@pytest.mark.parametrize("text", ["secret:", "secret:a", "secret:a#", "secret:#b", "a#b", ""])
def test_a_malformed_reference_is_refused(text):
    with pytest.raises(SecretMissing, match="secret:PATH#FIELD"):
        SecretRef.parse(text)


def test_a_reference_reads_back_as_it_is_written():
    assert str(SecretRef.parse("secret:sluice/live#token")) == "sluice/live#token"
