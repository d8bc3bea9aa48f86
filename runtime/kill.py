"""The kill switch: files in a folder, so it works with database, journal and service down.

One file per scope stops that scope: `all`, `account.<name>`, `study.<name>`, `symbol.<name>`.
Whoever can `touch` the file can stop trading; it stays on over restarts until it is removed.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

ALL = "all"


@dataclass(slots=True)
class KillSwitch:
    """Reads and sets the switch; a folder that cannot be read counts as engaged."""

    folder: Path
    _latched: dict[str, str] = field(default_factory=dict)  # holds when the disk does not

    @classmethod
    def create(cls, folder: Path) -> "KillSwitch":
        """Make the folder if needed; it must exist for trading to be allowed."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def engage(self, scope: str, reason: str) -> None:
        """Stop a scope: first in this process, then durably on disk.

        Raises:
            OSError: the file could not be written; this process stays stopped nevertheless.
        """
        self._latched[scope] = reason
        descriptor = os.open(self._path(scope), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(reason)
            file.flush()
            os.fsync(file.fileno())

    def release(self, scope: str) -> None:
        """Allow a scope again; does nothing if it was not stopped."""
        self._path(scope).unlink(missing_ok=True)
        self._latched.pop(scope, None)

    def engaged(self) -> dict[str, str]:
        """Return the stopped scopes with their reasons; an unreadable folder stops everything."""
        try:
            stopped = {}
            for path in sorted(self.folder.iterdir()):
                stopped[path.name] = _reason(path)
        except OSError as error:
            stopped = {ALL: f"kill switch folder cannot be read: {error.strerror}"}
        return stopped | self._latched

    def _path(self, scope: str) -> Path:
        if not scope or "/" in scope or scope.startswith("."):
            raise ValueError(f"{scope!r} is not a scope; use all, account.X, study.X or symbol.X")
        return self.folder / scope


def _reason(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "no reason given"
    except (OSError, UnicodeDecodeError):
        return "reason cannot be read"
