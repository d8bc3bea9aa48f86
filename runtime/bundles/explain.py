"""Explains a decision by ablation: how its outputs change when one input says nothing.

An input says nothing when it tells no symbol from another:
 - a window of positive values (prices): each symbol moved as the median symbol did, and ended where
   it did end;
 - any other window: each symbol has the median symbol's history;
 - a newest value: each symbol has the median one;
 - current weights: nothing is held.

The same graph decides again, and every output is range-checked as at a tick.
"""

from collections.abc import Mapping

import msgspec
import numpy as np

from runtime.bundles.golden import Decides
from runtime.bundles.inputs import Array, CurrentWeights, Input, Latest, Window
from runtime.errors import DecisionInvalid


class Ablation(msgspec.Struct, frozen=True, kw_only=True):
    """What one input did to a decision; rows in universe order."""

    input: str
    neutral: str  # what it was replaced by, in words
    score: tuple[float, ...]  # (n,) as decided, less the score without the input
    weight: tuple[float, ...]  # (n,) as decided, less the weight without it, fraction of equity
    moved: (
        float  # half the sum of |weight changes|: the fraction of equity this input decides about
    )
    confidence: tuple[float, ...] = ()  # (n,) likewise, 0 to 1; none if the graph gives none
    refused: str = ""  # why there is no answer without it; the figures are then empty and zero


def ablate(
    session: Decides, inputs: Mapping[str, Input], given: Mapping[str, Array]
) -> tuple[Ablation, ...]:
    """Decide again without each input in turn.

    Args:
        session: the loaded graph.
        inputs: the declared inputs by name.
        given: exactly what the graph was given; (n,) or (n, length) each.

    Returns:
        One per input, the one that moved most first.

    Raises:
        DecisionInvalid: the graph refuses what it was given.
    """
    decided = session.run(given)
    found = []
    for name, declared in inputs.items():
        value, words = neutral(declared, given[name])
        try:
            without = session.run({**given, name: value})
        except DecisionInvalid as error:
            found.append(
                Ablation(
                    input=name, neutral=words, score=(), weight=(), moved=0.0, refused=str(error)
                )
            )
            continue
        weight = decided.weight - without.weight
        found.append(
            Ablation(
                input=name,
                neutral=words,
                score=tuple((decided.score - without.score).tolist()),
                weight=tuple(weight.tolist()),
                moved=float(np.abs(weight).sum()) / 2,
                confidence=_change(decided.confidence, without.confidence),
            )
        )
    return tuple(sorted(found, key=lambda one: -one.moved))


def _change(whole: Array | None, without: Array | None) -> tuple[float, ...]:
    return () if whole is None or without is None else tuple((whole - without).tolist())


def neutral(declared: Input, value: Array) -> tuple[Array, str]:
    """Return what an input looks like that tells no symbol from another, and that in words.

    Args:
        declared: what the input is.
        value: as given, (n,) or (n, length); left as it is.
    """
    match declared:
        case CurrentWeights():
            return np.zeros_like(value), "nothing held"
        case Latest():
            return np.full_like(value, np.median(value)), "the median symbol's value"
        case Window() if (value > 0).all():
            newest = value[:, -1:]
            path = np.median(value / newest, axis=0)
            return np.ascontiguousarray(newest * path), "moved as the median symbol did"
        case Window():
            path = np.median(value, axis=0)
            return np.ascontiguousarray(np.broadcast_to(path, value.shape)), (
                "the median symbol's history"
            )
