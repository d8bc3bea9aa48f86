"""What a notebook imports: declare a study and a strategy, look at a decision, submit the trial."""

from datetime import date

import numpy as np

from featurestore.audit import audit_feature
from featurestore.calendars import load_calendar
from featurestore.universes import universe
from pipelines.audit import feature
from pipelines.compile import compile_strategy, decide_with_numpy
from pipelines.definition import definition_of, load_definition
from pipelines.evaluate import Trial, evaluate_trial
from pipelines.fills import fills
from pipelines.gates.policy import default_policy
from pipelines.judge import judge_study
from pipelines.lint import LintReport
from pipelines.lint import lint as lint_trial
from pipelines.models.counting import LedgerCounter
from pipelines.models.declared import Barriers, Confidence, ForwardReturn, Trained
from pipelines.models.export import export_verdict
from pipelines.models.learners import Blend, Learner
from pipelines.models.rows import TrainingSet
from pipelines.models.training import fitted_only, train, training_set
from pipelines.pictures import Picture, Table
from pipelines.strategy import History, Strategy
from pipelines.study import Parameter, Period, Study
from pipelines.vectorbt_check import comparison, cross_check, statistics
from pipelines.workspace import Workspace, open_workspace
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import Array, CurrentWeights, Latest, Window, gather
from runtime.execution.stops import Stops

__all__ = [
    "Barriers",
    "Blend",
    "Confidence",
    "CurrentWeights",
    "ForwardReturn",
    "History",
    "Latest",
    "Learner",
    "Period",
    "Stops",
    "Strategy",
    "Study",
    "Trained",
    "Trial",
    "Window",
    "audit_feature",
    "count_tries",
    "export_check",
    "feature",
    "fills",
    "lint",
    "open_workspace",
    "preview",
    "submit",
    "submit_notebook",
    "trained",
    "training_rows",
    "vectorbt_plot",
    "vectorbt_statistics",
    "verdicts",
]


def preview(
    study: Study, strategy: Strategy, on: date, *, workspace: Workspace | None = None
) -> Table:
    """Show one decision of the research window, by NumPy and by the graph; no return is computed.

    Args:
        study: declares universe and calendar.
        strategy: decides.
        on: a session of the research window.
        workspace: None = the one this kernel stands in.

    Returns:
        The symbols that get a weight, highest weight first, with the two answers side by side.
    """
    place = workspace or _here()
    symbols = universe(study.universe).symbols
    at = load_calendar(study.calendar).session(on).close
    nothing = np.zeros(len(symbols))
    reader = place.research_reader(study)
    strategy = fitted_only(strategy, reader, study)
    seen = gather(reader, strategy.inputs, symbols, at=at, current=nothing)
    decided = DecisionSession(compile_strategy(strategy, len(symbols))).run(seen)
    twin = decide_with_numpy(strategy, seen)
    answers = [decided.score, decided.weight]
    if decided.confidence is not None:
        answers.append(decided.confidence)
    apart = np.max([np.abs(a - b) for a, b in zip(twin, answers, strict=True)], axis=0)
    order = np.lexsort((-decided.score, -decided.weight))
    chosen = [i for i in order if decided.weight[i] != 0.0]
    rows = [
        (
            symbols[i],
            f"{decided.score[i]:.4f}",
            f"{decided.weight[i]:.2%}",
            *(f"{sure[i]:.1%}" for sure in answers[2:]),
            f"{apart[i]:.1e}",
        )
        for i in chosen
    ]
    heads = ("Score", "Weight", *(("Confidence",) if len(answers) > 2 else ()), "NumPy differs by")
    return Table((f"Decided {on}", *heads), rows)


def submit(study: Study, strategy: Strategy, *, workspace: Workspace | None = None) -> Trial:
    """Record this configuration in the ledger, backtest it, record its returns, then hand it back.

    Whoever sees the figures has been counted: the trial is opened before its evaluation and closed
    before this function returns. A failure is recorded too.
    """
    place = workspace or _here()
    return evaluate_trial(definition_of(study, strategy), place)


def training_rows(
    study: Study, strategy: Strategy, model: str, *, workspace: Workspace | None = None
) -> TrainingSet:
    """Collect what a declared model learns from: all of it known before the first decision."""
    place = workspace or _here()
    return training_set(model, strategy, place.research_reader(study), study)


def lint(
    trial: Trial,
    *,
    capital: float = 1_000_000.0,
    daily_notional: Array | None = None,
    workspace: Workspace | None = None,
) -> LintReport:
    """Check a recorded trial for what usually turns a fine backtest into a bad surprise.

    Args:
        trial: as `submit` returned it.
        capital: quote currency that is meant to be run with it.
        daily_notional: shape (n,), quote currency that trades in each symbol a day, if known.
        workspace: whose ledger says how often the question was tried; None = the one this kernel
            stands in.
    """
    charge = (workspace or _here()).ledger().charge(trial.definition.study.name)
    return lint_trial(trial, capital=capital, daily_notional=daily_notional, charge=charge)


def trained(study: Study, strategy: Strategy, *, workspace: Workspace | None = None) -> Strategy:
    """Return the strategy with its declared models fitted, as every trial of it has them."""
    place = workspace or _here()
    return fitted_only(strategy, place.research_reader(study), study)


def count_tries(
    study: Study, strategy: Strategy, *, workspace: Workspace | None = None
) -> LedgerCounter:
    """Return the counter that tuning and feature selection write each of their tries to."""
    place = workspace or _here()
    definition = definition_of(study, strategy)
    ledger = place.ledger()
    ledger.declare_study(study.declaration())
    return LedgerCounter(
        ledger=ledger,
        study=study.name,
        code_hash=definition.code_hash,
        shape_hash=definition.shape_hash,
        snapshot_hash=place.snapshot.hash,
        notebook=place.notebook,
        run=place.run,
    )


def verdicts(study: Study, *, workspace: Workspace | None = None) -> Table:
    """Judge the study by every try it ever had, and say gate by gate what became of it.

    The judgement is recorded. The best trial must come from a notebook file that is still there.
    """
    judged = judge_study(study.name, workspace or _here(), policy=default_policy())
    rows = [
        (one.gate, "passed" if one.passed else "refused", one.reason)
        for one in judged.verdict.verdicts
    ]
    stage = judged.verdict.stage
    rows.append(("all of them", stage, f"judged over {judged.evidence.counted} tries"))
    return Table(("Gate", "Verdict", "Why"), rows)


def export_check(study: Study, strategy: Strategy, *, workspace: Workspace | None = None) -> Table:
    """Train the declared models and show how far each exported graph is from its model."""
    place = workspace or _here()
    _, findings = train(strategy, place.research_reader(study), study)
    rows = [
        (
            name,
            f"{found.rows:,}",
            f"{found.worst:.1e}",
            f"{found.threshold_rows:,}",
            f"{found.threshold_worst:.1e}",
            "passed" if export_verdict(found).passed else "refused",
        )
        for name, found in findings.items()
    ]
    heads = ("Model", "Real rows", "Worst", "Rows on thresholds", "Worst", "Export gate")
    return Table(heads, rows)


def submit_notebook(
    path: str, *, workspace: Workspace | None = None, **parameters: Parameter
) -> Trial:
    """Record one configuration of another notebook and hand its trial over for a closer look.

    Only that notebook's definition cells are run. The same configuration is the same trial,
    whichever notebook asks for it.

    Args:
        path: of the notebook, from the folder of this one.
        workspace: None = the one this kernel stands in.
        parameters: values that differ from the notebook's own.
    """
    return evaluate_trial(load_definition(path, parameters), workspace or _here())


def vectorbt_statistics(trial: Trial) -> Table:
    """Check our equity against vectorbt's at every close, and tabulate its portfolio statistics."""
    costs = trial.definition.study.costs
    return statistics(trial.backtest, cross_check(trial.backtest, costs))


def vectorbt_plot(trial: Trial) -> Picture:
    """Draw vectorbt's cumulative returns; interactive where the front end shows plotly."""
    return comparison(trial.backtest)


_OPENED: list[Workspace] = []  # the one this kernel opened last; its readers keep what they loaded


def _here() -> Workspace:
    """Return the workspace this kernel stands in, opened anew only if it is another one now."""
    place = open_workspace()
    if _OPENED and place.stands_for(_OPENED[0]):
        _OPENED[0].read_for_itself()
        return _OPENED[0]
    _OPENED[:] = [place]
    return place
