"""One trial's backtest over 1991-2016, 20 symbols: deciding and books, against vectorbt's books."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import pandas as pd
import vectorbt as vbt

from featurestore.lake import Lake
from featurestore.sources.embedded import US_EQUITIES, ingest_embedded
from featurestore.store import FeatureStore
from pipelines.backtest import backtest
from pipelines.books import CAPITAL, keep_books
from pipelines.definition import load_definition
from pipelines.evaluate import evaluate
from pipelines.vectorbt_check import cross_check
from pipelines.workspace import Workspace
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import Array

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "strategies" / "momentum.ipynb"
ROUNDS = 9


def run() -> list[dict[str, object]]:
    """Time all in CPU time (neighbours on the machine do not count), interleaved."""
    with tempfile.TemporaryDirectory() as folder:
        return _measured(Path(folder))


def _measured(folder: Path) -> list[dict[str, object]]:
    workspace = Workspace(folder)
    ingest_embedded(FeatureStore(Lake(workspace.lake_url)), (US_EQUITIES,))
    definition = load_definition(NOTEBOOK, {})
    study, strategy = definition.study, definition.strategy
    panel, reader = workspace.research_panel(study), workspace.research_reader(study)
    trial = evaluate(definition, workspace)
    session = DecisionSession(trial.graph)
    result = trial.backtest
    cross_check(result, study.costs)  # the two keep the same books, or there is nothing to time
    index = pd.DatetimeIndex(np.array(result.dates, dtype="datetime64[ns]"))
    close = pd.DataFrame(result.prices, index=index, columns=list(result.symbols))
    wanted = np.full(close.shape, np.nan)
    wanted[result.fill_rows] = result.weights * study.invested
    wanted = pd.DataFrame(wanted, index=index, columns=close.columns)

    def whole() -> Array:
        return backtest(session, strategy.inputs, reader, study, study.research, panel=panel).net

    def books() -> Array:
        return keep_books(
            panel.prices, panel.decision_rows, lambda i, _: result.weights[i], study.sizing
        ).net

    def peer() -> Array:
        book = vbt.Portfolio.from_orders(
            close,
            size=wanted,
            size_type="targetpercent",
            fees=study.costs,
            init_cash=CAPITAL,
            cash_sharing=True,
            group_by=True,
            call_seq="auto",
            freq="1D",
        )
        return np.asarray(book.returns())

    def anew() -> Array:
        return evaluate(load_definition(NOTEBOOK, {}), workspace).backtest.net

    times = _interleaved({"whole": whole, "books": books, "anew": anew, "peer": peer})
    size = f"{len(result.dates)} days x {len(result.symbols)} symbols"
    decisions = f"{len(result.decided_at)} decisions"
    return [
        _row(f"One trial's backtest, {decisions} by graph and books, {size}", times, "whole"),
        _row(f"The same books alone, {size}", times, "books"),
        _row("One trial of a sweep, from notebook cell to returns", times, "anew"),
    ]


def _interleaved(tasks: dict[str, Callable[[], Array]]) -> dict[str, float]:
    """Return the median CPU milliseconds of each task, every one warmed before the clock."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            start = process_time()
            task()
            taken[name].append(process_time() - start)
    return {name: 1000.0 * median(values) for name, values in taken.items()}


def _row(name: str, times: dict[str, float], ours: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": times[ours],
        "peer": times["peer"],
        "peer_name": "vectorbt from_orders on the same weights, books alone",
        "ratio": times["peer"] / times[ours],
        "unit": "CPU ms",
    }
