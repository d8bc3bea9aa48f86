"""A small learned strategy that tests of models share."""

from datetime import date
from typing import Any

from pipelines.models.declared import ForwardReturn, Trained
from pipelines.models.learners import Learner
from pipelines.strategy import History, Strategy
from pipelines.study import Period

FEATURE = "us_equities.close"
TREES = {"n_estimators": 25, "num_leaves": 7, "min_child_samples": 10, "learning_rate": 0.1}


def learned(kind: str = "lightgbm", **changes: Any) -> Strategy:
    """The three names a model likes best, in equal parts."""
    top = 3

    def features(xp, inputs):  # type: ignore[no-untyped-def]
        prices = inputs.prices
        daily = prices[:, 1:] / prices[:, :-1] - 1.0
        return xp.stack(
            [
                prices[:, -1] / prices[:, 0] - 1.0,
                prices[:, -1] / prices[:, -6] - 1.0,
                xp.std(daily, axis=1),
            ],
            axis=1,
        )

    def decide(xp, inputs):  # type: ignore[no-untyped-def]
        score = inputs.ranker(features(xp, inputs))
        rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
        held = xp.astype(rank < top, xp.float64)
        return score, held / xp.sum(held)

    settings = {"lightgbm": TREES, "lightgbm_ranker": TREES, "xgboost": {"n_estimators": 15}}
    declared: dict[str, Any] = {
        "features": features,
        "learner": Learner(kind=kind, settings=settings.get(kind, {})),  # type: ignore[arg-type]
        "target": ForwardReturn(
            horizon=21, kind="grade" if kind == "lightgbm_ranker" else "excess"
        ),
        "window": Period(start=date(1996, 1, 2), end=date(2000, 12, 29)),
    }
    return Strategy(
        inputs={"prices": History(feature=FEATURE, length=22)},
        models={"ranker": Trained(**declared | changes)},
        decide=decide,
        parameters={"lookback": 21, "top": top},
    )


def mixed() -> Strategy:
    """Two models mixed, held in proportion to a calibrated confidence above one half."""

    def features(xp, inputs):  # type: ignore[no-untyped-def]
        prices = inputs.prices
        past = prices[:, -1:] / prices[:, -20:-1] - 1.0
        return past[:, ::6]

    def decide(xp, inputs):  # type: ignore[no-untyped-def]
        seen = features(xp, inputs)
        score = 0.6 * inputs.trees(seen) + 0.4 * inputs.line(seen)
        sure = inputs.trees.confidence(xp, inputs.trees(seen))
        return score, xp.clip(sure - 0.5, min=0.0, max=0.05)

    declared: dict[str, Any] = {
        "features": features,
        "target": ForwardReturn(horizon=21),
        "window": Period(start=date(1996, 1, 2), end=date(2000, 12, 29)),
    }
    trees, line = Learner(kind="lightgbm", settings=TREES), Learner(kind="ridge")
    return Strategy(
        inputs={"prices": History(feature=FEATURE, length=22)},
        models={
            "trees": Trained(learner=trees, calibrated=4, **declared),
            "line": Trained(learner=line, **declared),
        },
        decide=decide,
        parameters={"lookback": 21, "top": 3},
    )
