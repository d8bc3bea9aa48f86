"""Database logins that Vault makes for a while and takes back."""

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized

from runtime.errors import RuntimeFault, SecretMissing, SecretUnavailable
from runtime.secrets.lease import Lease
from runtime.secrets.session import NEARLY_SPENT, VaultSession


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLogin:
    """One user that Vault made; it is dropped when its lease ends."""

    username: str
    password: str = field(repr=False)
    lease: Lease
    generation: int  # the login at Vault that made it: it dies with that token
    luck: float


@dataclass(slots=True, kw_only=True)
class DynamicDatabase:
    """Credentials of one role of Vault's database engine, alive for as long as they are kept.

    The role's creation statements should end with `ALTER ROLE "{{name}}" SET ROLE <owner>`, so that
    what a passing user creates belongs to the lasting owner and the user can be dropped.

    Source: HashiCorp Vault API documentation, "Databases secrets engine".
    """

    session: VaultSession
    role: str
    mount: str = "database"
    grace: timedelta = timedelta(seconds=30)  # a replaced login works on for those who hold it
    fault: str = ""
    _login: DatabaseLogin | None = field(default=None, repr=False)
    _retired: list[tuple[datetime, Lease]] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.RLock, repr=False)

    def current(self) -> DatabaseLogin:
        """Return a login that works now, made if there is none.

        Nobody who connects waits while Vault is asked to renew or replace one that still works.

        Raises:
            SecretMissing: Vault has no such role.
            SecretForbidden, SecretUnavailable: as VaultSession.call.
        """
        login = self._alive()
        if login is not None:
            return login
        with self._lock:  # another thread may have made one meanwhile
            return self._alive() or self._replace(self.session.clock.now())

    def _alive(self) -> DatabaseLogin | None:
        login = self._login
        return None if login is None or login.lease.is_over(self.session.clock.now()) else login

    def rotate(self) -> DatabaseLogin:
        """Take a new login now; the old one is revoked once its holders had `grace` to finish."""
        with self._lock:
            return self._replace(self.session.clock.now())

    def keep(self) -> datetime:
        """Renew, replace and revoke what is due; return when to come back, UTC. Never raises."""
        with self._lock:
            now = self.session.clock.now()
            try:
                self._revoke_retired(now)
                due = self._renew(now)
                self.fault = ""
            except (RuntimeFault, InvalidRequest) as error:
                self.fault = str(error)
                return now + timedelta(seconds=1)
            return min([due, *(at for at, _ in self._retired)])

    def _renew(self, now: datetime) -> datetime:
        login = self._login
        if login is None:
            return now + timedelta(hours=1)
        if login.generation != self.session.generation or login.lease.is_over(now):
            login = self._replace(now)
        elif now >= login.lease.renew_at(login.luck):
            login = self._extended(login, now) or self._replace(now)
        return login.lease.renew_at(login.luck)

    def _extended(self, login: DatabaseLogin, now: datetime) -> DatabaseLogin | None:
        """Return the login with the life really granted, None if that is nearly nothing."""
        lease, asked = login.lease, int(login.lease.duration.total_seconds())
        if not lease.renewable:
            return None
        try:
            told = self.session.call(
                lambda client: client.sys.renew_lease(lease.id, increment=asked)
            )
        except (InvalidRequest, InvalidPath):
            return None  # revoked behind our back
        granted = timedelta(seconds=told["lease_duration"])
        if granted <= lease.duration * NEARLY_SPENT:
            return None
        self._login = DatabaseLogin(
            username=login.username,
            password=login.password,
            lease=Lease(
                id=lease.id, granted_at=now, duration=granted, renewable=bool(told["renewable"])
            ),
            generation=login.generation,
            luck=self.session.rng.random(),
        )
        return self._login

    def _replace(self, now: datetime) -> DatabaseLogin:
        try:
            told = self.session.call(
                lambda client: client.secrets.database.generate_credentials(
                    self.role, mount_point=self.mount
                )
            )
        except (InvalidPath, InvalidRequest) as error:
            raise SecretMissing(
                f"Vault has no database role {self.mount}/{self.role}; create it, or name another"
            ) from error
        old, self._login = (
            self._login,
            DatabaseLogin(
                username=told["data"]["username"],
                password=told["data"]["password"],
                lease=Lease(
                    id=told["lease_id"],
                    granted_at=now,
                    duration=timedelta(seconds=told["lease_duration"]),
                    renewable=bool(told["renewable"]),
                ),
                generation=self.session.generation,
                luck=self.session.rng.random(),
            ),
        )
        if old is not None and not old.lease.is_over(now):
            # Until this moment, however long Vault took, others were given the old one.
            self._retired.append((self.session.clock.now() + self.grace, old.lease))
        return self._login

    def _revoke(self, lease: Lease) -> None:
        def ask(client: hvac.Client) -> None:
            # It died with its token; or we may not, and it ends with its lease. Neither says that
            # our own token is refused, which would make a new one, and a new login with it.
            with suppress(Forbidden, Unauthorized):
                client.sys.revoke_lease(lease.id)

        self.session.call(ask)

    def _revoke_retired(self, now: datetime) -> None:
        waiting = []
        for at, lease in self._retired:
            if at > now:
                waiting.append((at, lease))
                continue
            try:
                self._revoke(lease)
            except (InvalidRequest, InvalidPath):
                continue  # gone already
            except SecretUnavailable:
                waiting.append((at, lease))
        self._retired = waiting
