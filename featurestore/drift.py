"""Has a feature's distribution moved? Population stability index and Kolmogorov-Smirnov."""

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import ContractBroken

Array = NDArray[np.float64]

BINS = 10  # deciles, as in the source of the index
FLOOR = 1e-4  # share given to an empty bin, so that its logarithm exists
_TERMS = 100  # of the limit distribution's series; they fall like exp(-2 k^2 x^2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Two samples of one feature compared."""

    psi: float  # population stability index; below 0.1 is read as stable, above 0.25 as shifted
    ks: float  # largest distance between the two distribution functions, 0 to 1
    p_value: float  # of `ks` if both samples came from one distribution
    expected: int  # sample sizes, values that are not finite left out
    actual: int


def population_stability_index(expected: Array, actual: Array, *, bins: int = BINS) -> float:
    """Sum over bins of (actual share - expected share) * ln(actual share / expected share).

    Args:
        expected: reference sample; its quantiles are the edges of the bins.
        actual: sample to judge.
        bins: how many, of equal share in the reference; repeated quantiles make fewer.

    Returns:
        The index, 0 for equal shares; an empty bin counts with a share of FLOOR.

    Raises:
        ContractBroken: a sample is empty, or fewer than 2 bins are asked for.

    Source: Siddiqi (2006), "Credit Risk Scorecards", Wiley, chapter 9; the sum of both
        Kullback-Leibler divergences between the two sets of shares.
    """
    _require_samples(expected, actual)
    if bins < 2:
        raise ContractBroken(f"a stability index needs 2 bins or more, was given {bins}")
    inner = np.unique(np.quantile(expected, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = []
    for sample in (expected, actual):
        counts = np.bincount(np.searchsorted(inner, sample, side="left"), minlength=inner.size + 1)
        share = np.maximum(counts / sample.size, FLOOR)
        shares.append(share / share.sum())
    e, a = shares
    return float(((a - e) * np.log(a / e)).sum())


def kolmogorov_smirnov(expected: Array, actual: Array) -> tuple[float, float]:
    """Return the two-sample statistic and its asymptotic p-value.

    Args:
        expected: first sample.
        actual: second sample.

    Returns:
        The largest distance between the empirical distribution functions, and the probability of
        one as large under equality, from the limit Q(x) = 2 sum (-1)^(k-1) exp(-2 k^2 x^2) at
        x = d sqrt(n m / (n + m)).

    Raises:
        ContractBroken: a sample is empty.

    Source: Smirnov (1948), "Table for Estimating the Goodness of Fit of Empirical Distributions",
        Annals of Mathematical Statistics 19(2), 279-281.
    """
    _require_samples(expected, actual)
    first, second = np.sort(expected), np.sort(actual)
    points = np.concatenate([first, second])
    n, m = first.size, second.size
    distance = np.abs(
        np.searchsorted(first, points, side="right") / n
        - np.searchsorted(second, points, side="right") / m
    )
    d = float(distance.max())
    return d, _limit(d * sqrt(n * m / (n + m)))


def _limit(x: float) -> float:
    if x < 0.2:  # the series needs too many terms there; the value is 1 to 12 digits
        return 1.0
    terms = ((2 if k % 2 else -2) * exp(-2 * k * k * x * x) for k in range(1, _TERMS))
    return min(1.0, max(0.0, sum(terms)))


def drift(expected: Array, actual: Array) -> Drift:
    """Compare two samples; values that are not finite are left out.

    Raises:
        ContractBroken: nothing finite is left of a sample.
    """
    e, a = (np.asarray(each, dtype=np.float64).ravel() for each in (expected, actual))
    e, a = e[np.isfinite(e)], a[np.isfinite(a)]
    ks, p_value = kolmogorov_smirnov(e, a)
    return Drift(
        psi=population_stability_index(e, a),
        ks=ks,
        p_value=p_value,
        expected=e.size,
        actual=a.size,
    )


def _require_samples(expected: Array, actual: Array) -> None:
    for name, sample in (("expected", expected), ("actual", actual)):
        if sample.size == 0:
            raise ContractBroken(f"the {name} sample is empty; compare more values")
