"""Which of several replicas leads: the holder of one lock that a dead process cannot keep.

The lock saves work; it does not prove anything, since its holder may stall and lose it unawares.
What makes a stalled holder harmless is the epoch (`runtime.scheduling.fence`).
"""

import fcntl
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from runtime.errors import DatabaseUnavailable

STALL = 10.0  # seconds without a beat after which a PostgreSQL server gives the lock away


class Lead(Protocol):
    """The right to be the replica that works; held by one process at a time."""

    def take(self) -> bool:
        """Try once to lead; True if this process does now."""
        ...

    def holds(self) -> bool:
        """Say whether this process leads still; asked every second, which keeps the lock alive."""
        ...

    def release(self) -> None:
        """Let another replica lead; nothing happens if this one does not."""
        ...


@dataclass(slots=True)
class FileLead:
    """Leads among the processes of one host, by a lock on a file beside the embedded database.

    A holder that dies is followed at once; one that is only stopped keeps the lock until it is
    killed, or until somebody removes the file: then it finds out at its next beat.
    """

    path: Path
    _descriptor: int | None = field(default=None)

    def take(self) -> bool:
        """Lock the file; False if another process has it."""
        if self.holds():
            return True
        self.release()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return self.holds()  # the file may have been removed in between

    def holds(self) -> bool:
        """Say whether the locked file is the one that others would lock."""
        if self._descriptor is None:
            return False
        try:
            there = self.path.stat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def release(self) -> None:
        """Unlock the file; it stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(slots=True)
class PostgresLead:
    """Leads among the processes of many hosts, by an advisory lock of a session of its own.

    The server ends the session, and with it the lock, when its connection breaks or when no beat
    came for `stall`: a stopped process is followed without anybody's help. It needs a connection
    to the server itself, not to a proxy that shares sessions among transactions.
    """

    engine: Engine
    name: str  # of what is led
    stall: float = STALL  # seconds
    _session: Connection | None = field(default=None)

    def take(self) -> bool:
        """Try the lock on a session of its own; False if another process has it.

        Raises:
            DatabaseUnavailable: the server does not answer.
        """
        if self.holds():
            return True
        self.release()
        try:
            session = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            session.detach()  # the pool must not hand this session to anybody else
            self._session = session
            session.exec_driver_sql(f"SET idle_session_timeout = {int(self.stall * 1000)}")
            query = "SELECT pg_try_advisory_lock(%s)"
            if bool(session.exec_driver_sql(query, (self._key(),)).scalar()):
                return True
        except DBAPIError as error:
            self.release()
            raise DatabaseUnavailable(f"cannot tell who leads {self.name}: {error.orig}") from error
        self.release()
        return False

    def holds(self) -> bool:
        """Say whether the session that has the lock answers."""
        if self._session is None:
            return False
        try:
            self._session.exec_driver_sql("SELECT 1")
        except DBAPIError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """End the session; its lock goes with it."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(DBAPIError):
                session.close()

    def _key(self) -> int:
        digest = hashlib.sha256(f"sluice leader of {self.name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1
