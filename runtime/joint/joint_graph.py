"""Decides again what several bundles decided together, from the record of it alone.

A joint decision keeps under these names, as arrays: what the graphs read (by feature, once for all
who read the same), `current`, `score`, `weight` and `share` per role, `confidence` where its graph
gives one, `rows` where a member trades fewer symbols than all, and `kept`, what those hold who did
not decide.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime.bundles.inference import CONFIDENCE, Decided
from runtime.bundles.inputs import Array, CurrentWeights, Input, Latest, Window
from runtime.errors import DecisionInvalid

KEPT = "kept"


class Graph(Protocol):
    """A loaded decision graph."""

    def run(self, inputs: Mapping[str, Array]) -> Decided:
        """Return scores and weights."""
        ...


@dataclass(frozen=True, slots=True)
class JointGraph:
    """The graphs of several bundles, answering as one."""

    graphs: Mapping[str, tuple[Graph, Mapping[str, Input]]]  # role -> graph, declared inputs

    def run(self, inputs: Mapping[str, Array]) -> Decided:
        """Return what all want together, once every member has answered as it did then.

        Raises:
            DecisionInvalid: something is missing, or a member answers otherwise.
        """
        if KEPT not in inputs:
            raise DecisionInvalid(f"the record of a joint decision has no array {KEPT!r}")
        total = inputs[KEPT].copy()
        for role, (graph, declared) in sorted(self.graphs.items()):
            if f"weight {role}" not in inputs:
                continue  # it was not due, or could not decide
            decided = graph.run(given_to(role, declared, inputs))
            for name, values in answers(decided):
                known = inputs.get(f"{name} {role}")
                if known is None or values.tobytes() != known.tobytes():
                    raise DecisionInvalid(f"{role} gives another {name} than it gave then")
            add(
                total, decided.weight, float(inputs[f"share {role}"][0]), inputs.get(f"rows {role}")
            )
        return Decided(score=total, weight=total)


def given_to(
    role: str, declared: Mapping[str, Input], inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Return what one member's graph was given, from what the joint decision keeps.

    Raises:
        DecisionInvalid: something is missing.
    """
    return {name: _found(inputs, source, role) for name, source in declared.items()}


def answers(decided: Decided) -> Iterator[tuple[str, Array]]:
    """Yield what a graph said, by the name it is kept under."""
    yield "score", decided.score
    yield "weight", decided.weight
    if decided.confidence is not None:
        yield CONFIDENCE, decided.confidence


def kept_as(source: Input, role: str) -> str:
    """Return the name under which what a graph read is kept, if all members trade one universe."""
    match source:
        case Window(feature=feature, length=length):
            return f"{length} of {feature}"
        case Latest(feature=feature):
            return f"newest {feature}"
        case CurrentWeights():
            return f"current {role}"


def add(total: Array, weight: Array, share: float, rows: Array | None) -> None:
    """Add a member's weights, as fractions of the whole account, in place.

    Args:
        total: shape (n,), over the symbols of all.
        weight: shape (m,), fractions of the member's own capital.
        share: fraction of the account that it has.
        rows: shape (m,), where its symbols stand among those of all; None = they are the same.
    """
    if rows is None:
        total += weight * share
    else:
        total[rows.astype(np.int64)] += weight * share


def _found(inputs: Mapping[str, Array], source: Input, role: str) -> Array:
    name = kept_as(source, role)
    own = f"{name} for {role}"
    if own in inputs:
        return inputs[own]
    if name not in inputs:
        raise DecisionInvalid(f"the record of a joint decision has no array {name!r}")
    return inputs[name]
