"""Database logins that come and go, against a real PostgreSQL: no call fails, nothing stays."""

from __future__ import annotations

import threading
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from runtime.database import open_database
from runtime.errors import SecretMissing
from runtime.secrets.database import DynamicDatabase
from runtime.secrets.keeper import Keeper
from tests.fakes.vault import DatabaseRole
from tests.runtime.secrets.conftest import HOUR

OWNER = "sluice_owner"
MADE = (
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' IN ROLE " + OWNER,
    'ALTER ROLE "{{name}}" SET ROLE ' + OWNER,
)
TAKEN_BACK = (
    # A user that is connected would live on as a nameless one.
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'",
    'DROP ROLE IF EXISTS "{{name}}"',
)


@pytest.fixture
def database(postgres_server, vault):
    """A PostgreSQL database and Vault's role for it: users live for ten minutes, thirty at most."""
    with postgres_server.database() as url:
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"DROP ROLE IF EXISTS {OWNER}")
            connection.execute(f"CREATE ROLE {OWNER}")
            connection.execute(f"GRANT ALL ON SCHEMA public TO {OWNER}")
        vault.databases["sluice"] = DatabaseRole(
            dsn=dsn,
            creation=MADE,
            revocation=TAKEN_BACK,
            ttl=timedelta(minutes=10),
            max_ttl=timedelta(minutes=30),
        )
        yield url, dsn
        for lease in list(vault.leases):
            vault._drop_lease(lease)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {OWNER}")
            connection.execute(f"DROP ROLE {OWNER}")


def users(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'")
        return {row[0] for row in rows}


def test_a_login_works_and_what_it_creates_belongs_to_the_lasting_owner(database, session):
    url, dsn = database
    dynamic = DynamicDatabase(session=session, role="sluice")
    engine = open_database(url, login=dynamic.current)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (n int)")
        who = connection.exec_driver_sql("SELECT session_user").scalar()
    engine.dispose()
    assert who == dynamic.current().username
    assert users(dsn) == {who}
    with psycopg.connect(dsn) as connection:
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'kept'")
        assert owner.fetchone() == (OWNER,)


def test_logins_are_renewed_replaced_and_revoked_over_hours_without_a_gap(
    database, session, vault, clock
):
    url, dsn = database
    dynamic = DynamicDatabase(session=session, role="sluice")
    engine = open_database(url, login=dynamic.current)
    keeper, seen = Keeper(kept=[session, dynamic], clock=clock), set()
    for _ in range(3 * 20):  # three hours, every three minutes
        clock.advance(clock.now() + timedelta(minutes=3))
        keeper.round()
        assert keeper.faults() == ()
        with engine.connect() as connection:
            seen.add(connection.exec_driver_sql("SELECT session_user").scalar())
    engine.dispose()
    assert len(seen) >= 6, "a user lives for thirty minutes at most"
    assert len(users(dsn)) <= 2


def test_rotation_under_load_fails_no_call_and_leaves_no_old_user(database, session, vault, clock):
    url, dsn = database
    dynamic = DynamicDatabase(session=session, role="sluice", grace=timedelta(seconds=5))
    engine = open_database(url, login=dynamic.current)
    failures, calls, stop = [], [0], threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            try:
                with engine.begin() as connection:
                    connection.exec_driver_sql("SELECT pg_sleep(0.002)")
                calls[0] += 1
            except SQLAlchemyError as error:
                failures.append(error)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        before = calls[0]
        dynamic.rotate()
        while calls[0] < before + 20:  # everybody came back at least once since
            stop.wait(0.005)
        clock.advance(clock.now() + timedelta(seconds=6))
        dynamic.keep()
    stop.set()
    for thread in threads:
        thread.join()
    engine.dispose()
    assert failures == []
    assert users(dsn) == {dynamic.current().username}


def test_a_login_whose_maker_was_revoked_is_replaced(database, session, vault, clock):
    _, dsn = database
    dynamic = DynamicDatabase(session=session, role="sluice")
    first = dynamic.current().username
    vault.revoke_every_token()
    clock.advance(clock.now() + HOUR / 2)
    Keeper(kept=[session, dynamic], clock=clock).round()
    assert dynamic.current().username != first
    assert users(dsn) == {dynamic.current().username}


def test_a_role_that_vault_does_not_have_is_named(session, vault):
    with pytest.raises(SecretMissing, match="database/nobody"):
        DynamicDatabase(session=session, role="nobody").current()


def test_a_password_is_in_no_text(database, session):
    login = DynamicDatabase(session=session, role="sluice").current()
    assert login.password not in repr(login)
    assert login.password not in repr(session)
