"""Do the gates keep their word? Studies of known worth, judged over and over.

1. SPA on worthless trials: rejections must be as frequent as the level says. With skill: power.
2. Overfitting on worthless trials: one half of all selections; with one dominant trial: none.
3. Analysts who try worthless ideas until one shines: how many are promoted with the ledger's N,
   and how many had they reported only the idea that shone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from pipelines.gates.bootstrap import Blocks, stationary_blocks
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.pbo import backtest_overfitting, judged_overfitting
from pipelines.gates.policy import GatePolicy
from pipelines.gates.sharpe import (
    deflated_sharpe,
    moments,
    probabilistic_sharpe,
    sampling_deviation,
    sharpe_ratios,
)
from pipelines.gates.spa import superior_ability_on
from pipelines.gates.stepwise import surviving_trials_on

Array = NDArray[np.float64]

DAILY = 0.01  # standard deviation of a day's excess return, fraction
COMMON = 0.5  # share of variance that trials of one study have in common
CONFIDENCE = 0.99  # of every interval
SKILLS = (0.5, 1.0, 1.5, 2.0)  # annual Sharpe ratios of the one trial that has skill
PBO_BLOCKS = 10  # 252 splits: enough for a mean over many studies
DOMINANT = 4.0  # annual Sharpe ratio nobody can miss


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something happened, beside how often it may under what is claimed."""

    hits: int
    tries: int
    low: float  # interval of the claim, shares
    high: float

    @property
    def share(self) -> float:
        """Return hits per try."""
        return self.hits / self.tries

    @property
    def holds(self) -> bool:
        """Say whether the share lies within its interval."""
        return self.low <= self.share <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The mean of a figure over studies, beside the interval of the claim."""

    value: float
    studies: int
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Say whether the mean lies within its interval."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Significance:
    """SPA and step-down testing on studies of known worth."""

    trials: int  # per study
    days: int
    draws: int
    size: Rate  # studies of worthless trials that SPA rejects
    family: Rate  # studies of worthless trials in which step-down testing keeps any
    power: dict[float, float]  # annual Sharpe ratio of the one with skill -> share found


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Probability of overfitting on studies of known worth."""

    trials: int
    days: int
    noise: Mean
    dominant: Mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysts:
    """What becomes of analysts whose ideas are all worthless; shares of them."""

    analysts: int
    most_tries: int
    days: int
    mean_tries: float
    staging: Rate  # not refused, with every try counted
    production: Rate  # promoted to production, with every try counted
    staging_self_reported: float  # had they shown their best idea as their only one
    production_self_reported: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Everything that was checked, and whether it held."""

    seed: int
    significance: Significance
    selection: Selection
    analysts: Analysts
    claims: dict[str, bool] = field(default_factory=dict)  # claim in words -> held

    @property
    def holds(self) -> bool:
        """Say whether every claim held."""
        return all(self.claims.values())


def calibrate(
    *, policy: GatePolicy, studies: int = 1000, analysts: int = 2000, seed: int = 0
) -> Calibration:
    """Run all three calibrations.

    A level explains a rate that lies within its 99 % binomial interval, or below its upper end
    where only too many are a fault; production is held to the level itself.

    Args:
        policy: thresholds of the gates; fewer resamples are drawn than it says.
        studies: simulated studies per claim, at least 20.
        analysts: simulated analysts, at least 20.
        seed: of everything that is simulated.

    Raises:
        GateInputInvalid: too few studies or analysts for an interval to mean anything.
    """
    if min(studies, analysts) < 20:
        raise GateInputInvalid(f"{studies} studies and {analysts} analysts: need 20 of each")
    significance = calibrate_significance(studies, policy=policy, seed=seed)
    selection = calibrate_selection(max(20, studies // 5), seed=seed)
    simulated = simulate_analysts(analysts, policy=policy, seed=seed)
    level = f"{100 * policy.spa.alpha:g} %"
    return Calibration(
        seed=seed,
        significance=significance,
        selection=selection,
        analysts=simulated,
        claims={
            f"SPA rejects worthless studies {level} of the time": significance.size.holds,
            f"step-down testing keeps worthless trials no more often than {level} explains": (
                significance.family.share <= significance.family.high
            ),
            "PBO of worthless trials is one half": selection.noise.holds,
            "PBO beside one dominant trial is near zero": selection.dominant.holds,
            f"worthless analysts pass SPA no more often than {level} explains": (
                simulated.staging.share <= simulated.staging.high
            ),
            f"at most {level} of worthless analysts reach production": (
                simulated.production.share <= policy.spa.alpha
            ),
        },
    )


def calibrate_significance(
    studies: int,
    *,
    policy: GatePolicy,
    seed: int,
    trials: int = 20,
    days: int = 756,
    draws: int = 199,
) -> Significance:
    """Count rejections of SPA and survivors of step-down testing.

    Args:
        studies: simulated studies under the null, and as many for each skill.
        policy: its alpha and block rule.
        seed: of returns and resamples.
        trials, days, draws: shape of a study, and resamples B.
    """
    size = family = 0
    found = dict.fromkeys(SKILLS, 0)
    for number, (generator, values) in enumerate(_studies(studies, trials, days, seed=(seed, 1))):
        block = policy.spa.block(values)
        blocks = _blocks(generator, days, block, draws)
        size += _rejects(values, blocks, block, policy)
        steps = surviving_trials_on(values, blocks, mean_block=block)
        family += bool(steps.survivors(policy.spa.alpha))
        if number % 4 == 0:  # power is no claim, a quarter of the studies will do
            for skill in SKILLS:
                found[skill] += _rejects(_with_skill(values, skill, policy), blocks, block, policy)
    quarter = -(-studies // 4)
    return Significance(
        trials=trials,
        days=days,
        draws=draws,
        size=_rate(size, studies, policy.spa.alpha),
        family=_rate(family, studies, policy.spa.alpha),
        power={skill: hits / quarter for skill, hits in found.items()},
    )


def calibrate_selection(studies: int, *, seed: int, trials: int = 20, days: int = 750) -> Selection:
    """Average the probability of overfitting over studies of noise, and beside a dominant trial.

    Args:
        studies: simulated studies of each kind.
        seed: of returns.
        trials, days: shape of a study.
    """
    noise, dominant = np.empty(studies), np.empty(studies)
    for number, (_, values) in enumerate(_studies(studies, trials, days, seed=(seed, 2))):
        noise[number] = backtest_overfitting(values, blocks=PBO_BLOCKS).pbo
        values[:, 0] += DOMINANT / sqrt(252) * DAILY
        dominant[number] = backtest_overfitting(values, blocks=PBO_BLOCKS).pbo
    margin = 3.3 * float(noise.std(ddof=1)) / sqrt(studies)  # 99.9 % of a normal mean
    return Selection(
        trials=trials,
        days=days,
        noise=Mean(value=float(noise.mean()), studies=studies, low=0.5 - margin, high=0.5 + margin),
        dominant=Mean(value=float(dominant.mean()), studies=studies, low=0.0, high=0.02),
    )


def simulate_analysts(
    analysts: int,
    *,
    policy: GatePolicy,
    seed: int,
    most_tries: int = 500,
    days: int = 756,
    draws: int = 199,
) -> Analysts:
    """Promote or refuse analysts of worthless ideas, with the ledger's N and with their own.

    Each tries 1 to `most_tries` ideas of zero expected excess return and hands in the best.
    With the ledger every try is judged: the ladder's rules, so one idea alone is refused. Self-
    reported, the best idea is shown as the only one: SPA of one, and the probabilistic Sharpe ratio
    in place of the deflated one; overfitting is a matter of choice and cannot be asked.

    Args:
        analysts: how many.
        policy: thresholds.
        seed: of ideas, returns and resamples.
        most_tries: per analyst; drawn evenly from 1 to this.
        days, draws: sessions of history, and resamples B.
    """
    tries = np.random.default_rng([seed, 3]).integers(1, most_tries + 1, analysts)
    staging = production = staging_alone = production_alone = 0
    for number, ideas in enumerate(tries):
        generator = np.random.default_rng([seed, 3, number])
        values = _returns(generator, days, int(ideas))
        block = policy.spa.block(values)
        blocks = _blocks(generator, days, block, draws)
        sharpes = sharpe_ratios(values)
        best = moments(values[:, [int(sharpes.argmax())]])
        alone = _rejects(values[:, [int(sharpes.argmax())]], blocks, block, policy)
        staging_alone += alone
        sure = probabilistic_sharpe(best, hurdle=0.0) >= policy.dsr.confidence
        production_alone += alone and sure
        if ideas > 1 and _rejects(values, blocks, block, policy):
            staging += 1
            floor = sampling_deviation(days)
            deflated = deflated_sharpe(best, sharpes, counted=int(ideas), floor=floor)
            production += deflated >= policy.dsr.confidence and (
                judged_overfitting(values, blocks=policy.pbo.blocks).judged <= policy.pbo.ceiling
            )
    return Analysts(
        analysts=analysts,
        most_tries=most_tries,
        days=days,
        mean_tries=float(tries.mean()),
        staging=_rate(staging, analysts, policy.spa.alpha),
        production=_rate(production, analysts, policy.spa.alpha),
        staging_self_reported=staging_alone / analysts,
        production_self_reported=production_alone / analysts,
    )


def _studies(
    studies: int, trials: int, days: int, *, seed: tuple[int, int]
) -> Iterator[tuple[np.random.Generator, Array]]:
    """Yield a generator and worthless returns, shape (days, trials), for each study."""
    for number in range(studies):
        generator = np.random.default_rng([*seed, number])
        yield generator, _returns(generator, days, trials)


def _returns(generator: np.random.Generator, days: int, trials: int) -> Array:
    """Daily excess returns of zero mean with a factor in common, shape (days, trials)."""
    values = generator.standard_normal((days, trials))
    values *= sqrt(1 - COMMON)
    values += sqrt(COMMON) * generator.standard_normal((days, 1))
    values *= DAILY
    return values


def _with_skill(values: Array, sharpe: float, policy: GatePolicy) -> Array:
    skilled = values.copy()
    skilled[:, 0] += sharpe / sqrt(policy.sessions_per_year) * DAILY
    return skilled


def _blocks(generator: np.random.Generator, days: int, block: int, draws: int) -> Blocks:
    seed = int(generator.integers(2**31))
    return stationary_blocks(days, mean_block=block, draws=draws, seed=seed)


def _rejects(values: Array, blocks: Blocks, block: int, policy: GatePolicy) -> bool:
    test = superior_ability_on(values, blocks, mean_block=block).studentised
    return test.p_consistent <= policy.spa.alpha


def _rate(hits: int, tries: int, claim: float) -> Rate:
    """Return a rate beside the binomial interval of what is claimed."""
    from scipy.stats import binom

    tail = (1 - CONFIDENCE) / 2
    low, high = binom.ppf((tail, 1 - tail), tries, claim) / tries
    return Rate(hits=hits, tries=tries, low=float(low), high=float(high))
