"""Database logins that come and go, against a real PostgreSQL: no call fails, nothing stays."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from runtime import postgres
from runtime.database import open_database
from runtime.errors import DatabaseUnavailable, SecretMissing
from runtime.secrets.database import DatabaseLogin, DynamicDatabase
from runtime.secrets.keeper import Keeper
from runtime.secrets.session import VaultSession
from tests.fakes.vault import DENIED, DatabaseRole
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
    failures, calls, stop = [], [0] * 4, threading.Event()

    def hammer(number: int) -> None:
        while not stop.is_set():
            try:
                with engine.begin() as connection:
                    connection.exec_driver_sql("SELECT pg_sleep(0.002)")
                calls[number] += 1
            except SQLAlchemyError as error:
                failures.append(error)

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            dynamic.rotate()
            before = list(calls)
            # The second call of each began after the rotation, so nobody needs the old login now.
            while min(now - then for now, then in zip(calls, before, strict=True)) < 2:
                assert not failures
                stop.wait(0.005)
            clock.advance(clock.now() + timedelta(seconds=6))
            dynamic.keep()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    engine.dispose()
    assert failures == []
    assert users(dsn) == {dynamic.current().username}


def test_whoever_connects_too_slowly_for_a_login_that_is_replaced_comes_as_the_next(
    database, session, clock
):
    url, dsn = database
    dynamic = DynamicDatabase(session=session, role="sluice")
    slow = [True]

    def login() -> DatabaseLogin:
        """The first one is taken back before it is shown to the server."""
        taken = dynamic.current()
        if slow:
            slow.clear()
            dynamic.rotate()
            clock.advance(clock.now() + timedelta(minutes=1))
            dynamic.keep()
            assert taken.username not in users(dsn)
        return taken

    engine = open_database(url, login=login)
    with engine.connect() as connection:
        who = connection.exec_driver_sql("SELECT session_user").scalar()
    engine.dispose()
    assert who == dynamic.current().username


@pytest.mark.parametrize(("replaced", "tries"), [(False, 1), (True, 2)])
def test_a_refused_login_is_tried_again_only_if_it_was_replaced_and_only_once(
    database, monkeypatch, replaced, tries
):
    url, _ = database
    tried, connect, numbers = [], postgres.Bounded.connect, count()

    def counted(*given, **named):
        tried.append(named["user"])
        return connect(*given, **named)

    def login() -> SimpleNamespace:
        number = next(numbers) if replaced else 0
        return SimpleNamespace(username=f"nobody-{number}", password="-")

    monkeypatch.setattr(postgres.Bounded, "connect", counted)
    with pytest.raises(DatabaseUnavailable, match="password authentication failed"):
        open_database(url, login=login)
    assert len(tried) == tries


def test_nobody_who_connects_waits_for_a_vault_that_hangs_in_a_renewal(
    database, session, clock, monkeypatch
):
    url, _ = database
    dynamic = DynamicDatabase(session=session, role="sluice")
    engine = open_database(url, login=dynamic.current)
    asked, hanging, call = threading.Event(), threading.Event(), VaultSession.call

    def hangs(vault_session, ask):
        asked.set()
        hanging.wait(60)
        return call(vault_session, ask)

    monkeypatch.setattr(VaultSession, "call", hangs)
    clock.advance(clock.now() + timedelta(minutes=8))  # the login is due, and good for two more
    keeping = threading.Thread(target=dynamic.keep)
    keeping.start()
    try:
        assert asked.wait(60)
        with ThreadPoolExecutor(1) as other:
            try:
                other.submit(engine.connect).result(timeout=20).close()
            finally:
                hanging.set()
    finally:
        hanging.set()
        keeping.join()
    engine.dispose()
    assert dynamic.fault == ""


def test_the_grace_of_a_replaced_login_begins_when_its_successor_is_there(
    database, session, clock, monkeypatch
):
    """Until then it was handed out."""
    _, dsn = database
    dynamic = DynamicDatabase(session=session, role="sluice", grace=timedelta(seconds=5))
    first, call = dynamic.current().username, VaultSession.call

    def takes_long(vault_session, ask):
        made = call(vault_session, ask)
        clock.advance(clock.now() + timedelta(seconds=4))
        return made

    with monkeypatch.context() as slowly:
        slowly.setattr(VaultSession, "call", takes_long)
        dynamic.rotate()
    clock.advance(clock.now() + timedelta(seconds=4))
    dynamic.keep()
    assert first in users(dsn)
    clock.advance(clock.now() + timedelta(seconds=1))
    dynamic.keep()
    assert users(dsn) == {dynamic.current().username}


def test_a_role_that_may_not_revoke_keeps_its_login_alive_and_leaves_the_old_one_to_its_lease(
    database, session, vault, clock
):
    _, dsn = database
    whole, refused = vault.answer, []

    def answer(method, path, shown, body):
        if path == "sys/leases/revoke":
            refused.append(body["lease_id"])
            vault.seen.append((method, path))
            return DENIED
        return whole(method, path, shown, body)

    vault.answer = answer
    dynamic = DynamicDatabase(session=session, role="sluice")
    first, second = dynamic.current().username, dynamic.rotate().username
    keeper = Keeper(kept=[session, dynamic], clock=clock)
    for _ in range(15):
        clock.advance(clock.now() + timedelta(minutes=1))
        keeper.round()
        assert keeper.faults() == ()
    assert len(refused) == 1
    assert session.generation == 1
    assert dynamic.current().username == second
    assert first not in users(dsn)


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
