"""Truncation invariance: recompute with the future cut off; up to the cut nothing may change.

1. Compute once with everything, twice over: an answer that differs from itself proves nothing.
2. Cut the future off at sampled instants and compare every answer up to each.
3. Where one differs, bisect backwards to the first instant at which it does.
4. Let the future back in, step by step, until the value is the old one: that is its reach.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

import numpy as np
import polars as pl

from featurestore.audit.findings import AuditReport, Kind, Leak
from featurestore.audit.outcome import Difference, differences, features_of, first_duplicate
from featurestore.errors import ContractBroken

# Everything known up to an instant, UTC, or everything (None) -> the answers, as `outcome` returns.
Compute: TypeAlias = Callable[[datetime | None], pl.DataFrame]


@dataclass(slots=True)
class _Worlds:
    """The answers of worlds that end at different instants; each is computed once."""

    compute: Compute
    whole: pl.DataFrame
    found: dict[datetime, pl.DataFrame | str] = field(default_factory=dict)

    def at(self, end: datetime) -> pl.DataFrame | str:
        """Return the answers of a world that ends at `end`, or the error they ended with."""
        if end not in self.found:
            try:
                self.found[end] = self.compute(end)
            except Exception as error:  # noqa: BLE001, a stranger's code is judged by its answers
                self.found[end] = f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
        return self.found[end]

    def compare(self, end: datetime) -> list[Difference]:
        """Return what differs up to `end`; an error counts where the whole world had a value."""
        cut = self.at(end)
        if not isinstance(cut, str):
            return differences(self.whole, cut, end)
        had = self.whole.filter(pl.col("at") <= end)
        if had.is_empty():
            return []
        nothing = differences(had, had.clear(), end)
        return [_failed(each, cut) for each in nothing]


def _failed(difference: Difference, error: str) -> Difference:
    return Difference(
        feature=difference.feature,
        entity=difference.entity,
        at=difference.at,
        key=difference.key,
        whole=difference.whole,
        cut=error,
        missing=False,
        rounding=False,
    )


def audit_truncation(
    subject: str,
    compute: Compute,
    *,
    instants: Sequence[datetime] = (),
    samples: int = 16,
    seed: int = 0,
) -> AuditReport:
    """Audit whatever can be computed in a world that ends early.

    Args:
        subject: what the report calls it.
        compute: answers of a world that ends at an instant; None = everything.
        instants: knowledge times worth cutting at besides the answers' own, UTC.
        samples: cuts tried, at least 2; the first and the last instant are among them.
        seed: of the draw.

    Returns:
        One leak per feature, at the first instant found.
    """
    if samples < 2:
        raise ContractBroken(f"samples must be at least 2, was {samples}")
    whole = compute(None)
    features = tuple(features_of(whole))
    report = AuditReport(subject=subject, features=features, rows=whole.height, checked=0, leaks=())
    if whole.is_empty():
        raise ContractBroken(f"{subject}: nothing was computed, so nothing can be audited")
    fault = _unfit(subject, whole, compute)
    if fault is not None:
        return _with(report, 0, [fault])
    ends = sorted({*whole["at"].to_list(), *instants} - {None})
    worlds = _Worlds(compute, whole)
    leaks: dict[str, Leak] = {}
    rounding: dict[str, Difference] = {}
    cuts = _sampled(ends, samples, seed)
    clean: datetime | None = None
    for end in cuts:
        fresh = [d for d in worlds.compare(end) if d.feature not in leaks]
        rounding |= {d.feature: d for d in fresh if d.rounding and d.feature not in rounding}
        for difference in (d for d in fresh if not d.rounding):
            leaks[difference.feature] = _leak(worlds, ends, clean, end, difference)
        if not fresh:
            clean = end
        if len(leaks) == len(features):
            break
    notes = tuple(
        f"{d.feature} of {d.entity} at {d.at:%Y-%m-%d %H:%M} UTC differs in its last bits when the "
        f"future is cut off ({d.whole} against {d.cut}): float order, so history and live will not "
        "agree to the bit; compute each value from its own window"
        for d in rounding.values()
        if d.feature not in leaks
    )
    return _with(report, len(cuts), list(leaks.values()), notes)


def _with(
    report: AuditReport, checked: int, leaks: Sequence[Leak], notes: tuple[str, ...] = ()
) -> AuditReport:
    return AuditReport(
        subject=report.subject,
        features=report.features,
        rows=report.rows,
        checked=checked,
        leaks=tuple(leaks),
        notes=notes,
    )


def _unfit(subject: str, whole: pl.DataFrame, compute: Compute) -> Leak | None:
    """Return why the whole answer cannot be compared at all, or None."""
    feature = features_of(whole)[0]
    twice = first_duplicate(whole)
    if twice is not None:
        seen = "there are several answers for one instant"
        at, entity = twice["at"], str(twice["entity"])
        return Leak(feature=feature, kind="duplicate", entity=entity, at=at, seen=seen)
    again = differences(whole, compute(None), whole["at"].max())  # type: ignore[arg-type]
    for difference in again:
        seen = f"asked twice it says {difference.whole} and {difference.cut}"
        return Leak(
            feature=difference.feature,
            kind="unsteady",
            entity=difference.entity,
            at=difference.at,
            seen=seen,
        )
    return None


def _sampled(ends: Sequence[datetime], samples: int, seed: int) -> list[datetime]:
    """Choose cuts: the first, the last but one and the last, the rest half evenly, half drawn."""
    last = len(ends) - 1
    chosen = {0, max(last - 1, 0), last}
    inner = np.arange(1, max(last, 1))
    wanted = max(samples - len(chosen), 0)
    if wanted and inner.size:
        even = np.linspace(0, inner.size - 1, num=(wanted + 1) // 2).round().astype(int)
        generator = np.random.Generator(np.random.PCG64(seed))
        chosen |= {*map(int, inner[even]), *map(int, generator.permutation(inner)[: wanted // 2])}
    return [ends[i] for i in sorted(chosen)]


def _leak(
    worlds: _Worlds,
    ends: Sequence[datetime],
    clean: datetime | None,
    found: datetime,
    difference: Difference,
) -> Leak:
    """Name a leak where it first shows, and how far it looks."""
    low = 0 if clean is None else bisect_right(ends, clean)
    high = bisect_left(ends, found)
    while low < high:  # the earliest end at which this feature differs, if it goes on differing
        middle = (low + high) // 2
        here = [d for d in worlds.compare(ends[middle]) if d.feature == difference.feature]
        if here and not here[0].rounding:
            high, difference = middle, here[0]
        else:
            low = middle + 1
    failed = worlds.at(ends[high])
    kind: Kind = "fails" if isinstance(failed, str) else "row" if difference.missing else "value"
    return Leak(
        feature=difference.feature,
        kind=kind,
        entity=difference.entity,
        at=difference.at,
        seen=f"{difference.whole} with the future, {difference.cut} with it cut off",
        reach=_reach(worlds, ends, ends[high], difference),
    )


def _reach(worlds: _Worlds, ends: Sequence[datetime], cut: datetime, difference: Difference) -> str:
    """Say up to which instant the future must be let back in until the old value returns."""
    low, high = bisect_right(ends, cut), len(ends) - 1
    if low > high:
        return ""

    def restored(end: datetime) -> bool:
        answers = worlds.at(end)
        if isinstance(answers, str):
            return False
        match = pl.all_horizontal(
            pl.col(k).eq_missing(pl.lit(v)) for k, v in difference.key.items()
        )
        one, other = worlds.whole.filter(match), answers.filter(match)
        return not [
            d for d in differences(one, other, difference.at) if d.feature == difference.feature
        ]

    if not restored(ends[high]):
        return "it needs more than the last instant tried"
    steps = 1
    while low < high:
        middle = (low + high) // 2
        if restored(ends[middle]):
            high = middle
        else:
            low = middle + 1
    steps = high - bisect_right(ends, cut) + 1
    if high == len(ends) - 1 and steps > 1:
        return f"it needs everything up to the end, {ends[high]:%Y-%m-%d %H:%M} UTC"
    later = "the next instant" if steps == 1 else f"{steps} instants later"
    return f"it needs what is known {later}, {ends[high]:%Y-%m-%d %H:%M} UTC"
