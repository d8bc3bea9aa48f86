"""How often what was called likely came about: the reliability of stated probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import ModelInvalid

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """Rows in bins of equal size by stated probability, from the lowest up; b bins."""

    said: Array  # (b,), mean probability that was stated
    happened: Array  # (b,), share that came about
    lower: Array  # (b,), ends of the binomial interval about that share
    upper: Array  # (b,)
    rows: NDArray[np.int64]  # (b,)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Say of each bin whether what was stated lies in the interval of what came about."""
        return (self.lower <= self.said) & (self.said <= self.upper)


def reliability(
    probability: ArrayLike, happened: ArrayLike, *, bins: int = 5, level: float = 0.95
) -> Reliability:
    """Compare stated probabilities with what came about.

    Args:
        probability: stated, shape (E,), of rows that played no part in the statement.
        happened: 0 or 1, shape (E,).
        bins: of equally many rows.
        level: of the interval about each share; exact for independent rows.

    Raises:
        ModelInvalid: shapes that do not fit, fewer rows than bins, or outcomes other than 0 and 1.

    Source: Clopper & Pearson (1934), "The use of confidence or fiducial limits illustrated in the
        case of the binomial", Biometrika 26(4), 404-413.
    """
    from scipy.stats import binomtest

    p, y = np.asarray(probability, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    if p.shape != y.shape or p.ndim != 1 or p.size < bins or not np.isin(y, (0.0, 1.0)).all():
        raise ModelInvalid(
            f"probabilities of {p.shape} and outcomes of {y.shape}, 0 or 1, do not fit {bins} bins"
        )
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    spans = [
        binomtest(int(y[part].sum()), part.size).proportion_ci(confidence_level=level)
        for part in parts
    ]
    return Reliability(
        said=np.array([p[part].mean() for part in parts]),
        happened=np.array([y[part].mean() for part in parts]),
        lower=np.array([span.low for span in spans]),
        upper=np.array([span.high for span in spans]),
        rows=np.array([part.size for part in parts], dtype=np.int64),
    )
