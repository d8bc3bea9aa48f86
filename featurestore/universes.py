"""Universes: which symbols a study looks at, as a list or as data, and what is wrong with it.

1. A named list (`Universe`) is one set of symbols for all time; its note says how it was chosen.
2. Membership as data: one observation per symbol and change, 1 from joining on, 0 from leaving on,
   each known when it could be known. Whoever left, or was delisted, stays in the lake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from featurestore.errors import ContractBroken, HistoryMissing, ViewUnknown
from featurestore.grid import Index, SessionGrid
from featurestore.series import OwnTimes
from featurestore.views import FeatureView, Field

MEMBER = "member"


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """A named list of symbols; the order is the row order of every array."""

    name: str
    symbols: tuple[str, ...]
    survivors: bool  # True: chosen with hindsight, delisted names are missing
    note: str  # a sentence that every card and report repeats
    as_of: datetime | None = None  # UTC; who was in it then. None = not taken from membership data

    def hindsight(self, first: datetime) -> str | None:
        """Say why a frame of these symbols that begins at `first` (UTC) is not point in time.

        None if nothing speaks against it.
        """
        if self.survivors:
            return f"universe {self.name}: {self.note}"
        if self.as_of is not None and first < self.as_of:
            return (
                f"universe {self.name}: members as of {self.as_of:%Y-%m-%d} are looked at from "
                f"{first:%Y-%m-%d} on; who left before is missing. Name the membership view "
                "instead of its members"
            )
        return None


US_LARGE_CAPS = Universe(
    name="us_large_caps",
    symbols=(
        "AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO",
        "LLY", "MRK", "MSFT", "PEP", "PFE", "PG", "RRC", "UNH", "WMT", "XOM",
    ),
    survivors=True,
    note=(
        "Survivors: these 20 companies were chosen in 2022 among those that lived through "
        "1990-2022, so any long portfolio of them looks good. Judge returns in excess of the "
        "equal-weighted universe, never against cash."
    ),
)  # fmt: skip

_UNIVERSES = {each.name: each for each in (US_LARGE_CAPS,)}


def universe(name: str) -> Universe:
    """Return a universe by name; ViewUnknown lists what exists."""
    if name not in _UNIVERSES:
        raise ViewUnknown(f"no universe {name!r}; there are: {', '.join(sorted(_UNIVERSES))}")
    return _UNIVERSES[name]


def listed_as(symbols: Sequence[str]) -> Universe | None:
    """Return the named list that has these very symbols, in any order; None if none has."""
    wanted = set(symbols)
    return next((each for each in _UNIVERSES.values() if set(each.symbols) == wanted), None)


def membership_view(name: str, *, owner: str, description: str, source: str) -> FeatureView:
    """Declare a view of who belongs to a universe.

    One observation per symbol and change: `event_time` is when it takes effect, `known_at` when it
    could be known, never earlier; an announced change is entered when it takes effect.
    """
    return FeatureView(
        name=name,
        entity="symbol",
        fields=(Field(name=MEMBER, dtype="int64", unit="1 = member, 0 = not", low=0.0, high=1.0),),
        freshness=timedelta(days=36_500),  # who joined long ago is a member all the same
        owner=owner,
        description=description,
        source=source,
    )


class Memberships(Protocol):
    """What membership asks of a reader."""

    def table(self, view: str) -> SessionGrid | OwnTimes:
        """Return a view's observations."""
        ...

    def view(self, name: str) -> FeatureView:
        """Return a view's contract."""
        ...

    def opened(self, at: datetime) -> int:
        """Return an instant in microseconds; HoldoutSealed behind the seal."""
        ...


def members_at(reader: Memberships, view: str, at: Sequence[datetime]) -> list[tuple[str, ...]]:
    """Return the members of a universe at each instant, as known then, in order of name.

    Args:
        reader: a snapshot.
        view: a `membership_view`.
        at: UTC instants.

    Raises:
        ContractBroken: the view is not one of membership.
        HoldoutSealed: an instant lies at or behind the seal.
    """
    if not any(field.name == MEMBER for field in reader.view(view).fields):
        raise ContractBroken(
            f"view {view} has no field {MEMBER}; declare it with featurestore.universes"
        )
    table = reader.table(view)
    names = sorted(table.rows)
    rows: Index = np.array([table.rows[name] for name in names], dtype=np.intp)
    found = []
    for each in at:
        values, _, _ = table.latest(MEMBER, rows, reader.opened(each))
        found.append(tuple(name for name, value in zip(names, values, strict=True) if value == 1.0))
    return found


def universe_at(reader: Memberships, view: str, at: datetime) -> Universe:
    """Return who belonged to a universe at an instant, as known then.

    Raises:
        HistoryMissing: nobody did.
        ContractBroken, HoldoutSealed: as `members_at`.
    """
    symbols = members_at(reader, view, [at])[0]
    if not symbols:
        raise HistoryMissing(
            f"universe {view} has no member known at {at.isoformat()}; ask for a later instant, "
            "or ingest its earlier members"
        )
    return Universe(
        name=view,
        symbols=symbols,
        survivors=False,
        note=f"Members of {view} as known at {at.isoformat()}; those who left before are not here.",
        as_of=at,
    )
