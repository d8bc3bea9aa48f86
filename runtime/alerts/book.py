"""The alerts of a workspace: one file each in a folder, so it works with every database down.

Every change is made under one lock and replaces a file by renaming, so that whoever is killed in
the middle leaves the alert as it was. A file that cannot be read is an alert itself.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from runtime.alerts.alert import Alert, Notice, Severity
from runtime.decoding import from_json
from runtime.errors import AlertRefused, AlertUnknown

SUFFIX = ".json"
PAST = "past"  # folder of what was put away
_KEY = re.compile(r"[^\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class AlertBook:
    """Raises, answers and ends alerts."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "AlertBook":
        """Make the folder if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def sound(
        self, key: str, title: str, *, at: datetime, severity: Severity = "page", detail: str = ""
    ) -> Alert:
        """Raise an alert, or count one more sign of the one that is open under this key.

        Args:
            key: what it is about.
            title: one line for people.
            at: UTC.
            severity: of a new alert; an open ticket becomes a page, never the other way round.
            detail: anything that helps, without secrets.
        """
        with self._locked():
            standing = next((one for one in self.open() if one.key == key), None)
            if standing is None:
                name = f"{at:%Y%m%dT%H%M%S%f}-{_KEY.sub('_', key)}"
                alert = Alert(
                    id=name,
                    key=key,
                    severity=severity,
                    title=title,
                    detail=detail,
                    raised_at=at,
                    last_at=at,
                )
            else:
                alert = msgspec.structs.replace(
                    standing,
                    seen=standing.seen + 1,
                    last_at=at,
                    title=title,
                    detail=detail,
                    severity="page" if severity == "page" else standing.severity,
                )
            self._keep(alert)
            return alert

    def acknowledge(self, which: str, *, by: str, at: datetime, note: str = "") -> Alert:
        """Take an alert on: it escalates no further.

        Raises:
            AlertRefused: nobody's name is given.
            AlertUnknown: it is not open.
        """
        if not by.strip():
            raise AlertRefused(f"{which} is not taken: say who takes it")
        return self._change(
            which,
            lambda one: msgspec.structs.replace(
                one, acknowledged_by=by, acknowledged_at=at, note=note
            ),
        )

    def resolve(self, which: str, *, at: datetime, how: str) -> Alert:
        """End an alert.

        Raises:
            AlertRefused: it is not said how it ended.
            AlertUnknown: it is not open.
        """
        if not how.strip():
            raise AlertRefused(f"{which} is not ended: say how it did")
        return self._change(
            which, lambda one: msgspec.structs.replace(one, resolved_at=at, resolution=how)
        )

    def clear(self, key: str, *, at: datetime, how: str) -> bool:
        """End the open alert of a key, if there is one, because what it was about is over."""
        with self._locked():
            for one in self.open():
                if one.key == key:
                    self._keep(msgspec.structs.replace(one, resolved_at=at, resolution=how))
                    return True
        return False

    def note(self, alert: Alert, *notices: Notice) -> None:
        """Put on record who was told."""
        self._change(
            alert.id,
            lambda one: msgspec.structs.replace(one, notices=(*one.notices, *notices)),
            past=True,
        )

    def put_away(self, alert: Alert) -> None:
        """Move an alert that is over, and of which everybody heard, out of the way."""
        with self._locked():
            past = self.folder / PAST
            past.mkdir(exist_ok=True)
            (self.folder / f"{alert.id}{SUFFIX}").replace(past / f"{alert.id}{SUFFIX}")

    def open(self) -> tuple[Alert, ...]:
        """Return the alerts that are not over, oldest first."""
        return tuple(one for one in self.current() if one.open)

    def current(self) -> tuple[Alert, ...]:
        """Return what is open, and what is over but not put away, oldest first."""
        return tuple(self._read(path) for path in sorted(self.folder.glob(f"*{SUFFIX}")))

    def past(self) -> tuple[Alert, ...]:
        """Return what was put away, oldest first."""
        return tuple(self._read(path) for path in sorted((self.folder / PAST).glob(f"*{SUFFIX}")))

    def _change(self, which: str, change: Callable[[Alert], Alert], *, past: bool = False) -> Alert:
        with self._locked():
            found = [
                one for one in self.current() if which in (one.id, one.key) and (one.open or past)
            ]
            if not found:
                known = ", ".join(one.id for one in self.open()) or "none"
                raise AlertUnknown(f"no open alert is called {which}; open are: {known}")
            alert = change(found[-1])
            self._keep(alert)
            return alert

    def _read(self, path: Path) -> Alert:
        try:
            return from_json(path.read_bytes(), Alert)
        except (OSError, msgspec.MsgspecError) as error:
            made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            return Alert(
                id=path.stem,
                key=path.stem,
                severity="page",
                title=f"the alert in {path.name} cannot be read",
                detail=str(error),
                raised_at=made,
                last_at=made,
            )

    def _keep(self, alert: Alert) -> None:
        path = self.folder / f"{alert.id}{SUFFIX}"
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(alert)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
