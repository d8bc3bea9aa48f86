"""Which trials survive: step-down testing of every trial, with the error rate of the whole family.

1. Statistic of each trial: mean excess return, studentised by its long-run deviation or raw.
2. Strongest first: its p-value comes from the largest statistic of all trials in each resample.
3. The next one's from all trials but those before it, and so on; p-values never fall on the way.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.gates.bootstrap import Blocks, stationary_blocks
from pipelines.gates.kernels import stepdown_counts
from pipelines.gates.spa import Scaled, scaled

Array = NDArray[np.float64]
Form = Literal["studentised", "raw"]
Recentring = Literal["least favourable", "consistent"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stepwise:
    """Every trial's statistic and its p-value after all that were tried beside it."""

    statistics: Array  # (N,), studentised: standard errors, truncated at 0; raw: per period
    p_values: Array  # (N,), adjusted for the whole family, above 0
    draws: int  # B

    def survivors(self, alpha: float) -> tuple[int, ...]:
        """Return the columns that beat the benchmark, strongest first; FWER at most alpha."""
        order = np.argsort(-self.statistics, kind="stable")
        return tuple(int(column) for column in order if self.p_values[column] <= alpha)


def surviving_trials(excess: ArrayLike, *, mean_block: float, draws: int, seed: int) -> Stepwise:
    """Test every trial, with control of the chance that any worthless one survives.

    Null of each trial: its expected excess return is not positive.

    Args:
        excess: shape (T, N), return of each trial above the benchmark, per period, T >= 10.
        mean_block: expected bootstrap block in periods, 1 <= mean_block <= T.
        draws: resamples B; p-values are multiples of 1 / (B + 1).
        seed: of the resamples.

    Raises:
        GateInputInvalid: too short, not finite, or a trial gains the same amount every day.

    Source: Romano & Wolf (2005), "Stepwise Multiple Testing as Formalized Data Snooping",
        Econometrica 73(4), 1237-1282; adjusted p-values: Romano & Wolf (2016), "Efficient
        computation of adjusted p-values for resampling-based stepdown multiple testing",
        Statistics & Probability Letters 113, 38-40.
    """
    values = np.asarray(excess, dtype=np.float64)
    periods = values.shape[0] if values.ndim else 0
    blocks = stationary_blocks(periods, mean_block=mean_block, draws=draws, seed=seed)
    return surviving_trials_on(values, blocks, mean_block=mean_block)


def surviving_trials_on(
    excess: ArrayLike,
    blocks: Blocks,
    *,
    mean_block: float,
    form: Form = "studentised",
    recentring: Recentring = "least favourable",
) -> Stepwise:
    """Run the test of `surviving_trials` on given resamples.

    The deviation that studentises is estimated once, from the sample (as in Hansen's test), not
    anew in each resample. Rejecting one trial at a time, as here, rejects the same set as the
    paper's rounds. Ties count against a trial; studentised statistics are truncated at 0, so a
    trial with a loss has p = 1.

    Args:
        excess: shape (T, N), per period.
        blocks: B resamples of T rows.
        mean_block: the block length that the deviation's kernel assumes, periods.
        form: "studentised" is judged; "raw" compares means as they are.
        recentring: "least favourable" takes every trial to be as good as the benchmark, as Romano
            and Wolf do; "consistent" lets clearly bad trials drop out, as Hansen does.
    """
    given: Scaled = scaled(excess, blocks, mean_block=mean_block)
    studentised = form == "studentised"
    scale = given.scale if studentised else np.ones_like(given.scale)
    floor = 0.0 if studentised else -np.inf
    shift = given.shifts[2 if recentring == "least favourable" else 1]
    seen = np.maximum(given.means * scale, floor)
    order = np.argsort(seen, kind="stable").astype(np.int64)
    counts = stepdown_counts(
        given.values,
        given.means,
        blocks.starts,
        blocks.lengths,
        blocks.cuts,
        order,
        shift,
        scale,
        floor,
        seen,
    )
    strongest_first = order[::-1]
    p_values = np.empty(seen.size)
    p_values[strongest_first] = np.maximum.accumulate(
        (1 + counts[strongest_first]) / (1 + blocks.draws)
    )
    return Stepwise(statistics=seen, p_values=p_values, draws=blocks.draws)
