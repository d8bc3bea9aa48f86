"""Feature views: what one table holds, in which units and ranges, and when it can be known."""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from featurestore.calendars import calendar_names
from featurestore.errors import ContractBroken, ViewUnknown

Dtype = Literal["float64", "int64"]

# Columns that every observation carries besides its fields.
KEY_COLUMNS = ("entity", "event_time", "known_at", "revision", "source")

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One measured quantity of a view."""

    name: str
    dtype: Dtype = "float64"
    unit: str  # e.g. "USD per share, adjusted"
    low: float | None = None  # smallest value accepted, in `unit`; None = no bound
    high: float | None = None  # largest value accepted
    nullable: bool = False  # whether an observation may leave it out

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in (*KEY_COLUMNS, "year"):
            raise ContractBroken(
                f"field name {self.name!r} must be lower case letters, digits and underscores, "
                f"and none of {', '.join(KEY_COLUMNS)}, year"
            )
        if self.dtype not in ("float64", "int64"):
            raise ContractBroken(f"field {self.name}: dtype {self.dtype!r} is not float64 or int64")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ContractBroken(f"field {self.name}: low {self.low} exceeds high {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """The contract of one table of observations; ingest checks it, bundles pin its hash."""

    name: str
    entity: str  # what the column `entity` holds, e.g. "symbol"
    fields: tuple[Field, ...]
    calendar: str | None = None  # sessions whose closes are the event times; None = any times
    availability: timedelta = timedelta(0)  # a value is known this long after its event_time
    freshness: timedelta  # an older value is stale
    owner: str
    description: str
    source: str  # where the rows come from, citable

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ContractBroken(
                f"view name {self.name!r} must be lower case letters, digits and underscores"
            )
        names = [field.name for field in self.fields]
        if not names or len(set(names)) != len(names):
            raise ContractBroken(f"view {self.name}: needs fields with distinct names, has {names}")
        if self.availability < timedelta(0) or self.freshness <= timedelta(0):
            raise ContractBroken(
                f"view {self.name}: availability must not be negative and freshness positive"
            )
        if self.calendar is not None and self.calendar not in calendar_names():
            raise ContractBroken(
                f"view {self.name}: no session table for {self.calendar!r}; "
                f"packaged are: {', '.join(calendar_names())}"
            )

    def field(self, name: str) -> Field:
        """Return one field; ViewUnknown lists what exists."""
        for field in self.fields:
            if field.name == name:
                return field
        raise ViewUnknown(
            f"view {self.name} has no field {name!r}; it has: "
            + ", ".join(field.name for field in self.fields)
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of its table, keys first."""
        return (*KEY_COLUMNS, *(field.name for field in self.fields))

    def declaration(self) -> dict[str, Any]:
        """Return the view as plain data, times in seconds."""
        return {
            "name": self.name,
            "entity": self.entity,
            "fields": [
                {
                    "name": field.name,
                    "dtype": field.dtype,
                    "unit": field.unit,
                    "low": field.low,
                    "high": field.high,
                    "nullable": field.nullable,
                }
                for field in self.fields
            ],
            "calendar": self.calendar,
            "availability_seconds": self.availability.total_seconds(),
            "freshness_seconds": self.freshness.total_seconds(),
            "owner": self.owner,
            "description": self.description,
            "source": self.source,
        }

    def encoded(self) -> str:
        """Return the declaration as canonical JSON."""
        return json.dumps(self.declaration(), sort_keys=True, separators=(",", ":"))

    @property
    def version_hash(self) -> str:
        """Return the SHA-256 of the declaration, hex: any change of the contract changes it."""
        return hashlib.sha256(self.encoded().encode()).hexdigest()


def decode_view(text: str) -> FeatureView:
    """Rebuild a view from `FeatureView.encoded`."""
    plain = json.loads(text)
    availability = timedelta(seconds=plain.pop("availability_seconds"))
    freshness = timedelta(seconds=plain.pop("freshness_seconds"))
    fields = tuple(Field(**field) for field in plain.pop("fields"))
    return FeatureView(fields=fields, availability=availability, freshness=freshness, **plain)


def split_feature(feature: str) -> tuple[str, str]:
    """Split "view.field" into its two names; ViewUnknown if it has another form."""
    view, dot, field = feature.partition(".")
    if not (view and dot and field) or "." in field:
        raise ViewUnknown(f"feature {feature!r} must be written view.field, e.g. us_equities.close")
    return view, field


def is_plain(feature: str) -> bool:
    """Say whether a name is view.field; anything with brackets or @ is computed when read."""
    return not any(mark in feature for mark in "([@")
