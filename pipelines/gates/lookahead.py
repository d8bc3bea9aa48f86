"""The look-ahead gate: cut the future off, decide again, and compare to the bit.

1. Sample decision dates; the first and the last are always among them.
2. Observe each once with the whole history and once with everything later cut off.
3. Any difference, or a decision that needs what was cut off, is a peek.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from featurestore.errors import PlatformError
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.observe import Difference, Observation, first_difference
from pipelines.gates.policy import LookaheadPolicy
from runtime.bundles.contract import GateVerdict

Observe: TypeAlias = Callable[[datetime], Observation]


def sampled_times(times: Sequence[datetime], *, samples: int, seed: int) -> tuple[datetime, ...]:
    """Choose decision dates to check: first, last, and others drawn without repeats.

    Args:
        times: all decision times, ascending.
        samples: how many at most, at least 1.
        seed: of the draw.

    Returns:
        Chosen times, ascending.

    Raises:
        GateInputInvalid: there is no decision, or they do not ascend.
    """
    if not times or any(later <= earlier for earlier, later in pairwise(times)):
        raise GateInputInvalid(f"need ascending decision times, was given {len(times)}")
    last = len(times) - 1
    inner = np.arange(1, last)
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = generator.permutation(inner)[: max(samples - 2, 0)]
    chosen = {last} if samples == 1 else {0, last, *map(int, drawn)}
    return tuple(times[index] for index in sorted(chosen))


def find_peeks(
    times: Sequence[datetime], full: Observe, truncated: Observe, symbols: Sequence[str]
) -> tuple[Difference, ...]:
    """Compare decisions with and without the future.

    Args:
        times: decision times to check, ascending.
        full: observes a date through a reader that holds the whole research history.
        truncated: rebuilds the definition and observes the same date through a reader that holds
            nothing known later than that date.
        symbols: universe, row order of every array.

    Returns:
        One difference per date that has one, in the order of `times`.
    """
    peeks = []
    for at in times:
        expected = full(at)
        try:
            actual = truncated(at)
        except PlatformError as error:
            peeks.append(Difference(at=at, what="decision", symbol="all", seen=str(error)))
            continue
        difference = first_difference(expected, actual, symbols)
        if difference is not None:
            peeks.append(difference)
    return tuple(peeks)


def lookahead_verdict(
    times: Sequence[datetime],
    full: Observe,
    truncated: Observe,
    symbols: Sequence[str],
    *,
    policy: LookaheadPolicy,
) -> GateVerdict:
    """Judge truncation invariance of every input and decision on a sample of dates.

    Args:
        times: every decision time of the backtest, ascending.
        full, truncated, symbols: as for `find_peeks`.
        policy: how many dates, and the seed that draws them.

    Returns:
        Verdict of the gate "lookahead"; the statistic is the number of dates with a peek.
    """
    chosen = sampled_times(times, samples=policy.samples, seed=policy.seed)
    peeks = find_peeks(chosen, full, truncated, symbols)
    if not peeks:
        reason = (
            f"With everything later cut off, inputs and decisions stay the same to the bit on all "
            f"{len(chosen)} sampled dates of {len(times)}."
        )
        change = "Any input or decision that uses a value known only later."
    else:
        first = peeks[0]
        reason = (
            f"{len(peeks)} of {len(chosen)} sampled decisions change when the future is cut off, "
            f"first on {first.at:%Y-%m-%d}: {first.what} of {first.symbol} ({first.seen})."
        )
        change = (
            f"Build the {first.what} from what was known at the decision only: declare it as a "
            "Window or Latest of a feature view, with a lag of zero or more bars."
        )
    return GateVerdict(
        gate="lookahead",
        passed=not peeks,
        statistic=float(len(peeks)),
        threshold=0.0,
        comparison="==",
        reason=reason,
        would_change=change,
        figures={
            "dates_checked": len(chosen),
            "decisions": len(times),
            "first_peek": peeks[0].at.isoformat() if peeks else None,
            "input": peeks[0].what if peeks else None,
            "symbol": peeks[0].symbol if peeks else None,
        },
    )
