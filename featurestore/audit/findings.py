"""What an audit finds: leaks, each with feature, entity, first date and remedy."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal[
    "value",  # a value changes when the future is cut off
    "row",  # a row is there only with the future
    "fails",  # no answer at all without the future
    "canary",  # a value whose content is its own knowledge time comes from later
    "order",  # the answer depends on the order of the rows
    "duplicate",  # several answers for one entity and instant
    "outside",  # data is read that was not handed in
    "unsteady",  # the same question twice, two answers
    "overlap",  # training labels reach into the test period
    "rounding",  # the last bits differ: not knowledge, but history and live will not agree
]

REMEDIES: dict[Kind, str] = {
    "value": "build it from rows known at its own instant only: lags, trailing windows, "
    "statistics of the past",
    "row": "choose rows, entities and dates by what was known at their own instant",
    "fails": "let it answer from what was known at its own instant, or leave the row out",
    "canary": "join on known_at, with featurestore.pit.join_as_of or get_historical_features",
    "order": "sort by known_at before an as-of join; get_historical_features does",
    "duplicate": "give one row per entity and instant",
    "outside": "take the data as the argument, so that it can be cut off",
    "unsteady": "draw nothing at random, read no clock: pass a seed or a time as a parameter",
    "overlap": "drop training labels that end after the test period starts (purge), "
    "and leave a gap (embargo)",
    "rounding": "compute each value from its own window instead of one running sum",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One feature that knows too much, at the first place where it was found."""

    feature: str
    kind: Kind
    entity: str  # "" = of the whole market
    at: datetime | None  # UTC; first instant found, None = not bound to one
    seen: str  # what was compared, with both values
    reach: str = ""  # how far ahead it looks, in words; "" = not measured
    cell: int | None = None  # 0-based index of the notebook cell
    where: str = ""  # notebook or file

    @property
    def remedy(self) -> str:
        """Return what to do about it."""
        return REMEDIES[self.kind]

    def __str__(self) -> str:
        place = "" if self.cell is None else f" ({self.where} cell {self.cell + 1})"
        entity = f" of {self.entity}" if self.entity else ""
        when = "" if self.at is None else f" at {self.at:%Y-%m-%d %H:%M} UTC"
        reach = f"; {self.reach}" if self.reach else ""
        return f"{self.feature}{place}{entity}{when}: {self.seen}{reach}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """One audit; `leaks` empty means nothing was found, at the instants that were tried."""

    subject: str
    features: tuple[str, ...]
    rows: int  # answers looked at
    checked: int  # instants at which the future was cut off
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...] = ()  # worth knowing, no leak

    @property
    def clean(self) -> bool:
        """Say whether nothing was found."""
        return not self.leaks

    def __str__(self) -> str:
        if self.leaks:
            return "\n".join(str(leak) for leak in self.leaks)
        return (
            f"{self.subject}: clean; {self.rows} values of {len(self.features)} features stay the "
            f"same to the bit with the future cut off at {self.checked} instants"
        )
