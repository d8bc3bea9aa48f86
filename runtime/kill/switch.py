"""The kill switch: files in a folder, so it works with database, journal and service down.

One file per scope stops that scope: `all`, `account.<name>`, `study.<name>`, `symbol.<name>`; and
`drift.<study>` is a drift stop, check 8's, by whoever watches what a study reads. A file of any
other name stops everything: whoever made it meant to stop something. Whoever can
`touch` a file can stop trading; it stays on over restarts until two persons release it.
"""

import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from runtime.errors import ReleaseRefused, ScopeUnknown

ALL = "all"
_SCOPE = re.compile(r"all|(account|study|symbol|drift)\.[\w.-]+", re.ASCII)
_BY, _AT = "by: ", "at: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One scope that is stopped."""

    scope: str
    reason: str
    by: str  # "" if the file was made by hand
    at: str  # ISO 8601, UTC; "" likewise


def check_scope(scope: str) -> str:
    """Return the scope; ScopeUnknown if it would stop nothing."""
    if not _SCOPE.fullmatch(scope):
        raise ScopeUnknown(
            f"{scope!r} is not a scope; use all, account.X, study.X, symbol.X or drift.STUDY"
        )
    return scope


@dataclass(slots=True)
class KillSwitch:
    """Reads and sets the switch; a folder that cannot be read counts as engaged."""

    folder: Path
    _latched: dict[str, Stop] = field(default_factory=dict)  # what the disk has not taken

    @classmethod
    def create(cls, folder: Path) -> "KillSwitch":
        """Make the folder if needed; it must exist for trading to be allowed."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    @property
    def record(self) -> Path:
        """Return the file, beside the folder, that remembers who engaged and released."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def engage(self, scope: str, reason: str, *, by: str = "", at: datetime | None = None) -> None:
        """Stop a scope: first in this process, then durably on disk, then on record.

        Raises:
            ScopeUnknown: the scope would stop nothing.
            OSError: the file could not be written; this process stays stopped nevertheless.
        """
        path = self.folder / check_scope(scope)
        stamp = "" if at is None else at.isoformat()
        said = " ".join(reason.split()) or "no reason given"
        self._latched[scope] = Stop(scope=scope, reason=said, by=by, at=stamp)
        text = said + (f"\n{_BY}{by}" if by else "") + (f"\n{_AT}{stamp}" if stamp else "")
        _write(path, text, os.O_TRUNC)
        _sync(self.folder)
        self._latched.pop(scope, None)  # from here on the file says it, to every process alike
        self._remember("engage", scope, said, by, stamp)

    def release(self, scope: str, *, by: str, second: str, reason: str, at: datetime) -> None:
        """Allow a scope again: on record first, then on disk; two persons have to name themselves.

        Raises:
            ReleaseRefused: a name or the reason is missing, both names are one person's, or the
                scope is not stopped.
            OSError: the record or the file could not be changed; the scope stays stopped.
        """
        one, two = " ".join(by.split()), " ".join(second.split())
        if not one or not two or not reason.strip():
            raise ReleaseRefused("a release needs two names and a reason")
        if one.casefold() == two.casefold():
            raise ReleaseRefused(f"{one} cannot release alone; a second person has to agree")
        if scope not in {stop.scope for stop in self.state()}:
            raise ReleaseRefused(f"{scope!r} is not stopped")
        self._remember("release", scope, reason, f"{one} and {two}", at.isoformat())
        (self.folder / scope).unlink(missing_ok=True)
        _sync(self.folder)
        self._latched.pop(scope, None)

    def state(self) -> tuple[Stop, ...]:
        """Return what is stopped, by file name; an unreadable folder stops everything."""
        latched = dict(self._latched)  # before the files: what leaves it stands in them by then
        try:
            found = {
                path.name: _read(path)
                for path in sorted(self.folder.iterdir())
                if not path.name.startswith(".")
            }
        except OSError as error:
            reason = f"kill switch folder cannot be read: {error.strerror}"
            found = {ALL: Stop(scope=ALL, reason=reason, by="", at="")}
        return tuple((latched | found).values())

    def engaged(self) -> dict[str, str]:
        """Return the stopped scopes with their reasons; a name that is no scope stops all."""
        stopped: dict[str, str] = {}
        for stop in self.state():
            if _SCOPE.fullmatch(stop.scope):
                stopped[stop.scope] = stop.reason
            else:
                stopped.setdefault(ALL, f"file {stop.scope}: {stop.reason}")
        return stopped

    def _remember(self, act: str, scope: str, reason: str, by: str, at: str) -> None:
        line = {"at": at, "act": act, "scope": scope, "by": by, "reason": reason}
        _write(self.record, json.dumps(line) + "\n", os.O_APPEND)


def _write(path: Path, text: str, how: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a new or removed name durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> Stop:
    try:
        lines = path.read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = ["reason cannot be read"]
    by = next((line.removeprefix(_BY) for line in lines[1:] if line.startswith(_BY)), "")
    at = next((line.removeprefix(_AT) for line in lines[1:] if line.startswith(_AT)), "")
    return Stop(scope=path.name, reason=lines[0] if lines else "no reason given", by=by, at=at)
