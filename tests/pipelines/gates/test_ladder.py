"""The ladder: which evidence is refused, staged or fit for production, and in which words."""

import msgspec
import numpy as np
import pytest

from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.evidence import Evidence, evidence_of
from pipelines.gates.ladder import StudyVerdict, judge
from pipelines.gates.policy import GatePolicy, default_policy
from pipelines.gates.sharpe import deflated_sharpe, moments, sharpe_ratios
from pipelines.ledger.records import StudyEvidence
from runtime.bundles.contract import GateVerdict

_SHIPPED = default_policy()  # with fewer resamples, which none of these tests is about
POLICY = msgspec.structs.replace(_SHIPPED, spa=msgspec.structs.replace(_SHIPPED.spa, draws=2000))
QUICK = msgspec.structs.replace(_SHIPPED, spa=msgspec.structs.replace(_SHIPPED.spa, draws=200))
DAYS = 1500


def integrity(gate: str, *, passed: bool = True) -> GateVerdict:
    return GateVerdict(
        gate=gate,
        passed=passed,
        statistic=0.0,
        threshold=0.0,
        comparison="==",
        reason=f"{gate} was looked at.",
        would_change="A change.",
    )


def evidence(excess: np.ndarray, **changes) -> Evidence:
    """Evidence with a benchmark of random days beside the given excess returns."""
    days = len(excess)
    benchmark = 0.0004 + 0.01 * np.random.default_rng(99).normal(size=days)
    declared = {
        "study": "example",
        "dates": np.datetime64("2001-01-01") + np.arange(days),
        "excess": excess,
        "raw": excess + benchmark[:, None],
        "benchmark": benchmark,
        "trials": tuple(f"{k:064x}" for k in range(excess.shape[1])),
        "counted": excess.shape[1],
    }
    return Evidence(**declared | changes)


def returns(trials: int, *, seed: int = 1, skill: float = 0.0, leader: float = 0.0) -> np.ndarray:
    """Independent daily excess returns of 1 %; `skill` for all, `leader` on top for trial 0."""
    excess = skill + 0.01 * np.random.default_rng(seed).normal(size=(DAYS, trials))
    excess[:, 0] += leader
    return excess


def judged(
    given: Evidence,
    *,
    lookahead: bool = True,
    parity: bool = True,
    policy: GatePolicy = POLICY,
) -> StudyVerdict:
    return judge(
        given,
        lookahead=integrity("lookahead", passed=lookahead),
        parity=integrity("parity", passed=parity),
        policy=policy,
    )


def verdict(result: StudyVerdict, gate: str) -> GateVerdict:
    return next(v for v in result.verdicts if v.gate == gate)


def test_noise_is_refused_and_told_what_would_change_it():
    result = judged(evidence(returns(20)))
    spa = verdict(result, "spa")
    assert result.stage == "refused"
    assert result.summary == f"Refused: {spa.reason}"
    assert spa.statistic > 0.05
    assert "years" in spa.would_change
    assert [v.gate for v in result.verdicts] == ["lookahead", "parity", "spa", "dsr", "pbo"]


def test_one_dominant_trial_is_fit_for_production():
    result = judged(evidence(returns(20, leader=0.0022)))
    assert result.stage == "production"
    assert result.candidate == f"{0:064x}"
    assert all(v.passed for v in result.verdicts)
    assert result.figures["pbo"] < 0.05


def test_skill_that_all_trials_share_is_staged_because_the_best_is_a_matter_of_luck():
    result = judged(evidence(returns(20, seed=3, skill=0.0008)))
    assert result.stage == "staging"
    assert verdict(result, "spa").passed
    assert not verdict(result, "pbo").passed
    assert "PBO" in result.summary


def test_survivors_are_named_and_the_figures_say_how_sure_everything_is():
    result = judged(evidence(returns(20, leader=0.0022)))
    spa, dsr, pbo = (verdict(result, gate).figures for gate in ("spa", "dsr", "pbo"))
    assert result.survivors == (result.candidate,)
    assert spa["surviving_trials"] == 1
    assert spa["p_stepwise"] == result.steps.p_values.min() <= 0.05
    assert dsr["sharpe_low_95"] < dsr["sharpe"] < dsr["sharpe_high_95"]
    assert dsr["sharpe_autocorrelation_adjusted"] == pytest.approx(dsr["sharpe"], rel=0.3)
    assert dsr["years_needed_if_only_try"] < dsr["years_needed"]
    assert pbo["median_sharpe_out_of_sample"] > 0
    assert result.figures["trials_effective"] == pytest.approx(20 / (1 + 20 / DAYS), rel=0.02)


def test_copies_raise_the_count_that_is_judged_but_not_the_count_of_clusters():
    excess = returns(10, leader=0.0016)
    copied = np.repeat(excess, 8, axis=1)
    one, other = (verdict(judged(evidence(x), policy=QUICK), "dsr") for x in (excess, copied))
    assert other.figures["trials_counted"] == 80
    assert other.figures["trial_clusters"] == 10
    assert other.figures["trials_effective"] == pytest.approx(one.figures["trials_effective"])
    assert other.statistic < one.statistic
    assert other.figures["dsr_at_clusters"] > other.statistic


def test_worthless_studies_name_no_survivor():
    result = judged(evidence(returns(20)))
    assert result.survivors == ()
    assert verdict(result, "spa").figures["surviving_trials"] == 0


@pytest.mark.parametrize("broken", [{"lookahead": False}, {"parity": False}])
def test_a_failed_integrity_gate_refuses_whatever_the_statistics_say(broken):
    result = judged(evidence(returns(20, leader=0.0022)), **broken)
    assert result.stage == "refused"
    assert verdict(result, "spa").passed
    assert "was looked at" in result.summary


def test_counting_failed_trials_can_cost_production():
    excess = returns(20, leader=0.0022)
    few = verdict(judged(evidence(excess), policy=QUICK), "dsr")
    flips = few.figures["most_trials"]
    assert judged(evidence(excess, counted=flips), policy=QUICK).stage == "production"
    assert judged(evidence(excess, counted=flips + 1), policy=QUICK).stage == "staging"
    assert f"more than {flips:,} trials" in few.would_change


def test_the_years_that_are_missing_would_indeed_do():
    """The same history, repeated until it is as long as the DSR verdict asks, passes."""
    excess = returns(20, leader=0.0013)
    short = verdict(judged(evidence(excess), policy=QUICK), "dsr")
    assert not short.passed
    needed = short.figures["years_needed"]
    times = int(np.ceil(needed * 252 / DAYS))
    longer = verdict(judged(evidence(np.tile(excess, (times, 1))), policy=QUICK), "dsr")
    assert longer.passed
    shorter = judged(evidence(np.tile(excess, (times - 1, 1))), policy=QUICK)
    assert not verdict(shorter, "dsr").passed


def test_the_years_that_spa_misses_would_do_and_half_of_what_is_missing_would_not():
    excess = returns(20, seed=3, leader=0.0004)
    short = verdict(judged(evidence(excess)), "spa")
    assert not short.passed
    years, needed = (short.figures[name] for name in ("years", "years_needed"))
    assert needed > 2 * years
    long, half = (
        np.tile(excess, (int(np.ceil(times)), 1)) for times in (needed / years, needed / years / 2)
    )
    assert verdict(judged(evidence(long)), "spa").passed
    assert not verdict(judged(evidence(half)), "spa").passed


def test_the_candidate_has_the_best_sharpe_ratio_in_excess_of_the_benchmark_not_the_best_raw_one():
    given = evidence(returns(5, leader=0.001))
    raw = given.raw.copy()
    raw[:, 3] += 0.01
    result = judged(evidence(given.excess, raw=raw))
    assert result.candidate == f"{0:064x}"
    assert result.figures["best_sharpe"] == pytest.approx(
        sharpe_ratios(given.excess).max() * np.sqrt(252)
    )


def test_another_candidate_than_the_best_is_refused():
    result = judged(evidence(returns(20, leader=0.0022), candidate=4))
    assert result.stage == "refused"
    assert "the candidate 000000000000 is another one" in verdict(result, "spa").reason
    assert judged(evidence(returns(20, leader=0.0022), candidate=0)).stage == "production"


def test_a_strong_trial_beside_the_candidate_is_no_evidence_for_it():
    """Gains that follow gains flatter a Sharpe ratio; SPA must judge the one that is handed in."""
    steps = np.random.default_rng(8).normal(size=(DAYS, 2))
    clinging = np.zeros(DAYS)
    for day in range(1, DAYS):
        clinging[day] = 0.9 * clinging[day - 1] + steps[day, 0]
    both = np.column_stack((clinging, steps[:, 1]))
    both = (both - both.mean(axis=0)) / both.std(axis=0, ddof=1) * 0.01
    both += [0.00101, 0.00100]  # Sharpe ratios of 0.101 and 0.100 a day
    long = msgspec.structs.replace(POLICY.spa, mean_block=20)
    result = judge(
        evidence(both),
        lookahead=integrity("lookahead"),
        parity=integrity("parity"),
        policy=msgspec.structs.replace(POLICY, spa=long),
    )
    spa = verdict(result, "spa")
    assert result.candidate == f"{0:064x}"
    assert spa.figures["p_consistent"] < 0.01  # of the other one
    assert spa.figures["strongest_statistic"] > 2 * spa.figures["statistic"]
    assert spa.statistic > 0.05
    assert not spa.passed
    assert result.stage == "refused"
    assert result.survivors == (f"{1:064x}",)


def test_a_search_padded_with_copies_of_a_poor_trial_buys_no_lower_hurdle():
    """N grows with them, yet their spread shrinks faster than the luck of N grows."""
    honest = returns(40, seed=2, leader=0.0012)
    jitter = 1e-5 * np.random.default_rng(6).normal(size=(DAYS, 400))
    padded = np.hstack((honest, honest[:, [7]] + jitter))
    plain, bought = (
        verdict(judged(evidence(given), policy=QUICK), "dsr") for given in (honest, padded)
    )
    observed = moments(honest[:, 0])
    as_printed = [
        deflated_sharpe(observed, sharpe_ratios(given), counted=given.shape[1])
        for given in (honest, padded)
    ]
    assert as_printed[1] > as_printed[0], "without the floor copies would help"
    assert bought.statistic < plain.statistic
    assert bought.figures["hurdle"] > plain.figures["hurdle"]


def test_order_of_trials_does_not_matter():
    given = evidence(returns(12, leader=0.001))
    order = np.random.default_rng(5).permutation(12)
    turned = evidence(
        given.excess[:, order],
        raw=given.raw[:, order],
        trials=tuple(given.trials[k] for k in order),
    )
    one, other = judged(given, policy=QUICK), judged(turned, policy=QUICK)
    assert one.candidate == other.candidate
    for ours, theirs in zip(one.verdicts, other.verdicts, strict=True):
        if ours.gate == "dsr":  # the variance of the trials is a sum over them
            assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9)
        else:
            assert ours == theirs


def test_an_empty_study_is_refused_in_one_sentence():
    empty = evidence(np.empty((0, 0)))
    assert judged(empty).summary == "Refused: The study is empty: no trial was run."
    failed = evidence(np.empty((0, 0)), counted=7)
    assert "none of its 7 trials returned anything" in judged(failed).summary
    assert judged(failed).candidate is None


def test_one_trial_is_refused_however_good_it_looks():
    result = judged(evidence(returns(1, leader=0.01), counted=3))
    assert result.stage == "refused"
    assert "Only one of 3 counted trials has returns" in result.summary
    assert all(not v.passed and v.statistic is None for v in result.verdicts[2:])


def test_a_history_shorter_than_the_blocks_is_refused():
    result = judged(evidence(returns(4)[:31]))
    assert "31 sessions are too few for 16 blocks" in result.summary
    assert judged(evidence(returns(4)[:32])).verdicts[2].statistic is not None


def test_trials_that_all_lose_are_refused_with_a_p_value_of_one():
    result = judged(evidence(returns(10, skill=-0.003)))
    assert result.stage == "refused"
    assert verdict(result, "spa").statistic == 1.0
    assert "None of 10 trials earned more than the benchmark" in result.summary
    assert "More data would not help" in verdict(result, "spa").would_change


def test_trials_that_hold_the_benchmark_are_no_evidence_of_anything():
    noise = 1e-17 * np.random.default_rng(3).normal(size=(DAYS, 2)) + 1e-17
    assert "never moved against the benchmark" in judged(evidence(noise)).summary
    beside = np.hstack((returns(6, leader=0.0022), noise))
    assert judged(evidence(beside)).candidate == f"{0:064x}"


def test_losers_beside_one_that_holds_the_benchmark_are_refused():
    excess = returns(6, skill=-0.003)
    excess[:, 4] = 0.0
    result = judged(evidence(excess))
    assert result.stage == "refused"
    assert "no trial did better" in result.summary


def test_gain_without_risk_is_an_error_of_the_backtest_and_names_the_trial():
    excess = returns(3)
    excess[:, 2] = 0.0001
    with pytest.raises(GateInputInvalid, match=r"000000000000 gains 0\.0001 over the benchmark"):
        evidence(excess)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"raw": np.zeros((DAYS, 3))}, "raw ones of shape"),
        ({"benchmark": np.zeros(3)}, "benchmark returns"),
        ({"benchmark": np.full(DAYS, np.nan)}, "2001-01-01 is nan"),
        ({"counted": 3}, "3 are counted"),
        ({"trials": ("a", "a", "b", "c")}, "of which 3 distinct"),
        ({"candidate": 4}, "none of 4 trials"),
    ],
)
def test_evidence_that_contradicts_itself_is_one_clear_error(changes, says):
    with pytest.raises(GateInputInvalid, match=says):
        evidence(returns(4), **changes)


def test_a_missing_return_names_trial_and_day():
    excess = returns(4)
    excess[10, 2] = np.nan
    with pytest.raises(GateInputInvalid, match=r"trial 000000000000 on 2001-01-11 is nan"):
        evidence(excess)


def test_the_ledgers_evidence_is_judged_with_the_ledgers_count():
    given = evidence(returns(4))
    ledger = StudyEvidence(
        study="example",
        trials=9,
        names=given.trials,
        dates=given.dates,
        net=given.raw,
        benchmarks=np.repeat(given.benchmark[:, None], 4, axis=1),
    )
    ours = evidence_of(ledger, candidate=given.trials[2])
    assert (ours.counted, ours.candidate) == (9, 2)
    np.testing.assert_allclose(ours.excess, given.excess, atol=1e-15)
    assert judged(evidence_of(ledger)).figures["trials"] == 9
