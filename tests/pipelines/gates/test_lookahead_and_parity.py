"""Look-ahead and parity: peeks are found and named, bits are compared as bits."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import HistoryMissing
from featurestore.universes import US_LARGE_CAPS
from pipelines.backtest import Backtest, backtest
from pipelines.compile import compile_strategy, decide_with_numpy
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.integrity import integrity_verdicts
from pipelines.gates.lookahead import find_peeks, lookahead_verdict, sampled_times
from pipelines.gates.observe import Observation, first_difference
from pipelines.gates.parity import (
    PathFinding,
    TwinFinding,
    changed_order,
    compare_twin,
    parity_verdict,
)
from pipelines.gates.policy import default_policy
from pipelines.strategy import Strategy
from runtime.bundles.contract import GateVerdict
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import CurrentWeights, Latest, Window
from tests.fakes.array_reader import ArrayReader, random_reader
from tests.fakes.studies import FEATURE, momentum, small_study

SYMBOLS = US_LARGE_CAPS.symbols
POLICY = default_policy()
START = datetime(2001, 1, 31, 21, tzinfo=UTC)
TIMES = tuple(START + timedelta(days=30 * k) for k in range(40))
NAMES = ("AAA", "BBB", "CCC")


class ForgetfulReader(ArrayReader):
    """An array reader that can forget what came later."""

    def truncated(self, at: datetime) -> "ForgetfulReader":
        kept = sum(session.close <= at for session in self.sessions)
        return replace(self, sessions=self.sessions[:kept], values=self.values[:kept])


class PeekingReader(ForgetfulReader):
    """Answers with windows that end one bar too late, where there is one."""

    def window(self, feature, symbols, *, length, at):
        late = next((s.close for s in self.sessions if s.close > at), at)
        return super().window(feature, symbols, length=length, at=late)


@pytest.fixture(scope="module")
def honest() -> ForgetfulReader:
    plain = random_reader(SYMBOLS, date(2000, 1, 3), date(2003, 12, 31), seed=7, feature=FEATURE)
    return ForgetfulReader(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})


GRAPH = compile_strategy(momentum(21, 3), len(SYMBOLS))


def integrity(reader, *, result: Backtest | None = None, tested_on=None, twin=None):
    """Judge momentum: backtested on one reader, repeated by the runtime on another."""
    strategy, study, session = momentum(21, 3), small_study(), DecisionSession(GRAPH)
    if result is None:
        result = backtest(session, strategy.inputs, tested_on or reader, study, study.research)
    return integrity_verdicts(
        result,
        strategy.inputs,
        DecisionSession(GRAPH),
        reader,
        rebuild=lambda past: (strategy.inputs, session),
        twin=twin or (lambda gathered: decide_with_numpy(strategy, gathered)),
        policy=POLICY,
    )


def test_an_honest_strategy_passes_both_gates(honest):
    lookahead, parity = integrity(honest)
    assert lookahead.passed, lookahead.reason
    assert parity.passed, parity.reason
    assert (lookahead.statistic, lookahead.figures["dates_checked"]) == (0.0, 23)
    assert parity.figures["dates_compared"] == 23
    assert parity.statistic <= 1e-9


def test_a_reader_that_peeks_one_bar_ahead_is_caught_and_the_input_named(honest):
    peeking = PeekingReader(**{n: getattr(honest, n) for n in honest.__dataclass_fields__})
    lookahead, _ = integrity(peeking)
    assert not lookahead.passed
    assert lookahead.figures["input"] == "prices"
    assert lookahead.figures["symbol"] == SYMBOLS[0]
    assert lookahead.figures["first_peek"].startswith("2001-01-31")
    assert f"prices of {SYMBOLS[0]}" in lookahead.reason


def test_a_backtest_on_other_inputs_than_the_runtime_sees_breaks_parity(honest):
    peeking = PeekingReader(**{n: getattr(honest, n) for n in honest.__dataclass_fields__})
    lookahead, parity = integrity(honest, tested_on=peeking)
    assert lookahead.passed
    assert not parity.passed
    assert parity.figures["dates_different"] == 23
    assert "first on 2001-01-31" in parity.reason


@pytest.mark.parametrize("name", ["scores", "weights"])
def test_a_single_bit_between_backtest_and_runtime_breaks_parity(honest, name):
    study, session = small_study(), DecisionSession(GRAPH)
    result = backtest(session, momentum(21, 3).inputs, honest, study, study.research)
    changed = getattr(result, name).copy()
    changed[5, 2] = np.nextafter(changed[5, 2], 1.0)
    _, parity = integrity(honest, result=replace(result, **{name: changed}))
    assert not parity.passed
    assert parity.figures["dates_different"] == 1
    assert f"{name[:-1]} of {SYMBOLS[2]}" in parity.reason


def test_other_inputs_with_the_same_decision_break_parity(honest):
    study, session = small_study(), DecisionSession(GRAPH)
    result = backtest(session, momentum(21, 3).inputs, honest, study, study.research)
    hashes = ("0" * 64, *result.inputs_hash[1:])
    _, parity = integrity(honest, result=replace(result, inputs_hash=hashes))
    assert "other digest" in parity.reason


def test_a_twin_off_by_more_than_the_tolerance_breaks_parity(honest):
    def off(gathered):
        score, weight = decide_with_numpy(momentum(21, 3), gathered)
        return score + 1e-6, weight

    _, parity = integrity(honest, twin=off)
    assert not parity.passed
    assert parity.statistic == pytest.approx(1e-6, rel=1e-3)
    assert "NumPy and graph differ by" in parity.reason


def observation(at: datetime = START, **changes) -> Observation:
    base = {
        "inputs": {"a": np.zeros((3, 4)), "b": np.ones(3)},
        "score": np.array([0.1, 0.2, 0.3]),
        "weight": np.array([0.5, 0.5, 0.0]),
    }
    return Observation(at=at, **base | changes)


def peeks(truncated) -> GateVerdict:
    return lookahead_verdict(TIMES, observation, truncated, NAMES, policy=POLICY.lookahead)


def test_a_decision_that_needs_the_future_is_a_peek():
    def blind(at: datetime) -> Observation:
        raise HistoryMissing(f"prices of BBB: no bar after {at:%Y-%m-%d}")

    verdict = peeks(blind)
    assert verdict.statistic == 24
    assert "no bar after 2001-01-31" in verdict.reason


def test_the_first_sampled_date_with_a_peek_is_named():
    def late(at: datetime) -> Observation:
        score = np.array([0.1, 0.2, 0.3 if at < TIMES[30] else 0.4])
        return observation(at, score=score)

    verdict = peeks(late)
    chosen = sampled_times(TIMES, samples=24, seed=POLICY.lookahead.seed)
    first = next(at for at in chosen if at >= TIMES[30])
    assert verdict.figures["first_peek"] == first.isoformat()
    assert "score of CCC (0.3 against 0.4)" in verdict.reason


@pytest.mark.parametrize(
    ("changes", "what", "symbol"),
    [
        ({"inputs": {"a": np.zeros((3, 4)), "b": np.array([1, 1, 1.5])}}, "b", "CCC"),
        ({"inputs": {"a": np.zeros((3, 5)), "b": np.ones(3)}}, "a", "all"),
        ({"inputs": {"a": np.zeros((3, 4))}}, "b", "all"),
        ({"inputs": {"a": np.full((3, 4), -0.0), "b": np.ones(3)}}, "a", "AAA"),
        ({"score": np.array([0.1, np.nan, 0.3])}, "score", "BBB"),
        ({"weight": np.array([0.5, 0.5, -0.0])}, "weight", "CCC"),
    ],
)
def test_every_kind_of_difference_is_seen(changes, what, symbol):
    difference = first_difference(observation(), observation(**changes), NAMES)
    assert difference is not None
    assert (difference.what, difference.symbol) == (what, symbol)
    assert first_difference(observation(**changes), observation(**changes), NAMES) is None


@given(count=st.integers(1, 60), samples=st.integers(1, 30), seed=st.integers(0, 99))
def test_samples_ascend_without_repeats_and_hold_both_ends(count, samples, seed):
    times = tuple(START + timedelta(days=k) for k in range(count))
    chosen = sampled_times(times, samples=samples, seed=seed)
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(times)
    assert chosen[-1] == times[-1]
    if samples > 1:
        assert chosen[0] == times[0]
        assert len(chosen) == min(count, samples)


def test_no_decision_is_one_clear_error():
    with pytest.raises(GateInputInvalid, match="ascending decision times, was given 0"):
        find_peeks(sampled_times((), samples=3, seed=1), observation, observation, NAMES)


@given(seed=st.integers(0, 10**6), size=st.integers(1, 12))
def test_changed_order_means_that_some_pair_stands_the_other_way_round(seed, size):
    generator = np.random.default_rng(seed)
    one, other = (generator.integers(0, 4, size).astype(float) for _ in range(2))
    pairs = [(i, j) for i in range(size) for j in range(size)]
    expected = any(one[i] < one[j] and other[i] > other[j] for i, j in pairs)
    assert changed_order(one, other) == expected


def test_scores_that_change_order_break_parity_within_tolerance():
    def swapped(inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([0.1 + 1e-12, 0.1, 0.3]), np.array([0.5, 0.5, 0.0])

    close = observation(score=np.array([0.1, 0.1 + 1e-12, 0.3]))
    finding = compare_twin([close], swapped)
    assert finding.worst < 1e-9
    verdict = parity_verdict(
        finding, PathFinding(decisions=1, differences=()), policy=POLICY.parity
    )
    assert not verdict.passed
    assert "scores change order" in verdict.reason


def test_a_twin_that_is_not_finite_or_misshapen_breaks_parity():
    for score in (np.array([np.nan, 0.2, 0.3]), np.array([0.1, 0.2])):
        finding = compare_twin([observation()], lambda _, s=score: (s, np.array([0.5, 0.5, 0.0])))
        path = PathFinding(decisions=1, differences=())
        assert not parity_verdict(finding, path, policy=POLICY.parity).passed


def test_parity_over_no_decision_is_no_parity():
    nothing = TwinFinding(decisions=0, worst=0.0, worst_at=None, reordered=())
    path = PathFinding(decisions=0, differences=())
    assert not parity_verdict(nothing, path, policy=POLICY.parity).passed


def test_the_digest_covers_windows_latest_values_and_current_weights(honest):
    def decide(xp, inputs):
        score = inputs.close / inputs.prices[:, 0] + inputs.held
        return score, 0.0 * score + 0.05

    strategy = Strategy(
        inputs={
            "prices": Window(feature=FEATURE, length=5),
            "close": Latest(feature=FEATURE),
            "held": CurrentWeights(),
        },
        decide=decide,
        parameters={},
    )
    study = small_study()
    session = DecisionSession(compile_strategy(strategy, len(SYMBOLS)))
    result = backtest(session, strategy.inputs, honest, study, study.research)
    lookahead, parity = integrity_verdicts(
        result,
        strategy.inputs,
        session,
        honest,
        rebuild=lambda past: (strategy.inputs, session),
        twin=lambda gathered: decide_with_numpy(strategy, gathered),
        policy=POLICY,
    )
    assert lookahead.passed, lookahead.reason
    assert parity.passed, parity.reason
