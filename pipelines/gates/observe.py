"""One decision as it was made: the inputs it saw and what it said; compared bit by bit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.bundles.inputs import Input, PointInTime, gather

Array = NDArray[np.float64]


class Decision(Protocol):
    """What a session answers; shapes (n,)."""

    @property
    def score(self) -> Array:
        """Return the scores."""
        ...

    @property
    def weight(self) -> Array:
        """Return the target weights."""
        ...

    @property
    def confidence(self) -> Array | None:
        """Return how sure it is; None if the graph does not say."""
        ...


class Session(Protocol):
    """The decision graph at work: `runtime.bundles.inference.DecisionSession`."""

    def run(self, inputs: Mapping[str, Array]) -> Decision:
        """Decide once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """One decision with everything it saw."""

    at: datetime  # UTC
    inputs: Mapping[str, Array]  # name -> (n,) or (n, length)
    score: Array  # (n,)
    weight: Array  # (n,), fraction of equity
    confidence: Array | None = None  # (n,), 0 to 1, if the graph gives one


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where two decisions that should be one are not."""

    at: datetime  # UTC, of the decision
    what: str  # name of the input, or of the output
    symbol: str
    seen: str  # both values, as text


def observe(
    reader: PointInTime,
    inputs: Mapping[str, Input],
    symbols: Sequence[str],
    session: Session,
    *,
    at: datetime,
    current: Array,
) -> Observation:
    """Decide once, exactly as the runtime does: gather point in time, then run the graph.

    Args:
        reader: point-in-time face of the store; a truncated one for the look-ahead gate.
        inputs: declared inputs by name.
        symbols: universe, length n.
        session: the decision graph.
        at: UTC decision time.
        current: drifted weights held at `at`, shape (n,).
    """
    gathered = gather(reader, inputs, symbols, at=at, current=current)
    decided = session.run(gathered)
    return Observation(
        at=at,
        inputs=gathered,
        score=decided.score,
        weight=decided.weight,
        confidence=decided.confidence,
    )


def first_difference(
    expected: Observation, actual: Observation, symbols: Sequence[str]
) -> Difference | None:
    """Compare two observations of one date to the bit, inputs before outputs.

    Returns:
        The first difference: the earliest input by name, or score, weight, confidence, in this
        order; None if equal.
    """
    for name in sorted(set(expected.inputs) | set(actual.inputs)):
        if name not in expected.inputs or name not in actual.inputs:
            where = "only without" if name in expected.inputs else "only with"
            return Difference(
                at=expected.at, what=name, symbol="all", seen=f"there {where} the future cut off"
            )
        found = _difference(expected.inputs[name], actual.inputs[name], symbols)
        if found is not None:
            return Difference(at=expected.at, what=name, symbol=found[0], seen=found[1])
    for name, one, other in (
        ("score", expected.score, actual.score),
        ("weight", expected.weight, actual.weight),
        ("confidence", expected.confidence, actual.confidence),
    ):
        if one is None or other is None:
            if one is not other:
                return Difference(at=expected.at, what=name, symbol="all", seen="on one side only")
            continue
        found = _difference(one, other, symbols)
        if found is not None:
            return Difference(at=expected.at, what=name, symbol=found[0], seen=found[1])
    return None


def same_inputs(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Say whether two decisions saw the same inputs to the bit."""
    return one.keys() == other.keys() and all(same_bits(one[name], other[name]) for name in one)


def same_bits(one: Array, other: Array) -> bool:
    """Say whether two float64 arrays agree in shape and in every bit; -0.0 is not 0.0."""
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()
    )


def _difference(one: Array, other: Array, symbols: Sequence[str]) -> tuple[str, str] | None:
    """Return symbol and values of the first row that differs, or None."""
    if same_bits(one, other):
        return None
    if one.shape != other.shape or one.dtype != other.dtype:
        return "all", f"{one.dtype} {one.shape} against {other.dtype} {other.shape}"
    bits = [np.ascontiguousarray(a).view(np.int64).reshape(len(a), -1) for a in (one, other)]
    row, place = (int(index[0]) for index in np.nonzero(bits[0] != bits[1]))
    values = [float(a.reshape(len(a), -1)[row, place]) for a in (one, other)]
    return symbols[row], f"{values[0]!r} against {values[1]!r}"
