"""A secret that is replaced while it is in use: the value before stays good for a while."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runtime.clock import Clock
from runtime.errors import RuntimeFault, SecretMissing
from runtime.secrets.source import SecretKeeper, SecretRef


@dataclass(slots=True, kw_only=True)
class RotatingSecret:
    """What a caller may show now: the newest value, and for a while those that it replaced.

    Values are read by `keep`, never in the way of a request; while the source is away the last
    known ones stay.
    """

    keeper: SecretKeeper
    ref: SecretRef
    clock: Clock
    overlap: timedelta = timedelta(minutes=10)  # how long a value counts once it is replaced
    every: timedelta = timedelta(seconds=30)  # between two looks
    fault: str = ""
    _newest: str = field(default="", repr=False)
    _before: tuple[tuple[str, datetime], ...] = field(default=(), repr=False)  # value, until when

    def accepted(self) -> tuple[str, ...]:
        """Return the values that count now, newest first."""
        if not self._newest:
            return ()
        now = self.clock.now()
        return (self._newest, *(value for value, until in self._before if now < until))

    def keep(self) -> datetime:
        """Look again; return when to come back, UTC. An absence is noted, never raised."""
        try:
            self.look()
            self.fault = ""
        except RuntimeFault as error:
            self.fault = str(error)
        return self.clock.now() + self.every

    def look(self) -> None:
        """Read the newest value and those it took the place of not long ago.

        A path holds other secrets too, and each write of one is a version of all: a value counts
        from when it was replaced itself, however many versions have come since.

        Raises:
            SecretMissing: the field is not there.
        """
        found = self.keeper.newest(self.ref.path)
        if found is None or not found.fields.get(self.ref.field):
            raise SecretMissing(f"{self.ref} is not there; write it, or name another")
        newest, now = found.fields[self.ref.field], self.clock.now()
        before = dict[str, datetime]()
        while found.version > 1 and now < (until := found.written_at + self.overlap):
            older = self.keeper.version(self.ref.path, found.version - 1)
            if older is None:  # deleted, or not kept any more
                break
            found, value = older, older.fields.get(self.ref.field, "")
            if value and value != newest:
                before.setdefault(value, until)
        # In this order: a request between the two still finds what was replaced just now.
        self._before = tuple(before.items())
        self._newest = newest
