"""Does a value at risk hold what it promises: how often it is broken, and whether in clusters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import chi2

from pipelines.errors import RiskInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Result of a likelihood-ratio test."""

    days: int
    breaches: int
    expected: float  # breaches
    statistic: float  # likelihood ratio, chi-squared with one degree of freedom under the null
    p_value: float


def kupiec_test(days: int, breaches: int, *, level: float) -> Coverage:
    """Test whether breaches come as often as promised: the proportion of failures.

    Null: each day breaks independently with probability p = 1 - level.

        LR = -2 ln[(1 - p)^(T - N) p^N] + 2 ln[(1 - N/T)^(T - N) (N/T)^N]

    Args:
        days: T, forecasts.
        breaches: N, days on which the loss was worse.
        level: of the value at risk, e.g. 0.99.

    Source: Kupiec (1995), "Techniques for verifying the accuracy of risk measurement models",
        Journal of Derivatives 3(2), 73-84.
    """
    if not (days > 0 and 0 <= breaches <= days and 0.0 < level < 1.0):
        raise RiskInvalid(f"cannot test {breaches} breaches in {days} days at level {level}")
    p, seen = 1.0 - level, breaches / days
    null = xlogy(days - breaches, 1.0 - p) + xlogy(breaches, p)
    free = xlogy(days - breaches, 1.0 - seen) + xlogy(breaches, seen)
    ratio = max(0.0, 2.0 * float(free - null))
    return Coverage(
        days=days,
        breaches=breaches,
        expected=p * days,
        statistic=ratio,
        p_value=float(chi2.sf(ratio, 1)),
    )


def independence_test(broken: NDArray[np.bool_]) -> Coverage:
    """Test whether a breach makes another one on the next day more likely.

    Null: the probability of a breach does not depend on whether the day before was one
    (a first-order Markov chain is the alternative). Without any breach the statistic is 0.

    Source: Christoffersen (1998), "Evaluating interval forecasts", International Economic Review
        39(4), 841-862, section 3.2.
    """
    before, after = broken[:-1], broken[1:]
    n00, n01 = int((~before & ~after).sum()), int((~before & after).sum())
    n10, n11 = int((before & ~after).sum()), int((before & after).sum())
    total = n00 + n01 + n10 + n11
    if total == 0:
        raise RiskInvalid("independence needs at least two days")
    after_calm = n01 / (n00 + n01) if n00 + n01 else 0.0
    after_breach = n11 / (n10 + n11) if n10 + n11 else 0.0
    either = (n01 + n11) / total
    null = xlogy(n00 + n10, 1.0 - either) + xlogy(n01 + n11, either)
    free = (
        xlogy(n00, 1.0 - after_calm)
        + xlogy(n01, after_calm)
        + xlogy(n10, 1.0 - after_breach)
        + xlogy(n11, after_breach)
    )
    ratio = max(0.0, 2.0 * float(free - null))
    return Coverage(
        days=broken.size,
        breaches=int(broken.sum()),
        expected=either * (n10 + n11),  # breaches right after a breach, were they independent
        statistic=ratio,
        p_value=float(chi2.sf(ratio, 1)),
    )
