"""Which configurations a sweep tries: optuna proposes points of the declared search space."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pipelines.errors import SweepFailed
from pipelines.ledger.records import Value

SamplerName: TypeAlias = Literal["grid", "random", "tpe"]
# Points that are asked for before any of them is told: fixed, so that the number of workers and
# the order in which they finish cannot change what is proposed next.
BATCH = 8


class Proposer:
    """Asks optuna for batches of points and tells it their values."""

    def __init__(
        self,
        search_space: Mapping[str, Sequence[Value]],
        *,
        sampler: SamplerName,
        n_trials: int | None,
        seed: int,
    ) -> None:
        """Set the sampler up.

        Args:
            search_space: parameter -> every value it may take, as the study declares it.
            sampler: "grid" tries every point once; "random" and "tpe" draw `n_trials` of them.
            n_trials: how many; for "grid" None means all, a number the first so many of its
                shuffled order.
            seed: of the sampler.

        Raises:
            SweepFailed: nothing to search, or "random"/"tpe" without a number of trials.
        """
        import optuna

        if not search_space:
            raise SweepFailed("the study declares no search space; there is nothing to sweep")
        points = 1
        for values in search_space.values():
            points *= len(values)
        if n_trials is None and sampler != "grid":
            raise SweepFailed(f"say how many trials the {sampler} sampler may draw (n_trials)")
        if n_trials is not None and n_trials < 1:
            raise SweepFailed(f"n_trials must be at least 1, was {n_trials}")
        self.total = points if n_trials is None else n_trials
        if sampler == "grid":
            self.total = min(self.total, points)
        self._batch = self.total if sampler == "grid" else BATCH
        self._space = {name: list(values) for name, values in search_space.items()}
        self._asked: dict[int, Any] = {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study: Any = optuna.create_study(
            direction="maximize", sampler=_sampler(sampler, self._space, seed)
        )

    def batch(self) -> dict[int, dict[str, Value]]:
        """Return the next points by number; empty when all were proposed."""
        points: dict[int, dict[str, Value]] = {}
        while len(points) < self._batch and len(self._asked) < self.total:
            trial = self._study.ask()
            points[trial.number] = {
                name: trial.suggest_categorical(name, values)
                for name, values in self._space.items()
            }
            self._asked[trial.number] = trial
        return points

    def tell(self, values: Mapping[int, float | None]) -> None:
        """Take in the values of a batch, None for a trial that gave none; in order of number."""
        from optuna.trial import TrialState

        for number in sorted(values):
            value = values[number]
            if value is None:
                self._study.tell(self._asked[number], state=TrialState.FAIL)
            else:
                self._study.tell(self._asked[number], value)


def _sampler(name: SamplerName, space: dict[str, list[Value]], seed: int) -> Any:
    from optuna.samplers import GridSampler, RandomSampler, TPESampler

    class FullGrid(GridSampler):
        """Optuna's grid; the end is counted here, since `stop` exists inside `optimize` only."""

        def after_trial(self, *_: object, **__: object) -> None:
            """Do nothing."""

    match name:
        case "grid":
            return FullGrid(space, seed=seed)
        case "random":
            return RandomSampler(seed=seed)
        case "tpe":
            return TPESampler(seed=seed, constant_liar=True)
