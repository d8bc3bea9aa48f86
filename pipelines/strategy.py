"""A strategy: what a decision may see, and the pure function that decides."""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeAlias

from featurestore.features.declaration import Feature
from featurestore.features.expression import bars_of
from pipelines.errors import StrategyInvalid
from pipelines.models.declared import Confidence, Trained, Untrained
from pipelines.models.fitted import FittedEnsemble, FittedModel
from pipelines.study import Parameter
from runtime.bundles.inputs import CurrentWeights, Input, Latest, Window

Decide: TypeAlias = Callable[[Any, Any], tuple[Any, ...]]
Model: TypeAlias = FittedModel | FittedEnsemble | Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A window that ends some bars ago: `decide` sees shape (n, length), oldest bar first.

    With lag 0 the last bar is the newest one known at the decision. A negative lag would be a
    look into the future and is refused.
    """

    feature: str  # "view.field"
    length: int  # bars, at least 1
    lag: int = 0  # bars left out at the recent end, at least 0

    def __post_init__(self) -> None:
        if self.lag < 0:
            raise StrategyInvalid(
                f"history of {self.feature}: lag {self.lag} looks {-self.lag} bar(s) ahead; a "
                f"decision sees only what was known at its time, so lag must be >= 0"
            )
        if self.length < 1:
            raise StrategyInvalid(
                f"history of {self.feature}: length must be >= 1 bar, was {self.length}; "
                f"a window that ends after the decision looks ahead"
            )


class Inputs:
    """The declared inputs and models by name, as attributes: `inputs.prices`, `inputs.ranker`."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise StrategyInvalid(
                f"decide asks for the input {name!r}, which is not declared; "
                f"declared: {sorted(self._values)}"
            ) from None

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)


@dataclass(frozen=True, slots=True, init=False)
class Strategy:
    """Declared inputs, the decision function, and the parameters it was written for.

    `decide(xp, inputs)` is written against the Python array API: `xp` is NumPy in a cell and the
    tracer when the graph is made. It returns a score (n,) and a target weight (n,), n symbols, and
    a confidence (n,) in 0..1 if the strategy declares one.
    """

    inputs: Mapping[str, Input]  # what the runtime gathers
    lags: Mapping[str, int]  # bars that are dropped at the recent end of a window, by input
    decide: Decide
    parameters: Mapping[str, Parameter]
    models: Mapping[str, Model]  # what `decide` may call, by name; part of its graph
    confidence: Confidence | None  # of the third output; None = `decide` gives none

    def __init__(
        self,
        *,
        inputs: Mapping[str, Input | History | Feature],
        decide: Decide,
        parameters: Mapping[str, Parameter],
        models: Mapping[str, Model] | None = None,
        confidence: Confidence | None = None,
    ) -> None:
        if not inputs:
            raise StrategyInvalid("a strategy must declare at least one input")
        plain: dict[str, Input] = {}
        lags: dict[str, int] = {}
        for name, declared in inputs.items():
            if not name.isidentifier() or name.startswith("_"):
                raise StrategyInvalid(f"input {name!r}: use a plain name, such as prices")
            if isinstance(declared, History):
                lags[name] = declared.lag
                plain[name] = Window(
                    feature=declared.feature, length=declared.length + declared.lag
                )
            elif isinstance(declared, Feature):
                plain[name] = Latest(feature=declared.name)
            elif isinstance(declared, Window | Latest | CurrentWeights):
                plain[name] = declared
            else:
                raise StrategyInvalid(
                    f"input {name!r} is a {type(declared).__name__}; "
                    f"declare History, Window, Latest, CurrentWeights or a feature"
                )
        if not callable(decide):
            raise StrategyInvalid("decide must be a function of (xp, inputs)")
        object.__setattr__(self, "inputs", plain)
        object.__setattr__(self, "lags", {name: lag for name, lag in lags.items() if lag})
        object.__setattr__(self, "decide", decide)
        object.__setattr__(self, "parameters", dict(parameters))
        object.__setattr__(self, "models", _checked_models(models or {}, plain))
        object.__setattr__(self, "confidence", _checked_confidence(confidence, self.models))

    @property
    def longest_window(self) -> int:
        """Return the number of bars the longest declared input reads, a feature's own included."""
        return max(
            1 if isinstance(each, CurrentWeights) else bars_of(each.feature, bars)
            for each in self.inputs.values()
            for bars in [each.length if isinstance(each, Window) else 1]
        )

    def record(self, gathered: Mapping[str, Any]) -> Inputs:
        """Return what `decide` sees: lagged windows cut short, models ready to be called."""
        seen = dict(gathered)
        for name, model in self.models.items():
            seen[name] = Untrained(name) if isinstance(model, Trained) else model
        for name, lag in self.lags.items():
            seen[name] = seen[name][:, :-lag]
        return Inputs(seen)

    def with_models(self, models: Mapping[str, Model]) -> "Strategy":
        """Return the same strategy with these models in place of its own of the same names."""
        changed = copy(self)
        object.__setattr__(changed, "models", {**self.models, **models})
        return changed


def _checked_models(models: Mapping[str, Model], inputs: Mapping[str, Input]) -> dict[str, Model]:
    for name, model in models.items():
        if not name.isidentifier() or name.startswith("_") or name in inputs:
            raise StrategyInvalid(f"model {name!r}: use a plain name that no input has")
        if not isinstance(model, FittedModel | FittedEnsemble | Trained):
            raise StrategyInvalid(
                f"model {name!r} is a {type(model).__name__}; declare Trained(...) or FittedModel"
            )
    return dict(models)


def _checked_confidence(
    confidence: Confidence | None, models: Mapping[str, Model]
) -> Confidence | None:
    """Refuse a confidence that no declared model was calibrated for."""
    if confidence is None:
        return None
    model = models.get(confidence.of)
    if model is None:
        raise StrategyInvalid(
            f"the confidence is of a model {confidence.of!r}, which is not declared; "
            f"declared: {sorted(models)}"
        )
    calibrated = model.calibrated if isinstance(model, Trained) else model.calibration
    if not calibrated:
        raise StrategyInvalid(
            f"the confidence is of model {confidence.of!r}, which is not calibrated; "
            f"declare it with calibrated=5 folds"
        )
    return confidence
