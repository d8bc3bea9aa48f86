"""Were the values that were served the ones the lake says were known then? If not, why?

Every served value is asked for again offline, as of the instant it was served. Where the two
differ, the first of these causes that fits is named:

1. early          offline did not know the served value yet
2. code           the feature was served under another definition than the snapshot declares
3. late data      offline knew a newer event; the online store had not received it
4. revision       the same event, offline in a later revision
5. warm-up        served from fewer bars than the feature needs, or as no number at all
6. float order    the same inputs, equal but for rounding: summed in another order
7. code           the same inputs and another value: two implementations disagree
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, get_args

import numpy as np

from featurestore.drift import Drift, drift
from featurestore.errors import HistoryMissing, ViewUnknown
from featurestore.online.store import OfflineReader, column_of_reader
from featurestore.online.values import OnlineValues
from featurestore.times import instant, micros

Cause = Literal["early", "code", "late data", "revision", "warm-up", "float order"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
ROUNDING = 1e-9  # relative difference that summing in another order may explain


class Truth(Protocol):
    """What the lake says, as `LakeReader.latest` returns it."""

    @property
    def values(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Return the values, shape (n,)."""
        ...

    @property
    def event_times(self) -> list[datetime]:
        """Return what each value is about."""
        ...

    @property
    def known_at(self) -> list[datetime]:
        """Return when each could first be known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One value as it was served."""

    feature: str
    symbol: str
    at: datetime  # UTC, when it was served
    value: float
    event_time: int  # microseconds since 1970
    known_at: int
    version_hash: str  # definition it was served under
    bars: int | None = None  # bars it was computed from; None = not recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A served value that the lake does not confirm."""

    served: Served
    truth: float  # NaN if offline knew nothing
    cause: Cause
    detail: str  # one sentence with the numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewReport:
    """Served values replayed against the offline truth."""

    compared: Mapping[str, int]  # feature -> values
    differences: tuple[Difference, ...]
    drifts: Mapping[str, Drift] = field(default_factory=dict)  # feature -> served against truth

    def counts(self) -> Counter[tuple[str, Cause]]:
        """Return how many values of each feature differ, by cause."""
        return Counter((each.served.feature, each.cause) for each in self.differences)

    def share(self, feature: str) -> float:
        """Return the share of a feature's values that differ."""
        wrong = sum(each.served.feature == feature for each in self.differences)
        return wrong / self.compared[feature]


def served_values(answer: OnlineValues, *, bars: Mapping[str, int] | None = None) -> list[Served]:
    """Return one online answer as records to keep and to replay.

    Args:
        answer: what `get_online_features` returned.
        bars: feature -> bars its values were computed from, where that is known.
    """
    values = answer.values
    return [
        Served(
            feature=feature,
            symbol=symbol,
            at=answer.now,
            value=float(values[i, j]),
            event_time=int(answer.event_times[i, j]),
            known_at=int(answer.known_at[i, j]),
            version_hash=answer.versions[j],
            bars=(bars or {}).get(feature),
        )
        for i, symbol in enumerate(answer.symbols)
        for j, feature in enumerate(answer.features)
    ]


def replay(
    served: Sequence[Served],
    reader: OfflineReader,
    *,
    required: Mapping[str, int] | None = None,
    latest: Callable[[str, Sequence[str], datetime], Truth] | None = None,
) -> SkewReport:
    """Ask the lake for every served value again, as of the instant it was served.

    Args:
        served: as `served_values` recorded them.
        reader: a snapshot that reaches past the last instant.
        required: feature -> bars it needs; with `Served.bars` it tells a warm-up.
        latest: the offline truth of features that the reader does not compute itself.

    Raises:
        HoldoutSealed: a value was served at or behind the reader's seal.
    """
    ask = latest or (lambda feature, symbols, at: reader.latest(feature, symbols, at=at))
    groups: dict[tuple[str, datetime], dict[str, list[Served]]] = {}
    for each in served:
        groups.setdefault((each.feature, each.at), {}).setdefault(each.symbol, []).append(each)
    differences, truths = [], dict[str, list[float]]()
    values: dict[str, list[float]] = {}
    compared: Counter[str] = Counter()
    for (feature, at), rows in groups.items():
        symbols = list(rows)
        version = _version(reader, feature)
        needed = (required or {}).get(feature)
        for symbol, truth in zip(symbols, _truths(ask, feature, symbols, at), strict=True):
            for each in rows[symbol]:
                compared[feature] += 1
                values.setdefault(feature, []).append(each.value)
                truths.setdefault(feature, []).append(truth[0])
                found = _compared(each, *truth, version=version, needed=needed)
                if found is not None:
                    differences.append(found)
    drifts = {
        feature: drift(np.array(truths[feature]), np.array(values[feature]))
        for feature in compared
        if np.isfinite(truths[feature]).any() and np.isfinite(values[feature]).any()
    }
    return SkewReport(compared=dict(compared), differences=tuple(differences), drifts=drifts)


def _version(reader: OfflineReader, feature: str) -> str | None:
    """Return the definition the snapshot declares; None if it declares none."""
    try:
        return column_of_reader(reader, feature).version_hash
    except ViewUnknown:
        return None


def _truths(
    ask: Callable[[str, Sequence[str], datetime], Truth],
    feature: str,
    symbols: Sequence[str],
    at: datetime,
) -> list[tuple[float, int, int]]:
    """Return value, event and knowledge time per symbol; NaN and -1 where nothing was known."""
    try:
        truth = ask(feature, symbols, at)
    except HistoryMissing:
        if len(symbols) == 1:
            return [(float("nan"), -1, -1)]
        return [found for symbol in symbols for found in _truths(ask, feature, [symbol], at)]
    return [
        (float(value), micros(event), micros(known))
        for value, event, known in zip(truth.values, truth.event_times, truth.known_at, strict=True)
    ]


def _compared(
    served: Served,
    value: float,
    event: int,
    known: int,
    *,
    version: str | None,
    needed: int | None,
) -> Difference | None:
    """Return what differs, or None where both say the same to the bit."""
    same_inputs = (served.event_time, served.known_at) == (event, known)
    both_nothing = np.isnan(served.value) and np.isnan(value)
    if same_inputs and (served.value == value or both_nothing):
        return None
    cause, why = _cause(served, value, event, known, version=version, needed=needed)
    name = f"{served.feature} of {served.symbol} served at {served.at.isoformat()}"
    detail = f"{name}: {served.value!r}, offline {value!r}; {why}"
    return Difference(served=served, truth=value, cause=cause, detail=detail)


def _cause(
    served: Served,
    value: float,
    event: int,
    known: int,
    *,
    version: str | None,
    needed: int | None,
) -> tuple[Cause, str]:
    if served.event_time > event or (served.event_time == event and served.known_at > known):
        about = instant(served.event_time).isoformat()
        return "early", f"offline did not know the value about {about} yet"
    if version is not None and served.version_hash != version:
        return "code", f"served under definition {served.version_hash[:12]}, now {version[:12]}"
    if served.event_time < event:
        return "late data", (
            f"served about {instant(served.event_time).isoformat()}, known offline since "
            f"{instant(known).isoformat()} about {instant(event).isoformat()}"
        )
    if served.known_at < known:
        return "revision", f"revised offline at {instant(known).isoformat()}"
    if needed is not None and served.bars is not None and served.bars < needed:
        return "warm-up", f"computed from {served.bars} bars, needs {needed}"
    if np.isnan(served.value):
        return "warm-up", "served as no number although offline has one"
    if abs(served.value - value) <= ROUNDING * max(abs(served.value), abs(value)):
        apart = abs(served.value - value)
        return "float order", f"{apart:.3g} apart on the same inputs, which is rounding"
    return "code", "the same inputs and another value"
