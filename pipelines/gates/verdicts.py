"""From a statistic to a verdict: threshold, reason and what would change it, in plain words."""

from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from pipelines.gates.bootstrap import Blocks
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.independence import Independence
from pipelines.gates.pbo import Overfitting
from pipelines.gates.policy import GatePolicy
from pipelines.gates.sharpe import (
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    minimum_track_record,
    moments,
    most_trials,
    probabilistic_sharpe,
    sampling_deviation,
)
from pipelines.gates.spa import Superiority
from pipelines.gates.stepwise import Stepwise
from pipelines.gates.uncertainty import adjusted_sharpe, sharpe_interval
from pipelines.ledger.scopes import Charge
from runtime.bundles.contract import GateVerdict

Array = NDArray[np.float64]

MANY = 10**9  # trials; more than anyone runs
LONG = 200.0  # years; more than anyone waits
INTERVAL = 0.95  # confidence of the interval shown beside a Sharpe ratio
MONTHS = 12  # a year; autocorrelation is followed for one month


def not_judged(gate: str, reason: str, remedy: str, policy: GatePolicy) -> GateVerdict:
    """Return a failed verdict of a statistical gate that had nothing to judge."""
    threshold = {
        "spa": policy.spa.alpha,
        "dsr": policy.dsr.confidence,
        "pbo": policy.pbo.ceiling,
    }[gate]
    return GateVerdict(
        gate=gate,
        passed=False,
        statistic=None,
        threshold=threshold,
        comparison=">=" if gate == "dsr" else "<=",
        reason=reason,
        would_change=remedy,
    )


def spa_verdict(
    test: Superiority,
    alone: Superiority,
    steps: Stepwise,
    *,
    column: int,
    sessions: int,
    policy: GatePolicy,
) -> GateVerdict:
    """Judge superior predictive ability by the candidate's consistent p-value.

    The candidate has the best Sharpe ratio; another trial may have the largest studentised mean
    (its returns remember less). What the best of all shows is then no evidence for the candidate.

    Args:
        test: over all trials.
        alone: over the candidate only, on the same resamples.
        steps: the trials' statistics, on the same resamples; which survive is shown, not judged.
        column: the candidate.
        sessions: T.
        policy: thresholds.
    """
    trials = steps.p_values.size
    form, seen = test.studentised, float(steps.statistics[column])
    p, alpha = form.p_of(seen), policy.spa.alpha
    passed = p <= alpha
    years, critical = sessions / policy.sessions_per_year, form.critical(alpha)
    needed = years * (critical / seen) ** 2 if seen > 0 else inf
    if seen <= 0:
        reason = f"None of {trials} trials earned more than the benchmark."
    else:
        reason = (
            f"If none of the {trials} trials were better than the benchmark, the best would still "
            f"look this good in {_percent(p)} of histories; at most {_percent(alpha)} is allowed."
        )
    return GateVerdict(
        gate="spa",
        passed=passed,
        statistic=p,
        threshold=alpha,
        comparison="<=",
        reason=reason,
        would_change=_spa_change(passed, seen, years, needed, alone),
        figures={
            "statistic": seen,
            "strongest_statistic": form.statistic,
            "critical": critical if isfinite(critical) else None,
            "p_lower": form.p_lower,
            "p_consistent": form.p_consistent,
            "p_upper": form.p_upper,
            "reality_check_p": test.reality_check_p,
            "p_alone": alone.studentised.p_consistent,
            "surviving_trials": len(steps.survivors(alpha)),
            "p_stepwise": float(steps.p_values[column]),
            "draws": form.draws,
            "mean_block": test.mean_block,
            "years": years,
            "years_needed": needed if isfinite(needed) else None,
        },
    )


def _spa_change(
    passed: bool, statistic: float, years: float, needed: float, alone: Superiority
) -> str:
    if statistic <= 0:
        return "More data would not help: the hypothesis shows no gain over the benchmark to prove."
    if passed:
        return f"The same average over fewer than {needed:.1f} of its {years:.1f} years would fail."
    single = alone.studentised.p_consistent
    if needed - years > LONG:
        more = "No realistic amount of data would do at the same average"
    else:
        more = f"It would pass with {_more_years(needed - years)} at the same average"
    return f"{more}; tried as the only configuration it would have shown p = {single:.3f}."


def dsr_verdict(
    excess: Array,
    trial_sharpes: Array,
    *,
    counted: int,
    blocks: Blocks,
    independent: Independence,
    charge: Charge | None,
    policy: GatePolicy,
) -> GateVerdict:
    """Judge the deflated Sharpe ratio of the candidate, at the raw count of trials.

    Args:
        excess: the candidate's excess returns, shape (T,), per session.
        trial_sharpes: shape (M,), excess Sharpe ratios of all trials with returns, per session.
        counted: N, every trial ever opened.
        blocks: resamples of T sessions, for the interval.
        independent: how many of the trials were really different; shown, not judged.
        charge: what N is made of, shown.
        policy: thresholds.
    """
    observed = moments(excess)
    confidence, root = policy.dsr.confidence, sqrt(policy.sessions_per_year)
    floor = sampling_deviation(observed.periods)
    dsr = deflated_sharpe(observed, trial_sharpes, counted=counted, floor=floor)
    hurdle = expected_best_sharpe(trial_sharpes, counted=counted, floor=floor)
    length = minimum_track_record(observed, hurdle=hurdle, confidence=confidence)
    flips = most_trials(observed, trial_sharpes, confidence=confidence, ceiling=MANY, floor=floor)
    years, needed = (n / policy.sessions_per_year for n in (observed.periods, length))
    passed = dsr >= confidence
    reason = (
        f"Its Sharpe ratio above the benchmark is {observed.sharpe * root:.2f} a year; the "
        f"luckiest of {counted} worthless trials is expected to show {hurdle * root:.2f}. The "
        f"probability that it is truly better than that is {dsr:.3f}; {confidence:.2f} is asked."
    )
    return GateVerdict(
        gate="dsr",
        passed=passed,
        statistic=dsr,
        threshold=confidence,
        comparison=">=",
        reason=reason,
        would_change=_dsr_change(passed, years, needed, flips, counted),
        figures={
            "sharpe": observed.sharpe * root,
            "hurdle": hurdle * root,
            **_range(excess, blocks, policy),
            **_shape(observed),
            "trials_counted": counted,
            **_made_of(charge),
            "trials_with_returns": int(trial_sharpes.size),
            "trials_effective": independent.effective,
            "trial_clusters": independent.clusters,
            "dsr_at_clusters": _at_clusters(observed, trial_sharpes, independent),
            "most_trials": flips,
            "years": years,
            "years_needed": needed if isfinite(needed) else None,
            "years_needed_if_only_try": _years_alone(observed, policy),
        },
    )


def _made_of(charge: Charge | None) -> dict[str, int | str]:
    """Return what N is made of, where there is more to it than the study's own trials."""
    if charge is None:
        return {}
    figures: dict[str, int | str] = {"trials_at_least": charge.at_least}
    if charge.runs or charge.leases:
        figures |= {"runs_without_trial": charge.runs, "reads_without_trial": charge.leases}
    if len(charge.studies) > 1:
        figures["asked_under_the_names"] = ", ".join(charge.studies)
    return figures


def _shape(observed: Moments) -> dict[str, float]:
    """Return how sure the ratio is to be above zero, and the moments that say so."""
    return {
        "probabilistic_sharpe": probabilistic_sharpe(observed, hurdle=0.0),
        "skewness": observed.skewness,
        "kurtosis": observed.kurtosis,
    }


def _range(excess: Array, blocks: Blocks, policy: GatePolicy) -> dict[str, float | None]:
    """Return the annual ratio's interval, and the ratio correct for autocorrelation of a month."""
    year = policy.sessions_per_year
    interval = sharpe_interval(excess, blocks, confidence=INTERVAL)
    adjusted: float | None
    try:
        adjusted = adjusted_sharpe(excess, horizon=max(1, year // MONTHS), periods=year)
    except GateInputInvalid:  # sample correlations that no stationary series has
        adjusted = None
    return {
        "sharpe_low_95": interval.low * sqrt(year),
        "sharpe_high_95": interval.high * sqrt(year),
        "sharpe_autocorrelation_adjusted": adjusted,
    }


def _at_clusters(
    observed: Moments, trial_sharpes: Array, independent: Independence
) -> float | None:
    """Return what the deflated ratio would be if each cluster of trials were one trial."""
    if independent.clusters is None:
        return None
    deviation = max(float(trial_sharpes.std(ddof=1)), sampling_deviation(observed.periods))
    pair = np.array([-1.0, 1.0]) * deviation / sqrt(2)  # two ratios with the trials' variance
    return deflated_sharpe(observed, pair, counted=max(2, independent.clusters))


def _years_alone(observed: Moments, policy: GatePolicy) -> float | None:
    """Return the minimum track record against a ratio of zero, in years."""
    length = minimum_track_record(observed, hurdle=0.0, confidence=policy.dsr.confidence)
    return length / policy.sessions_per_year if isfinite(length) else None


def _dsr_change(passed: bool, years: float, needed: float, flips: int, counted: int) -> str:
    if passed:
        trials = f"more than {flips:,}" if flips < MANY else "no realistic number of"
        return (
            f"It would fail with {trials} trials counted instead of {counted}, "
            f"or with fewer than {needed:.1f} of its {years:.1f} years."
        )
    tries = (
        f"with at most {flips} trials run on the question instead of {counted} it would have passed"
        if flips
        else "even two trials would have been too many"
    )
    if needed - years > LONG:
        return f"No realistic amount of data would do at this Sharpe ratio; {tries}."
    return f"It would pass with {_more_years(needed - years)} at the same Sharpe ratio; {tries}."


def pbo_verdict(result: Overfitting, *, policy: GatePolicy) -> GateVerdict:
    """Judge the probability of backtest overfitting, by trials or by clusters of near copies.

    The worse of both is judged: a field padded with copies makes the one by trials too low, a few
    trials that stand for themselves may make the other so.
    """
    ceiling, splits = policy.pbo.ceiling, result.splits
    passed = result.judged <= ceiling
    allowed = int(np.floor(ceiling * splits + 1e-9))
    found = max(result.at_or_below_median, result.at_or_below_clustered)
    distance = abs(found - allowed)
    field = "all trials"
    if result.at_or_below_clustered > result.at_or_below_median:
        field = f"{result.clusters} clusters of trials alike"
    root = sqrt(policy.sessions_per_year)
    change = (
        f"It would fail if {distance + 1:,} more of {splits:,} splits fell at or below the median."
        if passed
        else f"{distance:,} of {splits:,} splits would have to rise above the median: one "
        "configuration that leads in most years, or fewer that lead by accident."
    )
    return GateVerdict(
        gate="pbo",
        passed=passed,
        statistic=result.judged,
        threshold=ceiling,
        comparison="<=",
        reason=(
            f"What was best in one half of history came in at or below the median of {field} in "
            f"the other half in {_percent(result.judged)} of {splits:,} splits; at most "
            f"{_percent(ceiling)} is allowed."
        ),
        would_change=change,
        figures={
            "splits": splits,
            "blocks": result.blocks,
            "pbo_by_trials": result.pbo,
            "pbo_by_clusters": result.clustered,
            "clusters_of_copies": result.clusters,
            "median_logit": float(np.median(result.logits)),
            "median_sharpe_in_sample": float(np.median(result.in_sample)) * root,
            "median_sharpe_out_of_sample": float(np.median(result.out_of_sample)) * root,
            "degradation_slope": result.slope,
            "degradation_intercept": result.intercept * root,
            "loss_probability": result.loss_probability,
        },
    )


def _more_years(missing: float) -> str:
    """Round up to a tenth, so that the figure given would do."""
    return f"{max(np.ceil(10 * missing), 1) / 10:.1f} more years of data"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share < 0.01 else f"{100 * share:.1f} %"
