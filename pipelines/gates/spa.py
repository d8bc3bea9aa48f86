"""Superior predictive ability: is the best of many trials better than its benchmark, or lucky?

1. Mean excess return and its long-run standard deviation, per trial.
2. Resample the demeaned days in blocks; the same days for every trial, so dependence is kept.
3. Recentre three ways; the largest (studentised) mean of each resample is the null distribution.
4. p = share of resamples at least as large as what was seen, itself counted once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.gates.bootstrap import Blocks, stationary_blocks
from pipelines.gates.checks import refuse_riskless_gain, returns_matrix
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.kernels import bootstrap_maxima, long_run_variance

Array = NDArray[np.float64]

MINIMUM_PERIODS = 10  # log log T must be positive and a block must fit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaximumTest:
    """One form of the test: what was seen and what luck alone shows. All p-values are above 0."""

    statistic: float  # studentised: standard errors, truncated at 0; raw: return per period
    best: int  # column that attains the statistic; the first one on ties
    exceedances: tuple[int, int, int]  # draws >= statistic: lower, consistent, upper
    null: Array  # shape (B,), the maxima under consistent recentring
    draws: int  # B

    def _p_value(self, form: int) -> float:
        return (1 + self.exceedances[form]) / (1 + self.draws)

    @property
    def p_lower(self) -> float:
        """Return the p-value when bad trials keep their bad means: too liberal, a lower bound."""
        return self._p_value(0)

    @property
    def p_consistent(self) -> float:
        """Return the p-value that is judged: clearly bad trials do not count against the best."""
        return self._p_value(1)

    @property
    def p_upper(self) -> float:
        """Return the p-value when every trial is taken to be as good as the benchmark."""
        return self._p_value(2)

    def p_of(self, statistic: float) -> float:
        """Return the consistent p-value of one trial, given that all were tried beside it.

        Null: no trial has a positive expected excess return; for the strongest trial this is
        `p_consistent`, for any other it is larger.

        Args:
            statistic: the trial's own, in the units of `statistic`.
        """
        return float(1 + (self.null >= statistic).sum()) / (1 + self.draws)

    def critical(self, alpha: float) -> float:
        """Return the value that the statistic must exceed for the consistent p to reach alpha.

        Infinite when there are too few draws for any p that small.
        """
        allowed = int(np.floor(alpha * (self.draws + 1) + 1e-9)) - 1
        if allowed < 0:
            return float("inf")
        return float(np.sort(self.null)[::-1][min(allowed, self.draws - 1)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Superiority:
    """Hansen's test and White's beside it, on the same resamples."""

    studentised: MaximumTest  # Hansen (2005)
    raw: MaximumTest  # not studentised, not truncated
    omega: Array  # shape (N,), long-run standard deviation of sqrt(T) * mean, per period
    mean_block: float  # periods

    @property
    def reality_check_p(self) -> float:
        """Return the p-value of White's (2000) Reality Check: raw, every trial recentred."""
        return self.raw.p_upper


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaled:
    """What every test of means on resampled blocks starts from."""

    values: Array  # (T, N), excess returns per period
    means: Array  # (N,)
    omega: Array  # (N,), long-run standard deviation of sqrt(T) * mean, per period
    scale: Array  # (N,), sqrt(T) / omega; 0 where a trial never moves
    shifts: Array  # (3, N), what is added to a demeaned mean: lower, consistent, upper


def superior_ability(excess: ArrayLike, *, mean_block: float, draws: int, seed: int) -> Superiority:
    """Test whether the best trial truly beats the benchmark, given that all were tried.

    Null: no trial has a positive expected excess return.

    Args:
        excess: shape (T, N), return of each trial above the benchmark, per period, T >= 10.
        mean_block: expected bootstrap block in periods, 1 <= mean_block <= T.
        draws: resamples B; p-values are multiples of 1 / (B + 1).
        seed: of the resamples.

    Raises:
        GateInputInvalid: too short, not finite, or a trial gains the same amount every day.

    Source: Hansen (2005), "A Test for Superior Predictive Ability", Journal of Business & Economic
        Statistics 23(4), 365-380; White (2000), "A Reality Check for Data Snooping", Econometrica
        68(5), 1097-1126. p = (1 + count) / (B + 1): Davison & Hinkley (1997), section 4.2.
    """
    values = returns_matrix(excess, "excess returns")
    blocks = stationary_blocks(values.shape[0], mean_block=mean_block, draws=draws, seed=seed)
    return superior_ability_on(values, blocks, mean_block=mean_block)


def superior_ability_on(excess: ArrayLike, blocks: Blocks, *, mean_block: float) -> Superiority:
    """Run the test of `superior_ability` on given resamples.

    A trial that never differs from a constant carries no evidence: its studentised mean is 0.
    Ties between a resample and the statistic count against the trial. The studentised statistic
    and its resamples are truncated at 0, so trials that are all bad give p = 1.

    Args:
        excess: shape (T, N), per period.
        blocks: B resamples of T rows.
        mean_block: the block length that omega's kernel assumes, periods.
    """
    given = scaled(excess, blocks, mean_block=mean_block)
    maxima = _maxima(given, blocks, both=True)
    return Superiority(
        studentised=_judge(given.means * given.scale, np.maximum(maxima[:, 3:], 0.0), floor=0.0),
        raw=_judge(given.means, maxima[:, :3], floor=-np.inf),
        omega=given.omega,
        mean_block=mean_block,
    )


def raw_ability_on(excess: ArrayLike, blocks: Blocks, *, mean_block: float) -> MaximumTest:
    """Run the raw form alone, as White (2000) and `arch` have it; arguments as for the others."""
    given = scaled(excess, blocks, mean_block=mean_block)
    maxima = _maxima(given, blocks, both=False)
    return _judge(given.means, maxima[:, :3], floor=-np.inf)


def scaled(excess: ArrayLike, blocks: Blocks, *, mean_block: float) -> Scaled:
    """Return means, long-run deviations and the three recentrings of Hansen (2005).

    Args:
        excess: shape (T, N), per period.
        blocks: B resamples of T rows.
        mean_block: the block length that omega's kernel assumes, periods.

    Raises:
        GateInputInvalid: too short, not finite, or a trial gains the same amount every day.
    """
    values = returns_matrix(excess, "excess returns")
    periods = values.shape[0]
    if periods < MINIMUM_PERIODS or periods != blocks.periods:
        raise GateInputInvalid(
            f"excess returns have {periods} days, the resamples {blocks.periods}; "
            f"need {MINIMUM_PERIODS} or more, and as many in both"
        )
    flat = refuse_riskless_gain(values, "excess returns")
    means = values.mean(axis=0)
    omega = np.sqrt(np.maximum(long_run_variance(values, means, 1 - 1 / mean_block), 0.0))
    omega[flat] = 0.0
    scale = np.zeros_like(omega)
    np.divide(np.sqrt(periods), omega, out=scale, where=omega > 0)
    bound = -omega / np.sqrt(periods) * np.sqrt(2 * np.log(np.log(periods)))
    shifts = np.stack((np.minimum(means, 0), np.where(means < bound, means, 0), 0 * means))
    return Scaled(values=values, means=means, omega=omega, scale=scale, shifts=shifts)


def _maxima(given: Scaled, blocks: Blocks, *, both: bool) -> Array:
    return bootstrap_maxima(
        given.values,
        given.means,
        blocks.starts,
        blocks.lengths,
        blocks.cuts,
        given.shifts,
        given.scale,
        both,
    )


def _judge(seen: Array, maxima: Array, *, floor: float) -> MaximumTest:
    """Count the draws (B, 3) that reach the largest of `seen` (N,), truncated at `floor`."""
    best = int(seen.argmax())
    statistic = max(float(seen[best]), floor)
    lower, consistent, upper = (int(n) for n in (maxima >= statistic).sum(axis=0))
    return MaximumTest(
        statistic=statistic,
        best=best,
        exceedances=(lower, consistent, upper),
        null=np.ascontiguousarray(maxima[:, 1]),
        draws=maxima.shape[0],
    )
