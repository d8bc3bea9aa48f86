"""A made world, in which it is known what can be known: where methods are tried out first."""

from datetime import date, timedelta

import numpy as np

from pipelines.errors import ModelInvalid
from pipelines.models.rows import TrainingSet
from pipelines.splits import LabelSpans

START = date(2000, 1, 3)


def made_rows(
    *, dates: int, seed: int, names: int = 20, features: int = 4, noise: float = 0.6
) -> TrainingSet:
    """Return rows whose excess returns are a line, a step and a product of features, and noise.

    Args:
        dates: D, at least 1.
        seed: of everything.
        names: n per date.
        features: k, at least 4; those beyond the fourth say nothing.
        noise: standard deviation beside a signal whose own is about 0.6; the more, the less can
            be known.

    Returns:
        D * n rows with returns of about 2 % size, labels reaching two dates ahead.

    Raises:
        ModelInvalid: no date, or fewer than four features.
    """
    if dates < 1 or features < 4:
        raise ModelInvalid(f"a world needs a date and four features, had {dates} and {features}")
    generator = np.random.Generator(np.random.PCG64(seed))
    X = generator.normal(size=(dates * names, features))
    step = np.where(X[:, 1] > 0.5, 1.0, -0.4)
    signal = 0.4 * X[:, 0] + 0.5 * step + 0.2 * X[:, 2] * X[:, 3]
    returns = 0.02 * (signal + noise * generator.normal(size=len(X))).reshape(dates, names)
    excess = (returns - returns.mean(axis=1, keepdims=True)).ravel()
    starts = np.repeat(np.arange(dates, dtype=np.int64), names)
    return TrainingSet(
        X=X,
        y=excess,
        returns=excess,
        weights=np.ones(len(X)),
        spans=LabelSpans(starts, starts + 2),
        days=tuple(START + timedelta(days=day) for day in range(dates)),
        symbols=tuple(f"N{name + 1}" for name in range(names)),
    )
