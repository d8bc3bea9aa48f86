"""Sharpe ratios that admit how many were tried: probabilistic, deflated, minimum track record.

Conventions, because papers and libraries differ: every ratio is per period and never annualised;
standard deviations divide by T - 1; skewness and kurtosis are the plain moment ratios, and kurtosis
is the fourth standardised moment itself, 3 for a normal (not the excess over 3).
"""

from dataclasses import dataclass
from math import e, erfc, inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from pipelines.gates.checks import flat_columns, returns_matrix
from pipelines.gates.errors import GateInputInvalid

Array = NDArray[np.float64]

EULER_GAMMA = 0.5772156649015329


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What the Sharpe ratio's sampling error depends on."""

    sharpe: float  # per period
    skewness: float  # third standardised moment
    kurtosis: float  # fourth standardised moment, 3 for a normal
    periods: int  # T

    @property
    def spread(self) -> float:
        """Return the factor 1 - g3 SR + (g4 - 1) / 4 SR^2; variance of SR is spread / (T - 1)."""
        return 1 - self.skewness * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2


def sharpe_ratios(returns: ArrayLike) -> Array:
    """Mean over standard deviation of each column; 0 where a column never moves.

    Args:
        returns: shape (T, N) or (T,), per period, T >= 2.

    Returns:
        Shape (N,), per period.

    Raises:
        GateInputInvalid: fewer than two rows, or a value that is not finite.
    """
    values = returns_matrix(returns, "returns")
    if values.shape[0] < 2:
        raise GateInputInvalid(f"a Sharpe ratio needs two days or more, was given {len(values)}")
    moving = ~flat_columns(values)
    ratios = np.zeros(values.shape[1])
    np.divide(values.mean(axis=0), values.std(axis=0, ddof=1), out=ratios, where=moving)
    return ratios


def moments(returns: ArrayLike) -> Moments:
    """Sharpe ratio, skewness and kurtosis of one series of returns, shape (T,), per period.

    Raises:
        GateInputInvalid: fewer than two rows, constant, more than one column, or not finite.
    """
    values = returns_matrix(returns, "returns")
    ratio = sharpe_ratios(values)
    if values.shape[1] != 1 or flat_columns(values)[0]:
        raise GateInputInvalid(
            f"moments need one series that moves; was given {values.shape[1]} series "
            f"of which {int(flat_columns(values).sum())} constant"
        )
    centred = values[:, 0] - values[:, 0].mean()
    variance = float((centred**2).mean())
    return Moments(
        sharpe=float(ratio[0]),
        skewness=float((centred**3).mean()) / variance**1.5,
        kurtosis=float((centred**4).mean()) / variance**2,
        periods=values.shape[0],
    )


def probabilistic_sharpe(observed: Moments, *, hurdle: float) -> float:
    """Probability that the true Sharpe ratio lies above `hurdle`, given a track record.

    Null: the true ratio equals the hurdle. Asymptotic, under stationary ergodic returns.

    Args:
        observed: per period.
        hurdle: SR*, per period.

    Raises:
        GateInputInvalid: fewer than two periods, or moments that no distribution has.

    Source: Bailey & Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier",
        Journal of Risk 15(2), 3-44, equation 8.
    """
    spread = _spread(observed)
    score = (observed.sharpe - hurdle) * sqrt((observed.periods - 1) / spread)
    return 0.5 * erfc(-score / sqrt(2))


def minimum_track_record(observed: Moments, *, hurdle: float, confidence: float) -> float:
    """Periods needed before the probabilistic Sharpe ratio reaches `confidence`.

    Args:
        observed: Sharpe ratio, skewness and kurtosis, taken to stay as they are; per period.
        hurdle: SR*, per period.
        confidence: in (0.5, 1).

    Returns:
        Length in periods, not rounded; infinite when the ratio is not above the hurdle.

    Source: Bailey & Lopez de Prado (2012), equation 11.
    """
    if not 0.5 < confidence < 1:
        raise GateInputInvalid(f"confidence must lie between 0.5 and 1, was {confidence}")
    if observed.sharpe <= hurdle:
        return inf
    return 1 + _spread(observed) * (float(ndtri(confidence)) / (observed.sharpe - hurdle)) ** 2


def sampling_deviation(periods: int) -> float:
    """Return the deviation of the estimated ratio of a worthless trial, per period.

    The ratios of independent worthless trials cannot lie closer together than this. A search padded
    with copies of a poor trial can: more trials, a narrower spread, a lower hurdle.

    Args:
        periods: T, at least 2.

    Source: Bailey & Lopez de Prado (2012), equation 4 with a ratio of zero.
    """
    return 1 / sqrt(periods - 1)


def expected_best_sharpe(trial_sharpes: Array, *, counted: int, floor: float = 0.0) -> float:
    """Sharpe ratio that the luckiest of N worthless trials is expected to show.

    Args:
        trial_sharpes: shape (M,), M >= 2, one estimate per trial that returned something,
            the discarded ones included; per period.
        counted: N >= M, every trial ever started on the question: failed, pruned and crashed too.
        floor: smallest deviation of the ratios that is believed, per period; 0 = as in the paper.

    Returns:
        The hurdle SR0, per period, under zero true skill and independent trials; the variance
        comes from the M estimates (divided by M - 1). Correlated trials make it too high.

    Raises:
        GateInputInvalid: fewer than two estimates, one not finite, or N below M.

    Source: Bailey & Lopez de Prado (2014), "The Deflated Sharpe Ratio",
        Journal of Portfolio Management 40(5), 94-107.
    """
    if trial_sharpes.size < 2 or not np.isfinite(trial_sharpes).all():
        raise GateInputInvalid(f"need two or more finite Sharpe ratios, was given {trial_sharpes}")
    if counted < trial_sharpes.size:
        raise GateInputInvalid(
            f"{trial_sharpes.size} trials have returns, so N cannot be {counted}"
        )
    return _hurdle(max(float(trial_sharpes.std(ddof=1)), floor), counted)


def deflated_sharpe(
    observed: Moments, trial_sharpes: Array, *, counted: int, floor: float = 0.0
) -> float:
    """Probability that the true Sharpe ratio beats the best that luck alone would show in N trials.

    It is not one minus a p-value: on pure noise it passes 0.95 far less often than 1 time in 20.

    Args:
        observed: the selected trial, per period.
        trial_sharpes: shape (M,), as for `expected_best_sharpe`.
        counted: N, every trial ever started.
        floor: as for `expected_best_sharpe`.

    Source: Bailey & Lopez de Prado (2014), equation 9.
    """
    return probabilistic_sharpe(
        observed, hurdle=expected_best_sharpe(trial_sharpes, counted=counted, floor=floor)
    )


def most_trials(
    observed: Moments,
    trial_sharpes: Array,
    *,
    confidence: float,
    ceiling: int = 10**12,
    floor: float = 0.0,
) -> int:
    """Largest N at which the deflated Sharpe ratio still reaches `confidence`.

    Args:
        observed: the selected trial, per period.
        trial_sharpes: shape (M,), M >= 2; their variance is taken to stay as it is.
        confidence: in (0.5, 1).
        ceiling: answer when even that many trials would not change the verdict.
        floor: as for `expected_best_sharpe`.

    Returns:
        N >= 2, or 0 when even two trials are too many.
    """
    deviation = max(float(trial_sharpes.std(ddof=1)), floor)

    def holds(counted: int) -> bool:
        return probabilistic_sharpe(observed, hurdle=_hurdle(deviation, counted)) >= confidence

    if not holds(2):
        return 0
    if holds(ceiling):
        return ceiling
    low, high = 2, ceiling
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _hurdle(deviation: float, counted: int) -> float:
    """Expected maximum of `counted` normal draws with that standard deviation."""
    typical, tail = -float(ndtri(1 / counted)), -float(ndtri(1 / (counted * e)))
    return deviation * ((1 - EULER_GAMMA) * typical + EULER_GAMMA * tail)


def _spread(observed: Moments) -> float:
    if observed.periods < 2 or observed.spread <= 0:
        raise GateInputInvalid(f"no distribution over two or more days has the moments {observed}")
    return observed.spread
