"""Tuning with optuna: resumable through a database, every try counted, the same after a restart.

The sampler is seeded anew for each trial from (seed, number): what is proposed depends on the seed
and on the trials that came before, never on which process asked. So a search that was cut off and
resumed ends like one that was not.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from pipelines.door import answered_for, require_record
from pipelines.errors import ModelInvalid
from pipelines.models.counting import CountsTries
from pipelines.models.learners import Learner
from pipelines.models.scoring import Problem, Score, information_coefficient, split_scores
from pipelines.study import Parameter

Space: TypeAlias = Mapping[str, "Sequence[Parameter] | Between"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """A range of numbers; integers if both ends are."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ModelInvalid(f"a range needs low < high, and low > 0 on a log scale, was {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a search found."""

    learner: Learner  # with the best settings
    score: float  # mean over splits of the best trial
    tries: int  # trials finished in the storage, failed ones included
    scores: tuple[float, ...]  # of the complete ones, in order of their number


def tune(
    learner: Learner,
    space: Space,
    problem: Problem,
    *,
    name: str,
    tries: int,
    seed: int,
    counter: CountsTries | None,
    storage: str | None = None,
    score: Score = information_coefficient,
) -> Tuned:
    """Search settings by purged cross-validation.

    Args:
        learner: settings of `space` are put on top of its own.
        space: setting -> values, or a range.
        problem: rows and the splitter that scores a try.
        name: of the search; the same name in the same storage is resumed.
        tries: in total, those of earlier calls included; a try that was cut off counts as failed.
        seed: of the sampler.
        counter: who counts each try; None only where no study is concerned, never
            in a kernel or at a prompt.
        storage: SQLAlchemy URL (SQLite or PostgreSQL); None = memory. One process at a
            time works on a search: a try found running belongs to one that died.
        score: larger is better.

    Raises:
        ModelInvalid: an empty space, no try, or every try failed.
        EvaluationUnrecorded: in a kernel or at a prompt without a counter.
    """
    import optuna

    if counter is None:
        require_record("tune without counter=count_tries(study, strategy)")

    if not space or tries < 1:
        raise ModelInvalid(f"a search needs settings to search and tries >= 1, had {tries}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True
    )
    _close_abandoned(study)
    while len(study.trials) < tries:
        study.sampler = _sampler(seed, len(study.trials))
        trial = study.ask()
        chosen = {setting: _suggest(trial, setting, of) for setting, of in space.items()}
        key = counter.open({"search": name, "try": trial.number, **chosen}) if counter else ""
        tried = replace(learner, settings={**learner.settings, **chosen})
        with answered_for() if counter else nullcontext():
            value, reason = _scored(tried, problem, score)
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value)
        if counter:
            counter.close(key, f"search {name}: {reason}", failed=value is None)
    return _best(study, learner, name)


def _best(study: Any, learner: Learner, name: str) -> Tuned:
    """Return the best of a search's complete trials; ModelInvalid if there is none."""
    import optuna

    done = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    values = [float(t.value) for t in done if t.value is not None]
    if not done:
        raise ModelInvalid(
            f"search {name}: all of {len(study.trials)} tries failed; look at the settings"
        )
    best = done[int(np.argmax(values))]  # the earliest of level ones
    return Tuned(
        learner=replace(learner, settings={**learner.settings, **best.params}),
        score=max(values),
        tries=len(study.trials),
        scores=tuple(values),
    )


def _scored(learner: Learner, problem: Problem, score: Score) -> tuple[float | None, str]:
    """Return the mean score over splits, or None, with a sentence for the ledger."""
    try:
        value = float(np.mean(split_scores(learner, problem, score)))
    except ModelInvalid as error:
        return None, str(error)
    return value, f"inner score {value:.6g}"


def _close_abandoned(study: Any) -> None:
    """Fail trials that a dead process left running; they stay counted."""
    import optuna

    for trial in study.trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _sampler(seed: int, number: int) -> Any:
    import optuna

    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big"), n_startup_trials=8)


def _suggest(trial: Any, name: str, of: "Sequence[Parameter] | Between") -> Parameter:
    if not isinstance(of, Between):
        choice: Parameter = trial.suggest_categorical(name, list(of))
        return choice
    if isinstance(of.low, int) and isinstance(of.high, int):
        return int(trial.suggest_int(name, of.low, of.high, log=of.log))
    return float(trial.suggest_float(name, of.low, of.high, log=of.log))
