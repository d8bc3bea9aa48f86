"""Small notebooks for tests, written cell by cell."""

import json
from pathlib import Path

PARAMETERS = "lookback = 21\ntop = 3\n"
STUDY = """from datetime import date
from pipelines.research import History, Period, Strategy, Study

study = Study(
    name="tiny",
    question="Does anything hold?",
    hypothesis="No.",
    source="none",
    universe="us_large_caps",
    research=Period(start=date(2001, 1, 2), end=date(2002, 12, 31)),
    holdout=Period(start=date(2003, 1, 2), end=date(2003, 12, 31)),
    schedule="month_end",
    search_space={"lookback": (21, 63), "top": (3, 5)},
    warm_up=64,
    owner="tests",
)
"""
STRATEGY = """def decide(xp, inputs):
    score = inputs.prices[:, -1] / inputs.prices[:, 0] - 1.0
    rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
    held = xp.astype(rank < top, xp.float64)
    return score, held / xp.sum(held)


strategy = Strategy(
    inputs={"prices": History(feature="us_equities.close", length=lookback + 1)},
    decide=decide,
    parameters={"lookback": lookback, "top": top},
)
"""

LEARNED = """from pipelines.research import ForwardReturn, Learner, Trained


def features(xp, inputs):
    prices = inputs.prices
    columns = [prices[:, -1] / prices[:, 0] - 1.0, prices[:, -1] / prices[:, -6] - 1.0]
    return xp.stack(columns, axis=1)


def decide(xp, inputs):
    score = inputs.line(features(xp, inputs))
    rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
    held = xp.astype(rank < top, xp.float64)
    return score, held / xp.sum(held)


strategy = Strategy(
    inputs={"prices": History(feature="us_equities.close", length=lookback + 1)},
    models={
        "line": Trained(
            features=features,
            learner=Learner(kind="ridge", settings={"alpha": 1.0}),
            target=ForwardReturn(horizon=5),
            window=Period(start=date(1999, 1, 4), end=date(2000, 12, 29)),
        )
    },
    decide=decide,
    parameters={"lookback": lookback, "top": top},
)
"""
# Three learners mixed; weight by calibrated confidence, none below a half or without a direction.
CROWD = """from pipelines.research import Blend, Confidence, ForwardReturn, Learner, Trained

FEW = {"n_estimators": 12, "num_leaves": 4}


def features(xp, inputs):
    prices = inputs.prices
    columns = [prices[:, -1] / prices[:, 0] - 1.0, prices[:, -1] / prices[:, -6] - 1.0]
    return xp.stack(columns, axis=1)


def decide(xp, inputs):
    score = inputs.crowd(features(xp, inputs))
    sure = inputs.crowd.confidence(xp, score)
    stake = xp.clip(sure - 0.4, min=0.0, max=1.0) * inputs.crowd.clear_of_zero(xp, score)
    return score, stake / 5.0, sure


strategy = Strategy(
    inputs={"prices": History(feature="us_equities.close", length=lookback + 1)},
    models={
        "crowd": Trained(
            features=features,
            learner=Blend(
                members=(
                    Learner(kind="ridge", settings={"alpha": 1.0}),
                    Learner(kind="lightgbm", settings=FEW),
                    Learner(kind="xgboost", settings={"n_estimators": 8, "max_depth": 2}),
                ),
                weighing="alike",
            ),
            target=ForwardReturn(horizon=5),
            window=Period(start=date(1998, 1, 2), end=date(2000, 12, 29)),
            schedule="week_end",
            calibrated=4,
            covered=0.02,
        )
    },
    decide=decide,
    parameters={"lookback": lookback, "top": top},
    confidence=Confidence(of="crowd", abstains_below=0.5),
)
"""
# The same model fitted in the cell on years that lie among the decisions.
PEEKING = (
    LEARNED
    + """
from dataclasses import replace
from pipelines.models.training import train
from pipelines.research import open_workspace

late = Period(start=date(2000, 1, 3), end=date(2002, 3, 28))
asked = replace(study, research=Period(start=date(2002, 6, 3), end=date(2002, 12, 31)))
model = replace(strategy.models["line"], window=late)
reader = open_workspace().research_reader(study)
strategy, _ = train(strategy.with_models({"line": model}), reader, asked)
"""
)


def code_cell(source: str, *tags: str) -> dict[str, object]:
    metadata = {"tags": list(tags)} if tags else {}
    lines = source.splitlines(keepends=True)
    return {"cell_type": "code", "metadata": metadata, "source": lines, "outputs": []}


def write_notebook(path: Path, *cells: dict[str, object]) -> Path:
    path.write_text(
        json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


def tiny_notebook(
    path: Path, *, parameters: str = PARAMETERS, study: str = STUDY, strategy: str = STRATEGY
) -> Path:
    """The three cells of a definition, with a cell in between that must never run."""
    return write_notebook(
        path,
        code_cell(parameters, "parameters"),
        code_cell(study, "study"),
        code_cell("raise SystemExit('an untagged cell was run')"),
        code_cell(strategy, "strategy"),
    )
