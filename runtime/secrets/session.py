"""A login at Vault that lasts: patient with restarts, renewed in time, made anew when revoked.

1. `call` logs in if there is no token, asks, and turns hvac's errors into ours;
2. a refused token is given up and, with AppRole, replaced once before the refusal is believed;
3. silence, a seal and 5xx are waited out for `patience`, with growing, jittered pauses;
4. `keep` renews the token at two thirds of what was granted, and logs in anew when the
   server grants less and less because the token nears its maximal life.

Source: HashiCorp Vault documentation, "Tokens" and "AppRole auth method".
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import hvac
from hvac.exceptions import (
    BadGateway,
    Forbidden,
    InternalServerError,
    InvalidRequest,
    RateLimitExceeded,
    Unauthorized,
    VaultDown,
    VaultNotInitialized,
)
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_random_exponential

from runtime.clock import Clock
from runtime.errors import SecretForbidden, SecretUnavailable
from runtime.secrets.lease import Lease

T = TypeVar("T")
AWAY = (
    VaultDown,
    VaultNotInitialized,
    InternalServerError,
    BadGateway,
    RateLimitExceeded,
    RequestException,
)
NEARLY_SPENT = 1 / 3  # a renewal that grants less of the first life means: log in anew


class Login(Protocol):
    """How a process proves who it is."""

    @property
    def repeatable(self) -> bool:
        """Say whether it can be used again after a token was revoked."""
        ...

    def enter(self, client: hvac.Client, now: datetime) -> Lease:
        """Leave a token in the client and return its life."""
        ...


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A token that somebody handed out."""

    token: str = field(repr=False)
    repeatable: bool = False

    def enter(self, client: hvac.Client, now: datetime) -> Lease:
        """Use the token; what is left of its life is asked for."""
        client.token = self.token
        told = client.auth.token.lookup_self()["data"]
        return Lease(
            id="",
            granted_at=now,
            duration=timedelta(seconds=told["ttl"]),
            renewable=bool(told.get("renewable")),
        )


@dataclass(frozen=True, slots=True)
class AppRoleLogin:
    """A role id and a secret id, the second read again at each login so that it can be replaced."""

    role_id: str
    secret_id: Callable[[], str] = field(repr=False)
    mount: str = "approle"
    repeatable: bool = True

    def enter(self, client: hvac.Client, now: datetime) -> Lease:
        """Log in; the token is the client's from then on."""
        granted = client.auth.approle.login(
            role_id=self.role_id, secret_id=self.secret_id(), mount_point=self.mount
        )["auth"]
        return Lease(
            id="",
            granted_at=now,
            duration=timedelta(seconds=granted["lease_duration"]),
            renewable=bool(granted["renewable"]),
        )


@dataclass(slots=True, kw_only=True)
class VaultSession:
    """One process's way to Vault; safe to share between threads."""

    address: str  # https://host:8200
    login: Login
    clock: Clock
    patience: timedelta = timedelta(seconds=5)  # how long one call waits for an absent Vault
    timeout: timedelta = timedelta(seconds=3)  # of one request
    namespace: str | None = None
    verify: bool | str = True  # a file of certificates takes the place of the system's
    rng: random.Random = field(default_factory=random.Random, repr=False)
    generation: int = 0  # logins so far: what an older token made dies with it
    fault: str = ""  # why the last renewal failed, in words
    _client: hvac.Client | None = field(default=None, repr=False)
    _lease: Lease | None = None
    _luck: float = 0.0
    _lock: Any = field(default_factory=threading.RLock, repr=False)

    def call(self, ask: Callable[[hvac.Client], T]) -> T:
        """Ask Vault something as this process.

        Raises:
            SecretForbidden: the login is refused, or lacks the right.
            SecretUnavailable: no useful answer within `patience`.
            hvac.exceptions.InvalidPath, InvalidRequest: as hvac raises them; the caller knows why.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(AWAY),
            stop=stop_after_delay(self.patience),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
        )
        try:
            answer: T = attempts(self._ask, ask)
            return answer
        except RetryError as error:
            cause = error.last_attempt.exception()
            raise SecretUnavailable(
                f"Vault at {self.address} does not answer: {_said(cause)};"
                " is it running, unsealed and reachable from here?"
            ) from cause

    def keep(self) -> datetime:
        """Renew the token if it is time; return when to come back, UTC. An absence is noted."""
        now = self.clock.now()
        lease = self._lease
        if lease is None or lease.endless:
            return now + timedelta(hours=1)
        if now < (due := lease.renew_at(self._luck)):
            return due
        try:
            self._renew(lease, now)
            self.fault = ""
        except (*AWAY, Forbidden, Unauthorized, InvalidRequest, SecretForbidden) as error:
            self.fault = _said(error)
            left = max(lease.ends_at - now, timedelta(0))
            return now + min(max(left / 4, timedelta(seconds=1)), timedelta(seconds=30))
        return self._lease.renew_at(self._luck) if self._lease else now

    def _ask(self, ask: Callable[[hvac.Client], T]) -> T:
        client = self._entered()
        try:
            return ask(client)
        except (Forbidden, Unauthorized) as error:
            if not self.login.repeatable:
                raise SecretForbidden(
                    f"Vault at {self.address} refuses the token: {_said(error)};"
                    " hand out another one, or log in by AppRole"
                ) from error
        client = self._entered(instead_of=client.token)
        try:
            return ask(client)
        except (Forbidden, Unauthorized) as error:
            raise SecretForbidden(
                f"Vault at {self.address} refuses this role: {_said(error)};"
                " give its policy the right to this path"
            ) from error

    def _entered(self, *, instead_of: str | None = None) -> hvac.Client:
        """Return a client with a living token; `instead_of` is one that was just refused."""
        with self._lock:
            client, now = self._client, self.clock.now()
            over = self._lease is not None and self._lease.is_over(now)
            if client is None or over or (instead_of and client.token == instead_of):
                return self._enter(now)
            return client

    def _enter(self, now: datetime) -> hvac.Client:
        client = hvac.Client(
            url=self.address,
            namespace=self.namespace,
            verify=self.verify,
            timeout=self.timeout.total_seconds(),
        )
        client.token = None
        try:
            lease = self.login.enter(client, now)
        except (Forbidden, Unauthorized, InvalidRequest) as error:
            raise SecretForbidden(
                f"Vault at {self.address} refuses the login: {_said(error)};"
                " check the role id, the secret id and whether the token still lives"
            ) from error
        self._client, self._lease, self._luck = client, lease, self.rng.random()
        self.generation += 1
        return client

    def _renew(self, lease: Lease, now: datetime) -> None:
        with self._lock:
            if lease is not self._lease or self._client is None:
                return
            if lease.renewable and not lease.is_over(now):
                asked = int(lease.duration.total_seconds())
                granted = self._client.auth.token.renew_self(increment=asked)["auth"]
                got = timedelta(seconds=granted["lease_duration"])
                self._lease = Lease(
                    id="", granted_at=now, duration=got, renewable=bool(granted["renewable"])
                )
                self._luck = self.rng.random()
                if got > lease.duration * NEARLY_SPENT or not self.login.repeatable:
                    return
            if self.login.repeatable:
                self._enter(now)


def _said(error: BaseException | None) -> str:
    """Return an error in words, without the request that may carry a secret."""
    if isinstance(error, NoConnection):
        return "no connection"
    if isinstance(error, RequestException):
        return type(error).__name__
    if isinstance(error, SecretForbidden):
        return str(error)
    told = getattr(error, "errors", None)
    return "; ".join(told) if told else type(error).__name__
