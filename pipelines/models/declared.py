"""A model as a strategy declares it: features, target, learner and the years it learns from.

The platform trains it, so a trial is one declaration: nothing is fitted outside what is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pipelines.errors import ModelInvalid
from pipelines.models.learners import FOLDS, Blend, Learner, toolchain
from pipelines.study import Period

Features: TypeAlias = Callable[[Any, Any], Any]
_CENTRED = ("excess", "rank")
TargetKind: TypeAlias = Literal["excess", "rank", "grade", "up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardReturn:
    """The return after the fill, compared with the cross-section of the same date."""

    horizon: int  # sessions held, at least 1
    delay: int = 1  # sessions from decision to fill
    kind: TargetKind = "excess"
    # excess: minus the mean of the date; rank: -0.5 to 0.5; grade: 0 to grades - 1, for rankers;
    # up: 1 above the date's median, else 0
    grades: int = 5

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.delay < 0 or self.grades < 2:
            raise ModelInvalid(
                f"a target needs horizon >= 1, delay >= 0, grades >= 2; had {self.horizon}, "
                f"{self.delay}, {self.grades}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Barriers:
    """Which barrier the price touches first after the fill; widths in units of known volatility."""

    horizon: int  # sessions until the vertical barrier, at least 1
    profit: float  # barrier above, in standard deviations over the horizon, > 0
    stop: float  # barrier below, likewise
    span: int = 63  # sessions of the exponentially weighted volatility
    delay: int = 1  # sessions from decision to fill
    kind: Literal["outcome", "won"] = "outcome"  # -1, 0, 1; or 1 where profit came first, else 0

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.delay < 0 or self.span < 2:
            raise ModelInvalid(
                f"barriers need horizon >= 1, delay >= 0, span >= 2; had {self.horizon}, "
                f"{self.delay}, {self.span}"
            )
        if not (self.profit > 0 and self.stop > 0):
            raise ModelInvalid(f"barriers need positive widths, had {self.profit}, {self.stop}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model that is fitted on `window`, which lies wholly before the study's first decision.

    `features(xp, inputs)` returns shape (n, k); `decide` calls the same function and hands its
    result to the model: `inputs.ranker(features(xp, inputs))`.
    """

    features: Features
    learner: Learner | Blend
    target: ForwardReturn | Barriers
    window: Period  # decisions and label ends lie inside it
    schedule: str | None = None  # of training rows; None = the study's
    calibrated: int = 0  # purged folds behind `inputs.<name>.confidence`; 0 = none
    covered: float | None = None  # how often `inputs.<name>.interval` holds; None = there is none

    def __post_init__(self) -> None:
        if self.calibrated < 0 or self.calibrated == 1:
            raise ModelInvalid(f"calibrated must be 0, or 2 folds and more; was {self.calibrated}")
        if self.covered is None:
            return
        if not 0 < self.covered < 1:
            raise ModelInvalid(f"covered must lie between 0 and 1, was {self.covered}")
        if not (isinstance(self.target, ForwardReturn) and self.target.kind in _CENTRED):
            raise ModelInvalid(
                f"an interval about zero needs a target that zero divides: {' or '.join(_CENTRED)}"
            )

    @property
    def folds(self) -> int:
        """Return the purged folds whose unseen rows weights, confidence and interval come from."""
        return self.calibrated or FOLDS

    @property
    def identity(self) -> str:
        """Return what the fitted bytes depend on besides cell, parameters and data: the tools.

        Settings and seeds are written in the cell or are parameters, which the trial's key holds.
        """
        return toolchain()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """How sure a decision says it is, as its third output, and what follows from it."""

    of: str  # a declared model with `calibrated`, whose confidence it is
    abstains_below: float | None = None  # in 0..1; a less confident symbol gets no weight

    def __post_init__(self) -> None:
        if self.abstains_below is not None and not 0.0 <= self.abstains_below <= 1.0:
            raise ModelInvalid(f"abstains_below must lie in 0..1, was {self.abstains_below}")


@dataclass(frozen=True, slots=True)
class Untrained:
    """Stands for a declared model that nobody trained yet."""

    name: str

    def confidence(self, xp: Any, value: Any) -> Any:
        """Refuse."""
        return self(value)

    def interval(self, value: Any) -> Any:
        """Refuse."""
        return self(value)

    def clear_of_zero(self, xp: Any, value: Any) -> Any:
        """Refuse."""
        return self(value)

    def __call__(self, values: Any) -> Any:
        """Refuse."""
        raise ModelInvalid(
            f"model {self.name!r} is declared but not trained; `preview(study, strategy, on)` and "
            f"`submit(study, strategy)` train it before they decide"
        )
