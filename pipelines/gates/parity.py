"""The parity gate: notebook, graph and runtime decide the same.

1. NumPy twin against graph: within a stated tolerance, and no two scores change order.
2. Backtest against the runtime's path, one date at a time: inputs and decisions to the bit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.observe import Difference, Observation, first_difference
from pipelines.gates.policy import ParityPolicy
from runtime.bundles.contract import GateVerdict

Array = NDArray[np.float64]
Twin: TypeAlias = Callable[[Mapping[str, Array]], tuple[Array, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinFinding:
    """How far plain NumPy is from the graph."""

    decisions: int
    worst: float  # largest |NumPy - graph| / max(1, |graph|) of any output
    worst_at: datetime | None  # UTC
    reordered: tuple[datetime, ...]  # decisions where two symbols change order by score


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFinding:
    """Where backtest and runtime differ."""

    decisions: int
    differences: tuple[Difference, ...]  # one per date that differs, in time order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecisionPath:
    """What the backtest decided; D decisions of n symbols."""

    times: Sequence[datetime]  # UTC, ascending, length D
    scores: Array  # (D, n)
    weights: Array  # (D, n), target fraction of equity
    current: Array  # (D, n), drifted weights that the decision saw
    digests: Sequence[str]  # of all inputs of each decision, length D
    confidences: Array | None = None  # (D, n), if the graph gives them

    def __post_init__(self) -> None:
        rows = {len(self.times), len(self.digests), *map(len, (self.scores, self.weights))}
        if rows != {len(self.current)} or not self.times:
            raise GateInputInvalid(
                f"a path needs one row per decision, was given {len(self.times)} times, "
                f"{len(self.scores)} scores, {len(self.weights)} weights, {len(self.current)} "
                f"current weights and {len(self.digests)} digests"
            )


def changed_order(one: Array, other: Array) -> bool:
    """Say whether any two symbols stand in strictly opposite order in two scores, shape (n,).

    Scores that are level in one and apart in the other are no change of order.
    """
    followed = other[np.lexsort((other, one))]
    return bool((np.diff(followed) < 0).any())


def compare_twin(observations: Iterable[Observation], twin: Twin) -> TwinFinding:
    """Run plain NumPy on the inputs the graph saw.

    Args:
        observations: decisions of the graph with their inputs.
        twin: inputs -> (score, weight) and a confidence if the graph gives one, shape (n,) each,
            computed with NumPy.
    """
    worst, worst_at, reordered, decisions = 0.0, None, [], 0
    for seen in observations:
        decisions += 1
        score, weight, *sure = twin(seen.inputs)
        distance = max(_distance(score, seen.score), _distance(weight, seen.weight))
        if sure and seen.confidence is not None:
            distance = max(distance, _distance(sure[0], seen.confidence))
        elif sure or seen.confidence is not None:
            distance = float("inf")  # one of them does not say how sure it is
        if distance > worst:
            worst, worst_at = distance, seen.at
        if score.shape != seen.score.shape or changed_order(seen.score, score):
            reordered.append(seen.at)
    return TwinFinding(
        decisions=decisions, worst=worst, worst_at=worst_at, reordered=tuple(reordered)
    )


def compare_path(
    path: DecisionPath,
    runtime: Callable[[datetime, Array], Observation],
    digest: Callable[[Mapping[str, Array]], str],
    symbols: Sequence[str],
) -> PathFinding:
    """Decide every date again on the runtime's path and compare to the bit.

    Args:
        path: what the backtest recorded.
        runtime: (decision time, current weights) -> observation, made by
            `runtime.bundles.inputs.gather` for that one date and a fresh decision session.
        digest: the function that the backtest digested its inputs with.
        symbols: universe, row order of every array.
    """
    differences = []
    for row, at in enumerate(path.times):
        seen = runtime(at, path.current[row])
        recorded = Observation(
            at=at,
            inputs=seen.inputs,
            score=path.scores[row],
            weight=path.weights[row],
            confidence=None if path.confidences is None else path.confidences[row],
        )
        difference = first_difference(recorded, seen, symbols)
        if difference is None and digest(seen.inputs) != path.digests[row]:
            difference = Difference(at=at, what="inputs", symbol="all", seen="other digest")
        if difference is not None:
            differences.append(difference)
    return PathFinding(decisions=len(path.times), differences=tuple(differences))


def parity_verdict(twin: TwinFinding, path: PathFinding, *, policy: ParityPolicy) -> GateVerdict:
    """Judge both kinds of parity.

    Returns:
        Verdict of the gate "parity"; the statistic is the twin's worst distance, so a difference
        between backtest and runtime is told by `passed`, the reason and the figures.
    """
    faults, remedies = [], []
    if path.differences:
        first = path.differences[0]
        faults.append(
            f"backtest and runtime differ on {len(path.differences)} of {path.decisions} dates, "
            f"first on {first.at:%Y-%m-%d}: {first.what} of {first.symbol} ({first.seen})"
        )
        remedies.append("inputs read through the point-in-time reader only")
    if not twin.worst <= policy.tolerance:
        faults.append(
            f"NumPy and graph differ by {twin.worst:.2e} on {twin.worst_at:%Y-%m-%d}, "
            f"allowed is {policy.tolerance:.0e}"
            if twin.worst_at
            else "NumPy and graph differ"
        )
        remedies.append("a decide function that is numerically stable, without near divisions by 0")
    if twin.reordered:
        faults.append(
            f"scores change order between NumPy and graph on {len(twin.reordered)} of "
            f"{twin.decisions} dates, first on {twin.reordered[0]:%Y-%m-%d}"
        )
        remedies.append("ranking that breaks near ties by something that is exact")
    if not (twin.decisions and path.decisions):
        faults.append("there was no decision to compare")
        remedies.append("a backtest with one decision or more")
    reason = (
        f"Not the same: {'; '.join(faults)}."
        if faults
        else f"Backtest and runtime agree to the bit on all {path.decisions} dates; NumPy and "
        f"graph within {policy.tolerance:.0e} and in the same order on {twin.decisions}."
    )
    return GateVerdict(
        gate="parity",
        passed=not faults,
        statistic=twin.worst if np.isfinite(twin.worst) else None,
        threshold=policy.tolerance,
        comparison="<=",
        reason=reason,
        would_change=(
            f"It would pass with {' and '.join(remedies)}."
            if faults
            else "A single bit of difference on any date, or scores that change order."
        ),
        figures={
            "dates_compared": path.decisions,
            "dates_different": len(path.differences),
            "twin_dates": twin.decisions,
            "twin_reordered": len(twin.reordered),
        },
    )


def _distance(value: Array, graph: Array) -> float:
    """Return the largest difference relative to values above one; infinite if not comparable."""
    if value.shape != graph.shape or not np.isfinite(value).all():
        return float("inf")
    return float((np.abs(value - graph) / np.maximum(1.0, np.abs(graph))).max(initial=0.0))
