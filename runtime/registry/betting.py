"""Which of two is better, by a test that may be looked at every day.

A gambler starts with 1 and bets each day, at fair odds, that today's difference of returns will be
above zero; the stake is fixed before the day. If the challenger is no better, nobody can expect to
win: the wealth is a supermartingale, and the chance that it ever reaches 1 / alpha is at most
alpha (Ville's inequality), however often one looks. Reaching it is the proof.

How much to stake depends on what is not known yet, so the stake is spread over many gamblers from
timid to bold, and their mean wealth counts. It is nearly as good as the best of them.

Sources: Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables by betting",
JRSS B 86(1), 1-27, sections 3 and 4; Howard, Ramdas, McAuliffe & Sekhon (2021), "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 1055-1080.
"""

from dataclasses import dataclass
from math import log

import numpy as np

from runtime.bundles.inputs import Array
from runtime.errors import DecisionInvalid

STAKES = np.geomspace(0.01, 0.95, 24)  # fractions of the boldest stake that cannot lose all
_HALVINGS = 40  # of the interval that is searched for a bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the days so far say about the mean of the clipped daily difference."""

    days: int
    clipped: int  # days whose difference was beyond the bound
    mean: float  # fraction a day, of the clipped differences
    low: float  # fraction a day; with `high` an interval that holds on all days at once
    high: float
    better: float  # wealth now of who bet that it is above zero
    worse: float  # wealth now of who bet that it is below zero
    better_since: int | None  # first day, 1-based, on which it was enough to decide; None = not yet
    worse_since: int | None


def wealth(differences: Array, bound: float) -> Array:
    """Return the wealth after each day of betting that differences have a mean above zero.

    Args:
        differences: shape (..., T), fractions, oldest first; clipped to -bound..bound here.
        bound: fraction, above 0, fixed before the first day.

    Returns:
        Shape (..., T), each at least 0; its expected value is at most 1 on every day, and on any
        day chosen by looking, if the mean of each clipped difference, given all days before it,
        is at most zero.
    """
    return np.asarray(np.exp(_log_wealth(_scaled(differences, bound), 0.0)))


def weigh(differences: Array, *, bound: float, alpha: float, ways: int = 1) -> Evidence:
    """Weigh the evidence of all days so far.

    Args:
        differences: shape (T,), daily return of the one less that of the other, fractions, oldest
            first.
        bound: fraction; clipped to -bound..bound.
        alpha: chance, at most, of ever finding a difference in the mean that is not there; the
            interval misses the mean with at most that chance, ever.
        ways: 1 = `alpha` is for each direction by itself; 2 = for both together, so that a bet has
            to reach 2 / alpha, and decides on the day on which the interval leaves zero out.

    Raises:
        DecisionInvalid: a difference is not finite.
    """
    if not np.isfinite(differences).all():
        raise DecisionInvalid("a daily difference of returns is not finite")
    scaled = _scaled(differences, bound)
    if scaled.size == 0:
        return Evidence(
            days=0,
            clipped=0,
            mean=0.0,
            low=-bound,
            high=bound,
            better=1.0,
            worse=1.0,
            better_since=None,
            worse_since=None,
        )
    up, down = _log_wealth(scaled, 0.0), _log_wealth(-scaled, 0.0)
    return Evidence(
        days=scaled.size,
        clipped=int((np.abs(differences) > bound).sum()),
        mean=float(scaled.mean()) * bound,
        low=_lower(scaled, alpha / 2) * bound,
        high=-_lower(-scaled, alpha / 2) * bound,
        better=float(np.exp(up[-1])),
        worse=float(np.exp(down[-1])),
        better_since=_first(up, log(ways / alpha)),
        worse_since=_first(down, log(ways / alpha)),
    )


def _scaled(differences: Array, bound: float) -> Array:
    """Return differences in -1..1."""
    return np.asarray(np.clip(differences, -bound, bound) / bound)


def _log_wealth(scaled: Array, mean: float) -> Array:
    """Return log wealth after each day, shape (..., T), against a mean of at most `mean`.

    A bet on z - mean can lose up to 1 + mean a unit, so stakes are fractions of 1 / (1 + mean).
    """
    bets = np.cumsum(
        np.log1p((scaled - mean)[..., None] * (STAKES / (1.0 + mean))), axis=-2
    )  # (..., T, stakes)
    top = bets.max(axis=-1, keepdims=True)
    total: Array = np.log(np.exp(bets - top).mean(axis=-1)) + top[..., 0]
    return total


def _lower(scaled: Array, alpha: float) -> float:
    """Return the smallest mean that betting against it has not refuted, at most the largest.

    The final wealth falls as the mean grows, so halving finds it.
    """
    low, high = -1.0 + 1e-9, 1.0
    threshold = log(1 / alpha)

    def refuted(mean: float) -> bool:
        factors = (scaled - mean)[:, None] * (STAKES / (1.0 + mean))
        bets = np.log1p(factors).sum(axis=0)
        top = float(bets.max())
        return top + log(float(np.exp(bets - top).mean())) >= threshold

    if not refuted(low):
        return -1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _first(log_wealth: Array, threshold: float) -> int | None:
    reached = log_wealth >= threshold
    return int(np.argmax(reached)) + 1 if reached.any() else None
