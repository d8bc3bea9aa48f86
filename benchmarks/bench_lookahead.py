"""The look-ahead audit of a plain and of a trained strategy, beside a tenth of its backtest."""

import tempfile
from datetime import datetime
from pathlib import Path
from statistics import median
from time import process_time

from featurestore.lake import Lake
from featurestore.sources.embedded import US_EQUITIES, ingest_embedded
from featurestore.store import FeatureStore
from pipelines.backtest import backtest
from pipelines.compile import compile_strategy
from pipelines.definition import load_definition
from pipelines.evaluate import evaluate
from pipelines.gates.integrity import truncated_observer
from pipelines.gates.lookahead import lookahead_verdict
from pipelines.gates.observe import Observation, observe
from pipelines.gates.policy import default_policy
from pipelines.models import training
from pipelines.rebuild import Rebuilder
from pipelines.workspace import Workspace
from runtime.bundles.inference import DecisionSession

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
AUDITED = {
    "momentum 1991-2016": NOTEBOOKS / "strategies" / "momentum.ipynb",
    "tree ranker 2001-2016, its training counted": NOTEBOOKS
    / "examples"
    / "03_model_training.ipynb",
}
ROUNDS = 9
SHARE = 0.1


def run() -> list[dict[str, object]]:
    """Time both in CPU time (neighbours on the machine do not count), interleaved."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        ingest_embedded(FeatureStore(Lake(workspace.lake_url)), (US_EQUITIES,))
        return [_measured(name, path, workspace) for name, path in AUDITED.items()]


def _measured(name: str, notebook: Path, workspace: Workspace) -> dict[str, object]:
    definition = load_definition(notebook, {})
    study = definition.study
    reader = workspace.research_reader(study)
    trial = evaluate(definition, workspace)  # everything is loaded and warm before the clock
    result, symbols = trial.backtest, trial.backtest.symbols
    session = DecisionSession(trial.graph)
    held = dict(zip(result.decided_at, result.current, strict=True))
    seen: dict[datetime, Observation] = {
        at: observe(reader, definition.strategy.inputs, symbols, session, at=at, current=held[at])
        for at in result.decided_at  # the parity gate has made these before the audit begins
    }

    def audit() -> None:
        rebuild = Rebuilder(definition, trial.strategy, session)
        truncated = truncated_observer(
            reader, lambda past: rebuild(past, len(symbols)), session, symbols, held, seen
        )
        policy = default_policy().lookahead
        verdict = lookahead_verdict(
            result.decided_at, seen.__getitem__, truncated, symbols, policy=policy
        )
        if not verdict.passed:
            raise RuntimeError(verdict.reason)

    def from_notebook_to_books() -> None:
        training.forget()
        anew = load_definition(notebook, {})
        strategy = training.fitted_only(anew.strategy, reader, study)
        graph = DecisionSession(compile_strategy(strategy, len(symbols)))
        backtest(graph, anew.strategy.inputs, reader, study, study.research)

    ours: list[float] = []
    peer: list[float] = []
    for _ in range(1 + ROUNDS):
        for what, times in ((audit, ours), (from_notebook_to_books, peer)):
            start = process_time()
            what()
            times.append(1000 * (process_time() - start))
    mine, limit = median(ours[1:]), SHARE * median(peer[1:])
    return {
        "name": f"Look-ahead audit, 24 dates, {name}",
        "ours": mine,
        "peer": limit,
        "peer_name": "limit, a tenth of its backtest from notebook to books",
        "ratio": limit / mine,
        "unit": "CPU ms",
    }
