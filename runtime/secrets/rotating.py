"""A secret that is replaced while it is in use: the version before stays good for a while."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runtime.clock import Clock
from runtime.errors import RuntimeFault, SecretMissing
from runtime.secrets.source import SecretKeeper, SecretRef


@dataclass(slots=True, kw_only=True)
class RotatingSecret:
    """What a caller may show now: the newest value, and for a while the one before it.

    Values are read by `keep`, never in the way of a request; while the source is away the last
    known ones stay.
    """

    keeper: SecretKeeper
    ref: SecretRef
    clock: Clock
    overlap: timedelta = timedelta(minutes=10)  # how long the version before is still taken
    every: timedelta = timedelta(seconds=30)  # between two looks
    fault: str = ""
    _newest: str = field(default="", repr=False)
    _before: str = field(default="", repr=False)
    _since: datetime | None = None

    def accepted(self) -> tuple[str, ...]:
        """Return the values that count now, newest first."""
        if self._since is None:
            return ()
        fresh = self.clock.now() < self._since + self.overlap
        return (self._newest, self._before) if self._before and fresh else (self._newest,)

    def keep(self) -> datetime:
        """Look again; return when to come back, UTC. An absence is noted, never raised."""
        try:
            self.look()
            self.fault = ""
        except RuntimeFault as error:
            self.fault = str(error)
        return self.clock.now() + self.every

    def look(self) -> None:
        """Read the newest version and the one before; SecretMissing if the field is not there."""
        found = self.keeper.newest(self.ref.path)
        if found is None or not found.fields.get(self.ref.field):
            raise SecretMissing(f"{self.ref} is not there; write it, or name another")
        before = (
            self.keeper.version(self.ref.path, found.version - 1) if found.version > 1 else None
        )
        self._newest = found.fields[self.ref.field]
        self._before = before.fields.get(self.ref.field, "") if before else ""
        self._since = found.written_at
