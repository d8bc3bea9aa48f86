"""Fixtures shared by every test: private servers, fresh databases of both kinds, hypothesis.

`postgres_server`  one private server per test process (so `-n 2` has two), gone at the end
`valkey_server`    a private Valkey likewise, in memory only; `valkey_url` empties it before a test
`s3_bucket`        an empty bucket of a private S3 server of this test process
`market_lake`      the embedded market history, ingested once (tests/conftest_market.py)
`database_url`     runs the test twice, on a fresh SQLite file and on a fresh PostgreSQL database
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.testing
from hypothesis import HealthCheck, settings

from pipelines.runs.lean import without_grammars
from tests.postgres import PostgresServer, private_postgres
from tests.servers import MOTO, ValkeyServer, make_bucket, private_s3, private_valkey

# It builds every command anew for each one that a test runs, three quarters of what that costs.
typer.testing._get_command = functools.cache(typer.testing._get_command)

with without_grammars():  # each test process imports it, for the files that read notebooks
    importlib.import_module("nbformat")

# Examples are the same in every run: a red test today is red tomorrow. `thorough` is for exploring.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    max_examples=30,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "thorough", settings.get_profile("steady"), derandomize=False, max_examples=1000
)
settings.load_profile(os.environ.get("SLUICE_HYPOTHESIS", "steady"))

pytest_plugins = ["tests.conftest_market"]


def pytest_runtest_teardown() -> None:
    """Let garbage be collected that a command set aside with all it keeps when it had started.

    A process starts once; here hundreds of commands do, and their open files would never be closed.
    """
    gc.unfreeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A private PostgreSQL for this test process, or the server of SLUICE_TEST_POSTGRES_URL.

    The second is for other versions; its user must be allowed to make databases.
    """
    elsewhere = os.environ.get("SLUICE_TEST_POSTGRES_URL")
    if elsewhere is not None:
        yield PostgresServer.at(elsewhere)
        return
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """A private Valkey for this test process, or the server of SLUICE_TEST_REDIS_URL.

    The second is for other versions and for Redis itself; its database is emptied.
    """
    elsewhere = os.environ.get("SLUICE_TEST_REDIS_URL")
    if elsewhere is not None:
        yield ValkeyServer.at(elsewhere)
        return
    with private_valkey() as server:
        yield server


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """URL of an empty Valkey."""
    with valkey_server.client() as client:
        client.flushdb()
    return valkey_server.url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Endpoint of a private S3 server for this test process."""
    if not MOTO.exists():
        pytest.skip("no .venv-s3: `just test` makes it")
    with private_s3() as endpoint:
        yield endpoint


@pytest.fixture
def s3_bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty bucket, or of an empty folder below SLUICE_TEST_S3_URL.

    The environment leads the lake's driver to it, as it would in production: AWS_*.
    """
    elsewhere = os.environ.get("SLUICE_TEST_S3_URL")
    if elsewhere is not None:
        return f"{elsewhere.rstrip('/')}/{secrets.token_hex(6)}"
    endpoint = request.getfixturevalue("s3_server")
    for name, value in (
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "tests"),
        ("AWS_SECRET_ACCESS_KEY", "tests"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
    ):
        monkeypatch.setenv(name, value)
    return f"s3://{make_bucket(endpoint)}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """SQLAlchemy URL of a fresh, empty database; the test runs once per kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fresh.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.lent() as url:
        yield url
