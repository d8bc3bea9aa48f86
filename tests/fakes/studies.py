"""A small study and strategy that tests of research code share."""

from datetime import date
from typing import Any

from pipelines.strategy import History, Strategy
from pipelines.study import Period, Study

FEATURE = "us_equities.close"


def small_study(**changes: Any) -> Study:
    """Two years of research, monthly, one year of history before."""
    declared: dict[str, Any] = {
        "name": "small",
        "question": "Does anything hold?",
        "hypothesis": "No.",
        "source": "none",
        "universe": "us_large_caps",
        "research": Period(start=date(2001, 1, 2), end=date(2002, 12, 31)),
        "holdout": Period(start=date(2003, 1, 2), end=date(2003, 12, 31)),
        "schedule": "month_end",
        "search_space": {"lookback": (21, 63), "top": (3, 5)},
        "owner": "tests",
        "warm_up": 64,
    }
    return Study(**declared | changes)


def momentum(lookback: int, top: int) -> Strategy:
    """The `top` names with the highest return over `lookback` bars, in equal parts."""

    def decide(xp, inputs):  # type: ignore[no-untyped-def]
        score = inputs.prices[:, -1] / inputs.prices[:, 0] - 1.0
        rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
        held = xp.astype(rank < top, xp.float64)
        return score, held / xp.sum(held)

    return Strategy(
        inputs={"prices": History(feature=FEATURE, length=lookback + 1)},
        decide=decide,
        parameters={"lookback": lookback, "top": top},
    )
