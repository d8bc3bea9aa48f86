"""What a decision function may see, declared by name, and the one way to gather it.

Backtest, gates and engine all call `gather`: what was backtested is what trades.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from featurestore.times import earliest
from runtime.errors import DecisionInvalid

if TYPE_CHECKING:  # what serves names arrays, and answers before it needs numpy to make one
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
else:
    Array: TypeAlias = Any


class Window(msgspec.Struct, frozen=True, kw_only=True, tag="window", tag_field="kind"):
    """History of one field, shape (n, length): oldest bar first, the newest bar known at t last."""

    feature: str  # "view.field"
    length: int  # bars, at least 1

    def __post_init__(self) -> None:
        if self.length < 1:
            raise DecisionInvalid(
                f"window of {self.feature}: length must be >= 1, was {self.length}"
            )


class Latest(msgspec.Struct, frozen=True, kw_only=True, tag="latest", tag_field="kind"):
    """The newest known value of one field, shape (n,)."""

    feature: str  # "view.field"


class CurrentWeights(msgspec.Struct, frozen=True, kw_only=True, tag="current", tag_field="kind"):
    """Weights held now, drifted with prices, shape (n,); cash is what is missing from one."""


Input: TypeAlias = Window | Latest | CurrentWeights


class PointInTime(Protocol):
    """The store's face towards a decision: nothing that was not known at `at` can be read."""

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        """Return shape (n, length), float64; HistoryMissing if a bar is not known at `at`."""
        ...


class Newest(Protocol):
    """Newest known values, as the feature store gives them."""

    @property
    def values(self) -> Array:
        """Return shape (n,)."""
        ...

    @property
    def event_times(self) -> list[datetime]:
        """Return what each value is about, UTC."""
        ...

    @property
    def known_at(self) -> list[datetime]:
        """Return when each value could first be known, UTC."""
        ...


class LatestReader(Protocol):
    """The part of the store's face that tells the newest values and their age."""

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> Newest:
        """Return each symbol's newest value known at `at`, however old."""
        ...


class MarketReader(PointInTime, LatestReader, Protocol):
    """The store's face towards an engine: windows, and how new the newest values are."""

    def oldest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> datetime:
        """Return when the oldest of the symbols' newest values could first be known, UTC."""
        return earliest(self.latest(feature, symbols, at=at).known_at)


class SharedReads:
    """What is read at one instant, read once: bundles on identical inputs share the arrays.

    Arrays are handed out read-only, so that no bundle changes what the next one sees.
    """

    def __init__(self, reader: MarketReader, at: datetime) -> None:
        """Remember what is asked at `at`, UTC, and nothing of any other instant."""
        self._reader, self._at = reader, at
        self._groups = Groups()
        self._windows: dict[tuple[str, int, int], Array] = {}
        self._oldest: dict[tuple[str, int], datetime] = {}

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        """Return shape (n, length), float64; HistoryMissing if a bar is not known at `at`."""
        if at != self._at:
            return self._reader.window(feature, symbols, length=length, at=at)
        key = (feature, self._groups.number(symbols), length)
        shared = self._windows.get(key)
        if shared is None:
            import numpy as np

            values = self._reader.window(feature, symbols, length=length, at=at)
            shared = np.ascontiguousarray(values, dtype=np.float64).view()
            shared.flags.writeable = False
            self._windows[key] = shared
        return shared

    def oldest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> datetime:
        """Return when the oldest of the symbols' newest values could first be known, UTC."""
        if at != self._at:
            return self._reader.oldest(feature, symbols, at=at)
        key = (feature, self._groups.number(symbols))
        known = self._oldest.get(key)
        if known is None:
            known = self._oldest[key] = self._reader.oldest(feature, symbols, at=at)
        return known


class Groups:
    """Numbers lists of symbols in the order in which they are first asked about.

    A bundle asks about one tuple again and again; that it is the same one costs no look into it.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.numbers: dict[tuple[str, ...], int] = {}
        self._last: tuple[tuple[str, ...], int] = (), -1

    def number(self, symbols: Sequence[str]) -> int:
        """Return the number of a list of symbols, from 0."""
        if symbols is self._last[0] and symbols:
            return self._last[1]
        asked = tuple(symbols)
        self._last = asked, self.numbers.setdefault(asked, len(self.numbers))
        return self._last[1]


def _finite(values: Array) -> bool:
    """Say whether there is no NaN and no infinity; of a vector a product with itself tells."""
    if values.ndim == 1 and isfinite(values.dot(values)):
        return True
    import numpy as np

    return bool(np.isfinite(values).all())


def gather(
    reader: PointInTime,
    inputs: Mapping[str, Input],
    symbols: Sequence[str],
    *,
    at: datetime,
    current: Array,
) -> dict[str, Array]:
    """Collect every declared input as known at `at`.

    Args:
        reader: point-in-time face of the store.
        inputs: declared inputs by name.
        symbols: universe at this tick, length n; row order of every array.
        at: UTC decision time; only rows with known_at <= at are seen.
        current: drifted weights held at `at`, shape (n,).

    Returns:
        name -> float64, C-contiguous array; (n, length) for windows, (n,) otherwise.

    Raises:
        HistoryMissing: a bar is absent or not yet known.
        DecisionInvalid: a value is not finite.
    """
    import numpy as np

    gathered: dict[str, Array] = {}
    for name, declared in inputs.items():
        match declared:
            case Window(feature=feature, length=length):
                values = reader.window(feature, symbols, length=length, at=at)
            case Latest(feature=feature):
                values = reader.window(feature, symbols, length=1, at=at)[:, 0]
            case CurrentWeights():
                values = current
        if not _finite(values):
            raise DecisionInvalid(
                f"input {name} at {at.isoformat()} holds a value that is not finite"
            )
        gathered[name] = np.ascontiguousarray(values, dtype=np.float64)
    return gathered
