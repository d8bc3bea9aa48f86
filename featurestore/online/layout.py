"""Which columns an online store holds, and which definition of a feature is the current one."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from featurestore.errors import ViewUnknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One feature under one definition; another definition of the same name is another column."""

    feature: str  # "view.field"
    version_hash: str  # of the view's declaration
    freshness: int  # microseconds; an older value is stale
    availability: int  # microseconds from event time until a value is due
    calendar: str | None = None  # sessions whose closes are the event times

    @property
    def key(self) -> str:
        """Return the column's name in storage."""
        return f"{self.feature}@{self.version_hash[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Columns in storage order; they are only ever appended, so an old row stays readable."""

    columns: tuple[Column, ...] = ()
    current: dict[str, int] = field(default_factory=dict)  # feature -> column that is served
    edition: int = 0  # grows with every change

    def with_columns(self, columns: Iterable[Column]) -> "Layout":
        """Return a layout that serves `columns`; itself if it does already."""
        held, current = list(self.columns), dict(self.current)
        places = {column.key: i for i, column in enumerate(held)}
        for column in columns:
            place = places.setdefault(column.key, len(held))
            if place == len(held):
                held.append(column)
            held[place] = column
            current[column.feature] = place
        if tuple(held) == self.columns and current == self.current:
            return self
        return Layout(columns=tuple(held), current=current, edition=self.edition + 1)

    def place(self, feature: str) -> int:
        """Return a feature's column; ViewUnknown lists what was materialized."""
        if feature not in self.current:
            raise ViewUnknown(
                f"feature {feature} was not materialized; there are: "
                f"{', '.join(self.current) or 'none, materialize first'}"
            )
        return self.current[feature]

    def encoded(self) -> str:
        """Return the layout as JSON."""
        columns = [asdict(column) for column in self.columns]
        return json.dumps({"columns": columns, "current": self.current, "edition": self.edition})


def decode_layout(text: str | bytes) -> Layout:
    """Rebuild a layout from `Layout.encoded`."""
    plain = json.loads(text)
    columns = tuple(Column(**column) for column in plain["columns"])
    return Layout(columns=columns, current=plain["current"], edition=plain["edition"])
