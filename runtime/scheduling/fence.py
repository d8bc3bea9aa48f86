"""The right to write and send for an account: one process at a time, by a number that only grows.

Whoever begins to trade an account takes its next epoch. Every write of the order path, and the last
point before a venue, checks inside its own transaction that no later epoch was taken; to take one
waits until such transactions have ended. A process that was stopped, or cut off, and wakes up after
another took over is refused there: it can neither record nor send.

What no client can close is the moment between that check and the venue's receipt: a process stopped
just there sends one order late. It is an order that a decision on record asked for, under the id
that the record gives it; a venue takes an id once, and `log_on` lets a venue refuse the old process
itself.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from sqlalchemy import Connection, Engine

from runtime.chain import instant, micros
from runtime.database import reading, transaction
from runtime.errors import DatabaseUnavailable, Superseded
from runtime.statements import Query, Rows, run_all

_TABLE = (
    "CREATE TABLE IF NOT EXISTS trading_epochs (account TEXT PRIMARY KEY, "
    "epoch BIGINT NOT NULL, holder TEXT NOT NULL, taken_at BIGINT NOT NULL)"
)
_TAKE = (
    "INSERT INTO trading_epochs (account, epoch, holder, taken_at) VALUES (?, 1, ?, ?) "
    "ON CONFLICT (account) DO UPDATE SET epoch = trading_epochs.epoch + 1, "
    "holder = excluded.holder, taken_at = excluded.taken_at RETURNING epoch"
)
# The server's own limit for idle transactions is not enough: PostgreSQL 18.6 does not apply it to a
# transaction whose last statements came as a pipeline, as every batch of rows does.
_END_HOLDERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND pid <> pg_backend_pid() AND objsubid = 1 AND classid::bigint = %s AND objid::bigint = %s "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
WAIT_MS = 2000  # how long who takes over waits for what the one before has begun


@runtime_checkable
class Exclusive(Protocol):
    """A venue whose newest session ends the older ones, as a second logon does at a real one."""

    def log_on(self, epoch: int) -> None:
        """Serve this process alone from now on; Superseded if a later epoch has logged on."""
        ...


@dataclass(frozen=True, slots=True)
class Fence:
    """One process's right to an account, as long as no later epoch is taken."""

    engine: Engine
    account: str
    epoch: int
    holder: str

    def check(self, connection: Connection) -> None:
        """Refuse unless the epoch is the account's last; holds until the transaction ends.

        Args:
            connection: of `runtime.database.transaction`, the caller's own.

        Raises:
            Superseded: another process has taken over.
        """
        self.judge(run_all(connection, self.questions)[-1])

    @property
    def questions(self) -> list[Query]:
        """The statements that `check` runs, for who asks other things in the same round trip."""
        query = "SELECT epoch, holder FROM trading_epochs WHERE account ="
        if self.engine.dialect.name != "postgresql":
            return [(f"{query} ?", (self.account,))]
        lock = ("SELECT pg_advisory_xact_lock_shared(%s)", (_lock_of(self.account),))
        return [lock, (f"{query} %s", (self.account,))]

    def judge(self, answer: Rows) -> None:
        """Refuse unless the answer to the last of `questions` names this epoch; as `check`."""
        row = answer[0] if answer else None
        if row is None or row[0] != self.epoch:
            taken = "nobody" if row is None else f"{row[1]} (epoch {row[0]})"
            raise Superseded(
                f"account {self.account} is traded by {taken} now, no longer by {self.holder} "
                f"(epoch {self.epoch}); nothing was written or sent"
            )

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep everybody from taking over while the block runs; for the last step before a venue.

        Raises:
            Superseded: another process has taken over already; the block did not run.
            DatabaseUnavailable: it cannot be told; the block did not run, or its effect is unknown.
        """
        with transaction(self.engine) as connection:
            self.check(connection)
            yield


class Epochs:
    """Hands out the epochs of accounts."""

    def __init__(self, engine: Engine) -> None:
        """Make the table if it is not there."""
        self.engine = engine
        self._postgres = engine.dialect.name == "postgresql"
        with transaction(engine) as connection:
            if self._postgres:  # two first processes would both make it
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_lock_of(""),))
            connection.exec_driver_sql(_TABLE)

    def last(self, account: str) -> tuple[int, str, datetime] | None:
        """Return epoch, holder and time of who began to trade an account last, None before any."""
        mark = "%s" if self._postgres else "?"
        query = f"SELECT epoch, holder, taken_at FROM trading_epochs WHERE account = {mark}"
        with reading(self.engine) as connection:
            row = connection.exec_driver_sql(query, (account,)).fetchone()
        return None if row is None else (int(row[0]), str(row[1]), instant(row[2]))

    def take(self, account: str, *, holder: str, at: datetime) -> Fence:
        """Take the account's next epoch; every process that held an earlier one is refused.

        What an earlier holder has begun is waited for; on PostgreSQL it is ended after `WAIT_MS`,
        since a process that was stopped inside a transaction would never end it.

        Args:
            account: whose orders are sent.
            holder: who takes it, for people: host and process.
            at: UTC.

        Raises:
            DatabaseUnavailable: it does not answer, or an earlier holder could not be ended.
        """
        try:
            epoch = self._take(account, holder, at)
        except DatabaseUnavailable:
            if not self._postgres:
                raise
            self._end_holders(account)
            epoch = self._take(account, holder, at)
        return Fence(self.engine, account, epoch, holder)

    def _take(self, account: str, holder: str, at: datetime) -> int:
        arguments = (account, holder, micros(at))
        with transaction(self.engine) as connection:
            if self._postgres:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {WAIT_MS}")
                lock = "SELECT pg_advisory_xact_lock(%s)"
                connection.exec_driver_sql(lock, (_lock_of(account),))
                statement = _TAKE.replace("?", "%s")
            else:
                statement = _TAKE
            return int(connection.exec_driver_sql(statement, arguments).scalar_one())

    def _end_holders(self, account: str) -> None:
        """End the server's sessions that hold the account's lock; what they did not commit goes."""
        high, low = divmod(_lock_of(account), 1 << 32)
        with transaction(self.engine) as connection:
            connection.exec_driver_sql(_END_HOLDERS, (high, low))


def log_on(venues: Iterable[object], fence: Fence) -> None:
    """End the sessions of earlier epochs at every venue that keeps one session at a time.

    Raises:
        Superseded: a later epoch has logged on somewhere.
    """
    for venue in venues:
        if isinstance(venue, Exclusive):
            venue.log_on(fence.epoch)


def _lock_of(account: str) -> int:
    """Return the 63-bit name of an account's advisory lock."""
    name = hashlib.sha256(f"sluice epoch of {account}".encode()).digest()
    return int.from_bytes(name[:8], "big") >> 1
