"""The ladder: refused, staging or production, from all gates together.

1. Integrity (look-ahead, parity) is judged elsewhere and handed in; a failure refuses.
2. SPA over all trials of the study; above alpha refuses, else fit for staging.
3. Deflated Sharpe ratio and probability of overfitting; both passed: fit for production.
"""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.gates.bootstrap import stationary_blocks
from pipelines.gates.checks import flat_columns
from pipelines.gates.evidence import Evidence
from pipelines.gates.independence import Independence, independence
from pipelines.gates.pbo import Overfitting, judged_overfitting
from pipelines.gates.policy import GatePolicy
from pipelines.gates.sharpe import expected_best_sharpe, sampling_deviation, sharpe_ratios
from pipelines.gates.spa import Superiority, superior_ability_on
from pipelines.gates.stepwise import Stepwise, surviving_trials_on
from pipelines.gates.verdicts import dsr_verdict, not_judged, pbo_verdict, spa_verdict
from runtime.bundles.contract import GateVerdict

Array = NDArray[np.float64]
Rung = Literal["refused", "staging", "production"]
_DECISIVE = ("lookahead", "parity", "export", "spa")  # without these not even paper


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyVerdict:
    """What the gates say of a study and its candidate; figures in words are annualised."""

    study: str
    stage: Rung
    summary: str  # one sentence
    verdicts: tuple[GateVerdict, ...]  # lookahead, parity, spa, dsr, pbo, one export per model
    candidate: str | None  # trial key; None when there is nothing to choose from
    figures: dict[str, float | int | str | None]
    trial_sharpes: Array  # (N,), in excess of the benchmark, per session
    hurdle: float | None  # expected best of N worthless trials, per session
    logits: Array | None  # (C,), CSCV
    null: Array | None  # (B,), maxima of the studentised SPA under luck alone
    steps: Stepwise | None = None  # every trial's p-value after all tried beside it
    survivors: tuple[str, ...] = ()  # trials that beat the benchmark at the SPA's alpha, best first
    independent: Independence | None = None  # how many trials were really different


def judge(
    evidence: Evidence,
    *,
    lookahead: GateVerdict,
    parity: GateVerdict,
    policy: GatePolicy,
    exports: tuple[GateVerdict, ...] = (),
) -> StudyVerdict:
    """Judge a study by the ladder.

    The candidate is the trial with the best Sharpe ratio of daily net returns in excess of the
    benchmark, over the whole research window, unless the evidence names another; as SPA speaks of
    the best only, another one is refused.

    Args:
        evidence: every trial of the study.
        lookahead: the candidate's verdict from `lookahead_verdict`.
        parity: the candidate's verdict from `parity_verdict`.
        policy: thresholds.
        exports: of the candidate's models; one that differs from its graph refuses the study.

    Raises:
        GateInputInvalid: the evidence itself is impossible; the text says where.
    """
    obstacle = _obstacle(evidence, policy)
    if obstacle is not None:
        unjudged = _refused_unjudged(evidence, (lookahead, parity), *obstacle, policy)
        return replace(unjudged, verdicts=(*unjudged.verdicts, *exports))
    found = _statistics(evidence, policy)
    verdicts = (lookahead, parity, found.spa, found.dsr, found.pbo, *exports)
    stage = _rung(verdicts)
    surviving = found.steps.survivors(policy.spa.alpha)
    return StudyVerdict(
        study=evidence.study,
        stage=stage,
        summary=_summary(stage, verdicts),
        verdicts=verdicts,
        candidate=evidence.trials[evidence.chosen],
        figures=_figures(evidence, found.sharpes, evidence.chosen, policy)
        | {
            "spa_p": found.spa.statistic,
            "reality_check_p": found.superiority.reality_check_p,
            "dsr": found.dsr.statistic,
            "pbo": found.overfitting.judged,
            "surviving_trials": len(surviving),
            "trials_effective": found.independent.effective,
            "trial_clusters": found.independent.clusters,
        },
        trial_sharpes=found.sharpes,
        hurdle=expected_best_sharpe(
            found.sharpes,
            counted=evidence.counted,
            floor=sampling_deviation(evidence.dates.size),
        ),
        logits=found.overfitting.logits,
        null=found.superiority.studentised.null,
        steps=found.steps,
        survivors=tuple(evidence.trials[k] for k in surviving),
        independent=found.independent,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Statistics:
    """What all trials together say of the candidate."""

    sharpes: Array  # (N,), in excess of the benchmark, per session
    superiority: Superiority
    steps: Stepwise
    independent: Independence
    overfitting: Overfitting
    spa: GateVerdict
    dsr: GateVerdict
    pbo: GateVerdict


def _statistics(evidence: Evidence, policy: GatePolicy) -> _Statistics:
    """Test the candidate against luck; every test sees the same draws of blocks."""
    column, excess = evidence.chosen, evidence.excess
    sharpes, sessions = sharpe_ratios(excess), evidence.dates.size
    block = policy.spa.block(excess)
    blocks = stationary_blocks(
        sessions, mean_block=block, draws=policy.spa.draws, seed=policy.spa.seed
    )
    superiority = superior_ability_on(excess, blocks, mean_block=block)
    alone = superior_ability_on(excess[:, [column]], blocks, mean_block=block)
    steps = surviving_trials_on(excess, blocks, mean_block=block)
    spa = spa_verdict(superiority, alone, steps, column=column, sessions=sessions, policy=policy)
    if sharpes[column] < sharpes.max():
        spa = _of_the_best_only(spa, evidence, column, policy)
    independent = independence(excess)
    overfitting = judged_overfitting(excess, blocks=policy.pbo.blocks)
    dsr = dsr_verdict(
        excess[:, column],
        sharpes,
        counted=evidence.counted,
        blocks=blocks,
        independent=independent,
        charge=evidence.charge,
        policy=policy,
    )
    return _Statistics(
        sharpes=sharpes,
        superiority=superiority,
        steps=steps,
        independent=independent,
        overfitting=overfitting,
        spa=spa,
        dsr=dsr,
        pbo=pbo_verdict(overfitting, policy=policy),
    )


def _obstacle(evidence: Evidence, policy: GatePolicy) -> tuple[str, str] | None:
    """Return why the statistics cannot be computed and what would help, or None."""
    have, counted = len(evidence.trials), evidence.counted
    if have == 0:
        tried = f"none of its {counted} trials returned anything" if counted else "no trial was run"
        return f"The study is empty: {tried}.", "Run two or more configurations to the end."
    if have == 1:
        return (
            f"Only one of {counted} counted trials has returns; luck among many cannot be told "
            "from skill without the spread of two or more.",
            "Run at least one more configuration of the declared search space to the end.",
        )
    if evidence.dates.size < policy.shortest:
        return (
            f"{evidence.dates.size} sessions are too few for {policy.pbo.blocks} blocks of two.",
            f"At least {policy.shortest} sessions that all trials share.",
        )
    column = evidence.chosen
    if flat_columns(evidence.excess)[column]:
        return (
            f"The candidate, trial {evidence.trials[column][:12]} of {have}, never moved against "
            "the benchmark and no trial did better.",
            "A configuration that earns more than the benchmark.",
        )
    return None


def _refused_unjudged(
    evidence: Evidence,
    integrity: tuple[GateVerdict, GateVerdict],
    reason: str,
    remedy: str,
    policy: GatePolicy,
) -> StudyVerdict:
    statistics = tuple(not_judged(gate, reason, remedy, policy) for gate in ("spa", "dsr", "pbo"))
    some = evidence.excess.size > 0 and evidence.dates.size > 1
    return StudyVerdict(
        study=evidence.study,
        stage="refused",
        summary=f"Refused: {reason}",
        verdicts=(*integrity, *statistics),
        candidate=None,
        figures={
            "trials": evidence.counted,
            "trials_with_returns": len(evidence.trials),
            "policy_hash": policy.hash,
        },
        trial_sharpes=sharpe_ratios(evidence.excess) if some else np.empty(0),
        hurdle=None,
        logits=None,
        null=None,
    )


def _of_the_best_only(
    spa: GateVerdict, evidence: Evidence, column: int, policy: GatePolicy
) -> GateVerdict:
    """Return a failed verdict: the named candidate is not the trial that SPA speaks of."""
    best = evidence.trials[evidence.best][:12]
    return GateVerdict(
        gate="spa",
        passed=False,
        statistic=spa.statistic,
        threshold=policy.spa.alpha,
        comparison="<=",
        reason=(
            f"The test speaks of the best trial, {best}; the candidate "
            f"{evidence.trials[column][:12]} is another one."
        ),
        would_change=f"Submit {best}, or leave the choice of the candidate to the gates.",
        figures=spa.figures,
    )


def _rung(verdicts: tuple[GateVerdict, ...]) -> Rung:
    passed = {verdict.gate: verdict.passed for verdict in verdicts}
    if not all(verdict.passed for verdict in verdicts if verdict.gate in _DECISIVE):
        return "refused"
    return "production" if passed["dsr"] and passed["pbo"] else "staging"


def _summary(stage: Rung, verdicts: tuple[GateVerdict, ...]) -> str:
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if stage == "production":
        return "Fit for production: every gate is passed."
    if stage == "staging":
        names = " and ".join(verdict.gate.upper() for verdict in failed)
        return f"Fit for staging, paper only: {names} not passed."
    decisive = next(v for v in failed if v.gate in _DECISIVE)
    return f"Refused: {decisive.reason}"


def _figures(
    evidence: Evidence, sharpes: Array, column: int, policy: GatePolicy
) -> dict[str, float | int | str | None]:
    """Return what stands beside the verdicts; Sharpe ratios annualised by the root of a year."""
    root = sqrt(policy.sessions_per_year)
    return {
        "trials": evidence.counted,
        "trials_with_returns": len(evidence.trials),
        "sessions": int(evidence.dates.size),
        "first_session": str(evidence.dates[0]),
        "last_session": str(evidence.dates[-1]),
        "best_sharpe": float(sharpes.max()) * root,
        "candidate_sharpe": float(sharpes[column]) * root,
        "candidate_raw_sharpe": float(sharpe_ratios(evidence.raw[:, column])[0]) * root,
        "benchmark_sharpe": float(sharpe_ratios(evidence.benchmark)[0]) * root,
        "median_sharpe": float(np.median(sharpes)) * root,
        "policy_hash": policy.hash,
    }
