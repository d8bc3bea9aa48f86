"""One trial, from definition to recorded result: the same for notebooks and sweeps.

1. the parameters must be a point of the study's declared search space
2. study and trial are written to the ledger before anything is evaluated
3. decide is traced, and the graph backtested on the research window
4. the outcome, success or failure, is written before anybody sees a figure
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from featurestore.errors import PlatformError
from pipelines.backtest import Backtest, backtest
from pipelines.compile import compile_strategy
from pipelines.definition import Definition
from pipelines.door import answered_for, require_record
from pipelines.errors import TrialPruned
from pipelines.ledger.records import TrialClosed, TrialOpened
from pipelines.models.export import ExportFinding
from pipelines.models.training import train
from pipelines.performance import as_days, figures
from pipelines.strategy import Strategy
from pipelines.workspace import Workspace
from runtime.bundles.inference import DecisionSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a trial turned out to be; not yet recorded."""

    strategy: Strategy  # as declared, its models trained
    graph: bytes  # ONNX, the decision function
    backtest: Backtest
    exports: Mapping[str, ExportFinding]  # by model: how far its graph is from it


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Trial:
    """A recorded trial and its result."""

    key: str  # trial key in the ledger, hex
    definition: Definition
    snapshot_hash: str
    graph: bytes
    backtest: Backtest
    figures: dict[str, float]

    def __repr__(self) -> str:
        chosen = ", ".join(f"{k}={v!r}" for k, v in self.definition.strategy.parameters.items())
        return f"trial {self.key[:12]} of {self.definition.study.name}: {chosen}"


def evaluate(definition: Definition, workspace: Workspace) -> Evaluation:
    """Trace and backtest one configuration on its study's research window; record nothing.

    Raises:
        StudyInvalid: the parameters lie outside the declared search space.
        EvaluationUnrecorded: called in a kernel or a run by anybody but who has recorded it.
        StrategyInvalid: decide cannot become a graph.
        FeatureStoreError, DecisionInvalid: data or decisions are not usable.
    """
    require_record("evaluate", run=workspace.run)
    study, strategy = definition.study, definition.strategy
    study.check(strategy.parameters)
    panel = workspace.research_panel(study)
    exports: Mapping[str, ExportFinding] = {}
    if strategy.models:
        strategy, exports = train(strategy, workspace.research_reader(study), study)
    graph = compile_strategy(strategy, len(panel.symbols))
    result = backtest(
        DecisionSession(graph),
        strategy.inputs,
        workspace.research_reader(study),
        study,
        study.research,
        panel=panel,
    )
    return Evaluation(strategy=strategy, graph=graph, backtest=result, exports=exports)


def opening(
    definition: Definition,
    workspace: Workspace,
    *,
    source: Literal["notebook", "sweep"] = "notebook",
) -> TrialOpened:
    """Return the ledger entry that precedes an evaluation."""
    return TrialOpened(
        study=definition.study.name,
        parameters=dict(definition.strategy.parameters),
        code_hash=definition.code_hash,
        shape_hash=definition.shape_hash,
        snapshot_hash=workspace.snapshot.hash,
        notebook=definition.notebook or workspace.notebook,
        run=workspace.run,
        source=source,
    )


def closing(result: Backtest) -> TrialClosed:
    """Return the ledger entry of a complete trial."""
    return TrialClosed(
        status="complete",
        dates=as_days(result.dates),
        net=result.net,
        benchmark=result.benchmark,
        figures=figures(result),
    )


def evaluate_trial(
    definition: Definition,
    workspace: Workspace,
    *,
    source: Literal["notebook", "sweep"] = "notebook",
) -> Trial:
    """Evaluate one configuration and record it, whatever becomes of it.

    Returns:
        The recorded trial.

    Raises:
        StudyInvalid: outside the declared search space; nothing was recorded, nothing evaluated.
        PlatformError: the evaluation failed; the ledger says so too.
    """
    definition.study.check(definition.strategy.parameters)
    ledger = workspace.ledger()
    ledger.declare_study(definition.study.declaration())
    opened = opening(definition, workspace, source=source)
    key = ledger.open_trial(opened)
    workspace.read_for(opened.run, opened.notebook)
    try:
        with answered_for():
            evaluation = evaluate(definition, workspace)
    except TrialPruned as error:
        ledger.close_trial(key, TrialClosed(status="pruned", reason=str(error)))
        raise
    except PlatformError as error:
        ledger.close_trial(key, TrialClosed(status="failed", reason=str(error)))
        raise
    closed = closing(evaluation.backtest)
    ledger.close_trial(key, closed)
    return Trial(
        key=key,
        definition=definition,
        snapshot_hash=opened.snapshot_hash,
        graph=evaluation.graph,
        backtest=evaluation.backtest,
        figures=dict(closed.figures),
    )
