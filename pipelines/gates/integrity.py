"""Both integrity gates over one backtest: look-ahead and parity, wired to the runtime's own path.

1. Full history: every decision once more by `runtime.bundles.inputs.gather`, one date at a time.
2. Look-ahead: sampled dates rebuilt with the future cut off.
3. Parity: backtest against 1 to the bit, NumPy against the graph within tolerance.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.backtest import Backtest
from pipelines.gates.lookahead import lookahead_verdict
from pipelines.gates.observe import Observation, Session, observe, same_inputs
from pipelines.gates.parity import (
    DecisionPath,
    Twin,
    compare_path,
    compare_twin,
    parity_verdict,
)
from pipelines.gates.policy import GatePolicy
from pipelines.panel import array_digest
from runtime.bundles.contract import GateVerdict
from runtime.bundles.inputs import Input, Latest, PointInTime, gather

Array = NDArray[np.float64]


class Truncatable(PointInTime, Protocol):
    """A reader that can forget what was known later."""

    @property
    def truncated_at(self) -> datetime | None:
        """Return the instant after which nothing is held, UTC; None = the snapshot's end."""
        ...

    def truncated(self, at: datetime) -> Self:
        """Return a reader of the same snapshot without any row known after `at`."""
        ...


Rebuild: TypeAlias = Callable[[Truncatable], tuple[Mapping[str, Input], Session]]


def integrity_verdicts(
    backtest: Backtest,
    inputs: Mapping[str, Input],
    session: Session,
    reader: Truncatable,
    *,
    rebuild: Rebuild,
    twin: Twin,
    policy: GatePolicy,
) -> tuple[GateVerdict, GateVerdict]:
    """Judge look-ahead and parity of one trial.

    Args:
        backtest: the trial as recorded.
        inputs: what its strategy declares.
        session: a fresh decision session over its graph, as the runtime would load it.
        reader: point-in-time face of the whole research history.
        rebuild: builds the definition anew against a reader without the future; returns its
            declared inputs and a session over its newly compiled graph, or `session` itself if
            the graph is the same.
        twin: gathered inputs -> the outputs of `decide` with plain NumPy.
        policy: thresholds.

    Returns the verdicts of "lookahead" and "parity".

    Raises:
        HistoryMissing, DecisionInvalid: the runtime's path cannot repeat a recorded decision.
    """
    times, symbols = backtest.decided_at, backtest.symbols
    seen: dict[datetime, Observation] = {}

    def runtime(at: datetime, current: Array) -> Observation:
        seen[at] = observe(reader, inputs, symbols, session, at=at, current=current)
        return seen[at]

    path = compare_path(
        DecisionPath(
            times=times,
            scores=backtest.scores,
            weights=backtest.weights,
            current=backtest.current,
            digests=backtest.inputs_hash,
            confidences=backtest.confidences,
        ),
        runtime,
        lambda gathered: inputs_digest(inputs, gathered),
        symbols,
    )
    held = dict(zip(times, backtest.current, strict=True))

    truncated = truncated_observer(reader, rebuild, session, symbols, held, seen)
    lookahead = lookahead_verdict(
        times, seen.__getitem__, truncated, symbols, policy=policy.lookahead
    )
    parity = parity_verdict(
        compare_twin((seen[at] for at in times), twin), path, policy=policy.parity
    )
    return lookahead, parity


def truncated_observer(
    reader: Truncatable,
    rebuild: Rebuild,
    session: Session,
    symbols: Sequence[str],
    held: Mapping[datetime, Array],
    seen: Mapping[datetime, Observation],
) -> Callable[[datetime], Observation]:
    """Return what observes a date with everything later cut off; see `integrity_verdicts`.

    Args:
        reader, rebuild, session: as there.
        symbols: universe, length n.
        held: drifted weights at each decision, shape (n,).
        seen: the same decisions with the whole history.
    """

    def truncated(at: datetime) -> Observation:
        past = reader.truncated(at)
        declared, graph = rebuild(past)
        if graph is session:  # the same graph on the same bits decides the same
            gathered = gather(past, declared, symbols, at=at, current=held[at])
            if same_inputs(gathered, seen[at].inputs):
                return replace(seen[at], inputs=gathered)
        return observe(past, declared, symbols, graph, at=at, current=held[at])

    return truncated


def inputs_digest(inputs: Mapping[str, Input], gathered: Mapping[str, Array]) -> str:
    """Return SHA-256 over everything a decision saw, hex: what the backtest records per decision.

    A latest value counts as a window of one bar, shape (n, 1).
    """
    digest = hashlib.sha256()
    for name in sorted(inputs):
        values = gathered[name]
        column = values[:, None] if isinstance(inputs[name], Latest) else values
        digest.update(name.encode() + b"\x1f" + array_digest(column))
    return digest.hexdigest()
