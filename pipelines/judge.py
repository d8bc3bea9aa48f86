"""Judging a study: its ledger and its best trial's notebook go in, a recorded verdict comes out.

1. take every trial of the study from the ledger; the candidate is the best of them
2. rebuild the candidate from its notebook; its returns must be the recorded ones, to the bit
3. judge integrity: look-ahead and parity
4. judge significance over all trials, and climb the ladder
5. record the judgement
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.compile import decide_with_numpy
from pipelines.definition import Definition, load_definition
from pipelines.door import answered_for
from pipelines.errors import CrossCheckFailed, NotebookInvalid
from pipelines.evaluate import Evaluation, evaluate
from pipelines.gates.evidence import Evidence, evidence_of
from pipelines.gates.integrity import integrity_verdicts
from pipelines.gates.ladder import StudyVerdict, judge
from pipelines.gates.policy import GatePolicy
from pipelines.ledger import Judgement, Ledger, TrialRecord
from pipelines.models.export import export_verdict
from pipelines.rebuild import Rebuilder
from pipelines.workspace import Workspace
from runtime.bundles.inference import DecisionSession


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A study's verdict and everything that was looked at to reach it."""

    verdict: StudyVerdict
    evidence: Evidence
    trial: TrialRecord  # the candidate
    definition: Definition
    evaluation: Evaluation  # the candidate, rebuilt

    @property
    def counts(self) -> dict[str, int]:
        """Return trials with and without returns; together they are N."""
        complete, charge = len(self.evidence.trials), self.evidence.charge
        silent = 0 if charge is None else charge.runs + charge.leases
        rest = self.evidence.counted - complete - silent
        return (
            {"complete": complete}
            | ({"failed, pruned or crashed": rest} if rest else {})
            | ({"run or read without a recorded trial": silent} if silent else {})
        )


def judge_study(name: str, workspace: Workspace, *, policy: GatePolicy) -> Judged:
    """Judge a study by all its trials and record the verdict.

    Raises:
        StudyUnknown: nothing was ever declared under that name.
        EvidenceMissing: no trial of it came to an end.
        NotebookInvalid: the candidate's notebook is gone or was changed since.
        CrossCheckFailed: the candidate, rebuilt, does not earn what the ledger says.
        GateInputInvalid: the evidence itself is impossible.
    """
    ledger = workspace.ledger()
    evidence = evidence_of(ledger.evidence(name))
    trial = ledger.trial(evidence.trials[evidence.chosen])
    definition = definition_of_trial(trial, ledger)
    workspace.read_for(trial.run, trial.notebook)
    with answered_for():
        evaluation = evaluate(definition, workspace)
    _require_recorded(trial, evaluation, ledger)
    session = DecisionSession(evaluation.graph)
    rebuild = Rebuilder(definition, evaluation.strategy, session)
    lookahead, parity = integrity_verdicts(
        evaluation.backtest,
        definition.strategy.inputs,
        session,
        workspace.research_reader(definition.study),
        rebuild=lambda past: rebuild(past, len(evaluation.backtest.symbols)),
        twin=lambda gathered: decide_with_numpy(evaluation.strategy, gathered),
        policy=policy,
    )
    verdict = judge(
        evidence,
        lookahead=lookahead,
        parity=parity,
        policy=policy,
        exports=tuple(export_verdict(found) for found in evaluation.exports.values()),
    )
    ledger.record_judgement(
        Judgement(
            study=name,
            trial=trial.key,
            trials=evidence.counted,
            stage=verdict.stage,
            verdicts=verdict.verdicts,
        )
    )
    return Judged(
        verdict=verdict,
        evidence=evidence,
        trial=trial,
        definition=definition,
        evaluation=evaluation,
    )


def definition_of_trial(trial: TrialRecord, ledger: Ledger) -> Definition:
    """Load a recorded trial's definition from its notebook again.

    Raises:
        NotebookInvalid: no notebook is known, it is gone, or its strategy cell or what its study
            cell declares was changed since.
    """
    path = trial.notebook or (ledger.run(trial.run).opened.notebook if trial.run else "")
    if not path:
        raise NotebookInvalid(
            f"trial {trial.key[:12]} was run in a kernel outside a recorded run, so its notebook "
            f"is unknown; run it once with `sluice run NOTEBOOK`"
        )
    if not Path(path).is_file():
        raise NotebookInvalid(f"{path}, the notebook of trial {trial.key[:12]}, is gone")
    definition = load_definition(path, trial.parameters)
    if definition.code_hash != trial.code_hash:
        raise NotebookInvalid(
            f"{path}: the strategy cell was changed since trial {trial.key[:12]} was recorded; "
            f"sweep again, the old trials stay counted"
        )
    if changed := ledger.departures(trial.study, definition.study.declaration()):
        raise NotebookInvalid(
            f"{path}: the study cell declares another {', '.join(changed)} than when trial "
            f"{trial.key[:12]} was recorded; put it back, or name a new study and sweep it"
        )
    return definition


def _require_recorded(trial: TrialRecord, evaluation: Evaluation, ledger: Ledger) -> None:
    recorded = ledger.returns(trial.key)
    if not np.array_equal(recorded.net, evaluation.backtest.net):
        raise CrossCheckFailed(
            f"trial {trial.key[:12]} does not earn again what the ledger says; its notebook or "
            f"the environment differs from when it was recorded, so sweep again"
        )
