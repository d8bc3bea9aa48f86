"""The dead man's switch: a process says when it will be heard of next, and silence is the alarm.

A beat is a file that is replaced by renaming; whoever watches reads it from another process, so
that a hanging, killed or never started process is missed all the same.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from runtime.decoding import from_json

SUFFIX = ".beat"


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """The last sign of life of one process."""

    name: str
    at: datetime  # UTC
    next_by: datetime  # UTC; silence after that is an alarm
    who: str  # host and process
    ended: bool = False  # it stopped as told: no alarm


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A process that was not heard of in time."""

    name: str
    last: datetime | None  # UTC; None = never
    overdue: timedelta
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heart:
    """Leaves the signs of life of one process."""

    folder: Path
    name: str
    who: str
    every: timedelta

    def beat(self, now: datetime, *, ended: bool = False) -> None:
        """Leave a sign of life; the next is due within three times `every`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sign = Beat(name=self.name, at=now, next_by=now + 3 * self.every, who=self.who, ended=ended)
        path = self.folder / f"{self.name}{SUFFIX}"
        draft = path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(sign))
        draft.replace(path)


def silences(
    folder: Path, expected: tuple[str, ...], now: datetime, *, since: datetime
) -> tuple[Silence, ...]:
    """Return which processes were not heard of in time.

    Args:
        folder: where signs of life are left.
        expected: names that must be heard of even if they never were.
        now: UTC.
        since: when the watch began, UTC; who never beat is given a minute from then.
    """
    found: list[Silence] = []
    heard: set[str] = set()
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        heard.add(path.stem)
        try:
            beat = from_json(path.read_bytes(), Beat)
        except (OSError, msgspec.MsgspecError) as error:
            text = f"its sign of life cannot be read: {error}"
            found.append(Silence(name=path.stem, last=None, overdue=timedelta(0), detail=text))
            continue
        if not beat.ended and now > beat.next_by:
            text = f"last heard of at {beat.at:%Y-%m-%d %H:%M:%S} UTC ({beat.who})"
            overdue = now - beat.next_by
            found.append(Silence(name=path.stem, last=beat.at, overdue=overdue, detail=text))
    grace = since + timedelta(minutes=1)
    for name in expected:
        if name not in heard and now > grace:
            text = "was never heard of; is it running?"
            found.append(Silence(name=name, last=None, overdue=now - grace, detail=text))
    return tuple(found)
