"""Vault's HTTP API as far as Sluice speaks it: real HTTP, real lease rules, a test's clock.

Written from the published API documentation (developer.hashicorp.com/vault/api-docs: auth/approle,
auth/token, secret/kv/kv-v2, secret/databases, system/leases, system/health, system/seal). Every
route is in Vault's published OpenAPI document, of which `vault_openapi.json` is an extract
(Vault 1.15.0, Mozilla Public License 2.0); a test holds each request against it.

What it keeps true:
- tokens and leases end by the clock, renewals are cut at the maximal life, and what a token made
  dies with it;
- database roles are made and dropped in a real PostgreSQL, by the role's own statements;
- sealed, it answers 503 to everything but health and seal status; frozen, it answers nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from runtime.clock import Clock

Answer = tuple[int, dict[str, Any] | None]
DENIED: Answer = (403, {"errors": ["permission denied"]})
SEALED: Answer = (503, {"errors": ["Vault is sealed"]})
PREFIX = "/v1/"
OPEN_TO_ALL = ("sys/health", "sys/seal-status", "sys/unseal", "auth/approle/login")


@dataclass(kw_only=True)
class Token:
    """A client token; it ends at `ends_at`, and no renewal goes beyond `dies_at`."""

    ends_at: datetime | None  # None = a root token
    dies_at: datetime | None
    ttl: timedelta
    writes: bool


@dataclass(kw_only=True)
class Granted:
    """A database user under lease."""

    username: str
    token: str
    ends_at: datetime
    dies_at: datetime


@dataclass(kw_only=True)
class Role:
    """An AppRole."""

    secret_id: str
    ttl: timedelta
    max_ttl: timedelta
    writes: bool = False


@dataclass(kw_only=True)
class DatabaseRole:
    """What `database/creds/NAME` makes, and for how long."""

    dsn: str  # of the server's owner
    creation: tuple[str, ...]  # {{name}}, {{password}} and {{expiration}} are filled in
    revocation: tuple[str, ...]
    ttl: timedelta
    max_ttl: timedelta


@dataclass(kw_only=True)
class Kept:
    """One version of a secret."""

    data: dict[str, Any]
    created: datetime
    deleted: datetime | None = None


@dataclass(kw_only=True)
class FakeVault:
    """The server's state; `serving` puts it on a port of loopback."""

    clock: Clock
    root: str = field(default_factory=lambda: f"hvs.{secrets.token_hex(12)}")
    tokens: dict[str, Token] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    databases: dict[str, DatabaseRole] = field(default_factory=dict)
    leases: dict[str, Granted] = field(default_factory=dict)
    kept: dict[str, list[Kept]] = field(default_factory=dict)
    sealed: bool = False
    frozen: bool = False  # takes the connection and drops it without a word
    failing: int = 0  # so many of the next requests are answered with 500
    seen: list[tuple[str, str]] = field(default_factory=list)  # every (method, path)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.tokens[self.root] = Token(ends_at=None, dies_at=None, ttl=timedelta(0), writes=True)

    def app_role(self, *, ttl: timedelta, max_ttl: timedelta, writes: bool = False) -> str:
        """Make a role; return its role id. Its secret id is in `roles`."""
        role_id = secrets.token_hex(8)
        self.roles[role_id] = Role(
            secret_id=secrets.token_hex(8), ttl=ttl, max_ttl=max_ttl, writes=writes
        )
        return role_id

    def revoke_every_token(self) -> None:
        """As an operator would after a leak: nothing but root is left."""
        with self.lock:
            for name in [name for name in self.tokens if name != self.root]:
                self._drop_token(name)

    def answer(self, method: str, path: str, shown: str, body: dict[str, Any]) -> Answer:
        """Answer one request, after everything that ended by now was taken back."""
        with self.lock:
            self.seen.append((method, path))
            if self.failing:
                self.failing -= 1
                return 500, {"errors": ["internal error"]}
            self._expire()
            if self.sealed and path not in OPEN_TO_ALL[:3]:
                return SEALED
            token = self.tokens.get(shown)
            if path not in OPEN_TO_ALL and token is None:
                return DENIED
            for verb, pattern, handle in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and method in verb.split("|"):
                    return handle(self, token, shown, body, *found.groups())
            return 404, {"errors": [f"no handler for route {path!r}"]}

    def _expire(self) -> None:
        now = self.clock.now()
        for name, token in list(self.tokens.items()):
            if token.ends_at is not None and token.ends_at <= now:
                self._drop_token(name)
        for name, lease in list(self.leases.items()):
            if lease.ends_at <= now:
                self._drop_lease(name)

    def _drop_token(self, name: str) -> None:
        del self.tokens[name]
        for lease in [one for one, granted in self.leases.items() if granted.token == name]:
            self._drop_lease(lease)

    def _drop_lease(self, name: str) -> None:
        granted = self.leases.pop(name)
        role = self.databases[name.split("/")[2]]
        _execute(role.dsn, role.revocation, name=granted.username)

    # --- routes -----------------------------------------------------------------------------

    def login(self, _t: Token | None, _s: str, body: dict[str, Any]) -> Answer:
        role = self.roles.get(body.get("role_id", ""))
        if role is None or role.secret_id != body.get("secret_id"):
            return 400, {"errors": ["invalid role or secret ID"]}
        now, name = self.clock.now(), f"hvs.{secrets.token_hex(12)}"
        token = Token(
            ends_at=now + role.ttl, dies_at=now + role.max_ttl, ttl=role.ttl, writes=role.writes
        )
        self.tokens[name] = token
        return 200, _envelope(auth=self._auth(name, token))

    def lookup_self(self, token: Token, shown: str, _b: dict[str, Any]) -> Answer:
        now = self.clock.now()
        left = 0 if token.ends_at is None else int((token.ends_at - now).total_seconds())
        data = {
            "accessor": "a",
            "creation_time": 0,
            "creation_ttl": int(token.ttl.total_seconds()),
            "display_name": "approle" if token.ends_at else "root",
            "entity_id": "",
            "expire_time": token.ends_at and _stamp(token.ends_at),
            "explicit_max_ttl": 0,
            "id": shown,
            "meta": None,
            "num_uses": 0,
            "orphan": True,
            "path": "auth/approle/login",
            "policies": ["default"],
            "renewable": token.ends_at is not None,
            "ttl": left,
            "type": "service",
        }
        return 200, _envelope(data=data)

    def renew_self(self, token: Token, shown: str, body: dict[str, Any]) -> Answer:
        if token.ends_at is None or token.dies_at is None:
            return 400, {"errors": ["invalid token: not renewable"]}
        token.ends_at = self._granted(_seconds(body.get("increment"), token.ttl), token.dies_at)
        return 200, _envelope(auth=self._auth(shown, token))

    def revoke_self(self, _t: Token, shown: str, _b: dict[str, Any]) -> Answer:
        self._drop_token(shown)
        return 204, None

    def kv_read(self, _t: Token, _s: str, body: dict[str, Any], path: str) -> Answer:
        versions = self.kept.get(path, [])
        number = int(body.get("version") or 0) or len(versions)
        if not 1 <= number <= len(versions):
            return 404, {"errors": []}
        kept = versions[number - 1]
        meta = {
            "created_time": _stamp(kept.created),
            "custom_metadata": None,
            "deletion_time": _stamp(kept.deleted) if kept.deleted else "",
            "destroyed": False,
            "version": number,
        }
        data = {"data": None if kept.deleted else kept.data, "metadata": meta}
        return (404 if kept.deleted else 200), _envelope(data=data)

    def kv_write(self, token: Token, _s: str, body: dict[str, Any], path: str) -> Answer:
        if not token.writes:
            return DENIED
        versions = self.kept.setdefault(path, [])
        cas = body.get("options", {}).get("cas")
        if cas is not None and cas != len(versions):
            said = "check-and-set parameter did not match the current version"
            return 400, {"errors": [said]}
        versions.append(Kept(data=body["data"], created=self.clock.now()))
        data = {
            "created_time": _stamp(versions[-1].created),
            "custom_metadata": None,
            "deletion_time": "",
            "destroyed": False,
            "version": len(versions),
        }
        return 200, _envelope(data=data)

    def kv_delete(self, token: Token, _s: str, _b: dict[str, Any], path: str) -> Answer:
        if not token.writes:
            return DENIED
        if versions := self.kept.get(path):
            versions[-1].deleted = self.clock.now()
        return 204, None

    def credentials(self, _t: Token, shown: str, _b: dict[str, Any], name: str) -> Answer:
        role = self.databases.get(name)
        if role is None:
            return 400, {"errors": [f"unknown role: {name}"]}
        now = self.clock.now()
        username, password = f"v-{name}-{secrets.token_hex(6)}", secrets.token_hex(12)
        granted = Granted(
            username=username, token=shown, ends_at=now + role.ttl, dies_at=now + role.max_ttl
        )
        _execute(role.dsn, role.creation, name=username, password=password)
        lease = f"database/creds/{name}/{secrets.token_hex(12)}"
        self.leases[lease] = granted
        return 200, _envelope(
            data={"username": username, "password": password},
            lease_id=lease,
            renewable=True,
            lease_duration=int(role.ttl.total_seconds()),
        )

    def renew_lease(self, _t: Token, _s: str, body: dict[str, Any]) -> Answer:
        granted = self.leases.get(body.get("lease_id", ""))
        if granted is None:
            return 400, {"errors": ["lease not found"]}
        role = self.databases[body["lease_id"].split("/")[2]]
        granted.ends_at = self._granted(_seconds(body.get("increment"), role.ttl), granted.dies_at)
        left = int((granted.ends_at - self.clock.now()).total_seconds())
        return 200, _envelope(lease_id=body["lease_id"], renewable=True, lease_duration=left)

    def revoke_lease(self, _t: Token, _s: str, body: dict[str, Any]) -> Answer:
        if body.get("lease_id") not in self.leases:
            return 400, {"errors": ["invalid lease"]}
        self._drop_lease(body["lease_id"])
        return 204, None

    def health(self, _t: Token | None, _s: str, _b: dict[str, Any]) -> Answer:
        told = {"initialized": True, "sealed": self.sealed, "standby": False, "version": "1.15.0"}
        return (503 if self.sealed else 200), told

    def seal_status(self, _t: Token | None, _s: str, _b: dict[str, Any]) -> Answer:
        return 200, {"type": "shamir", "initialized": True, "sealed": self.sealed, "t": 1, "n": 1}

    def _granted(self, increment: timedelta, dies_at: datetime) -> datetime:
        return min(self.clock.now() + increment, dies_at)

    def _auth(self, name: str, token: Token) -> dict[str, Any]:
        left = 0 if token.ends_at is None else (token.ends_at - self.clock.now()).total_seconds()
        return {
            "client_token": name,
            "accessor": "a",
            "policies": ["default"],
            "token_policies": ["default"],
            "metadata": None,
            "lease_duration": int(left),
            "renewable": True,
            "entity_id": "",
            "token_type": "service",
            "orphan": True,
        }


ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("POST|PUT", r"auth/approle/login", FakeVault.login),
    ("GET", r"auth/token/lookup-self", FakeVault.lookup_self),
    ("POST|PUT", r"auth/token/renew-self", FakeVault.renew_self),
    ("POST|PUT", r"auth/token/revoke-self", FakeVault.revoke_self),
    ("GET", r"secret/data/(.+)", FakeVault.kv_read),
    ("POST|PUT", r"secret/data/(.+)", FakeVault.kv_write),
    ("DELETE", r"secret/data/(.+)", FakeVault.kv_delete),
    ("GET", r"database/creds/([\w-]+)", FakeVault.credentials),
    ("POST|PUT", r"sys/leases/renew", FakeVault.renew_lease),
    ("POST|PUT", r"sys/leases/revoke", FakeVault.revoke_lease),
    ("GET|HEAD", r"sys/health", FakeVault.health),
    ("GET", r"sys/seal-status", FakeVault.seal_status),
)


@contextlib.contextmanager
def serving(vault: FakeVault, *, port: int = 0) -> Iterator[str]:
    """Serve on a port of loopback; yield the address."""

    connections: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.append(self.connection)

        def _serve(self) -> None:
            if vault.frozen:
                self.close_connection = True
                return
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            body |= {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, reply = vault.answer(
                self.command,
                parts.path.removeprefix(PREFIX),
                self.headers.get("X-Vault-Token", ""),
                body,
            )
            text = b"" if reply is None else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing: a test's output is not an access log."""

    for verb in ("GET", "POST", "PUT", "DELETE", "HEAD"):
        setattr(Handler, f"do_{verb}", Handler._serve)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        for connection in connections:  # a stopped server keeps none open
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def _execute(dsn: str, statements: tuple[str, ...], **filled: str) -> None:
    """Run a role's statements as Vault does: its templates filled in, one transaction."""
    with psycopg.connect(dsn) as connection:
        for statement in statements:
            for name, value in filled.items():
                statement = statement.replace(f"{{{{{name}}}}}", value)
            connection.execute(statement.encode())


def _envelope(
    *,
    data: dict[str, Any] | None = None,
    auth: dict[str, Any] | None = None,
    lease_id: str = "",
    renewable: bool = False,
    lease_duration: int = 0,
) -> dict[str, Any]:
    """Every answer's outer shape, as in the documentation's sample responses."""
    return {
        "request_id": secrets.token_hex(16),
        "lease_id": lease_id,
        "renewable": renewable,
        "lease_duration": lease_duration,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": auth,
    }


def _seconds(increment: Any, default: timedelta) -> timedelta:
    """Read a duration as Vault does: a number of seconds, or text like 60s."""
    if not increment:
        return default
    return timedelta(seconds=int(str(increment).removesuffix("s")))


def _stamp(at: datetime) -> str:
    """Write a time as Vault does, with nanoseconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
