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

from runtime.chain import micros
from runtime.database import transaction
from runtime.errors import Superseded

_TABLE = (
    "CREATE TABLE IF NOT EXISTS trading_epochs (account TEXT PRIMARY KEY, "
    "epoch BIGINT NOT NULL, holder TEXT NOT NULL, taken_at BIGINT NOT NULL)"
)
_TAKE = (
    "INSERT INTO trading_epochs (account, epoch, holder, taken_at) VALUES (?, 1, ?, ?) "
    "ON CONFLICT (account) DO UPDATE SET epoch = trading_epochs.epoch + 1, "
    "holder = excluded.holder, taken_at = excluded.taken_at RETURNING epoch"
)


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
        postgres = connection.dialect.name == "postgresql"
        if postgres:
            lock = "SELECT pg_advisory_xact_lock_shared(%s)"
            connection.exec_driver_sql(lock, (_lock_of(self.account),))
        mark = "%s" if postgres else "?"
        query = f"SELECT epoch, holder FROM trading_epochs WHERE account = {mark}"
        row = connection.exec_driver_sql(query, (self.account,)).fetchone()
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

    def take(self, account: str, *, holder: str, at: datetime) -> Fence:
        """Take the account's next epoch; every process that held an earlier one is refused.

        Args:
            account: whose orders are sent.
            holder: who takes it, for people: host and process.
            at: UTC.
        """
        statement = _TAKE.replace("?", "%s") if self._postgres else _TAKE
        with transaction(self.engine) as connection:
            if self._postgres:
                lock = "SELECT pg_advisory_xact_lock(%s)"
                connection.exec_driver_sql(lock, (_lock_of(account),))
            row = connection.exec_driver_sql(statement, (account, holder, micros(at))).fetchone()
        if row is None:
            raise Superseded(f"no epoch was given for account {account}")
        return Fence(self.engine, account, int(row[0]), holder)


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
