"""A Vault for each test; every request it saw must be one that Vault publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime.clock import ReplayClock
from runtime.secrets.session import AppRoleLogin, VaultSession
from tests.fakes import vault as fake
from tests.fakes.vault import FakeVault, serving

START = datetime(2026, 11, 20, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)
PUBLISHED = json.loads((Path(fake.__file__).parent / "vault_openapi.json").read_text())["paths"]
MOUNTS = {"approle_mount_path": "approle", "kv_v2_mount_path": "secret"}
MOUNTS |= {"database_mount_path": "database"}
# hvac sends PUT where the document says post; Vault takes both.
VERBS = {"PUT": "post", "HEAD": "get"}


def is_published(method: str, path: str) -> bool:
    """Say whether Vault's OpenAPI document has such a request."""
    for template, operations in PUBLISHED.items():
        named = template
        for name, mount in MOUNTS.items():
            named = named.replace(f"{{{name}}}", mount)
        pattern = re.sub(r"\{\w+\}", ".+", named)
        if re.fullmatch(pattern, f"/{path}") and VERBS.get(method, method.lower()) in operations:
            return True
    return False


@pytest.fixture
def clock() -> ReplayClock:
    return ReplayClock(START)


@pytest.fixture
def vault(clock: ReplayClock) -> Iterator[FakeVault]:
    server = FakeVault(clock=clock)
    yield server
    unknown = {asked for asked in server.seen if not is_published(*asked)}
    assert not unknown, f"Vault has no such request: {unknown}"


@pytest.fixture
def address(vault: FakeVault) -> Iterator[str]:
    with serving(vault) as url:
        yield url


@pytest.fixture
def session(vault: FakeVault, address: str, clock: ReplayClock) -> VaultSession:
    """A process that may read and write, its token good for an hour, for three hours at most."""
    role = vault.app_role(ttl=HOUR, max_ttl=3 * HOUR, writes=True)
    login = AppRoleLogin(role, lambda: vault.roles[role].secret_id)
    return VaultSession(
        address=address,
        login=login,
        clock=clock,
        patience=timedelta(seconds=60),
        timeout=timedelta(seconds=60),  # users are made in a database of a busy machine
    )
