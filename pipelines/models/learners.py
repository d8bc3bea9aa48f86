"""Learners by name, from scikit-learn, LightGBM and XGBoost: equal data give equal models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelInvalid
from pipelines.study import Parameter

Array = NDArray[np.float64]
Kind: TypeAlias = Literal[
    "lightgbm", "lightgbm_ranker", "lightgbm_classifier", "xgboost", "random_forest", "ridge",
    "logistic",
]  # fmt: skip
TREES = ("lightgbm", "lightgbm_ranker", "lightgbm_classifier", "xgboost", "random_forest")
_PACKAGES: dict[str, str] = {
    **dict.fromkeys(("lightgbm", "lightgbm_ranker", "lightgbm_classifier"), "lightgbm"),
    "xgboost": "xgboost-cpu",
    **dict.fromkeys(("random_forest", "ridge", "logistic"), "scikit-learn"),
}


FOLDS = 5  # purged folds of what is learnt from rows a model did not see, if none are named


@cache
def toolchain() -> str:
    """Return name and version of every library that fits or exports a model."""
    packages = sorted({*_PACKAGES.values(), "onnxmltools", "skl2onnx", "onnx"})
    return ", ".join(f"{package} {version(package)}" for package in packages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """What is fitted, with which settings; the same data give the same model to the bit."""

    kind: Kind
    settings: Mapping[str, Parameter] = field(default_factory=dict)  # as the library names them
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _PACKAGES:
            raise ModelInvalid(f"no learner {self.kind!r}; there are: {', '.join(_PACKAGES)}")

    @property
    def described(self) -> str:
        """Return everything that is asked for, as one text."""
        return f"{self.kind} {sorted(self.settings.items())} seed {self.seed}"

    @property
    def classifies(self) -> bool:
        """Say whether the model gives the probability of class 1."""
        return self.kind in ("lightgbm_classifier", "logistic")

    @property
    def door(self) -> Literal["float32", "float64"]:
        """Return the type features are cast to: trees split on float32, lines want all bits."""
        return "float32" if self.kind in TREES else "float64"

    def fit(
        self,
        X: Array,
        y: Array,
        *,
        weights: Array | None = None,
        groups: NDArray[np.int64] | None = None,
    ) -> Any:
        """Return a fitted estimator; `groups` (sizes of consecutive cross-sections) for rankers.

        Raises:
            ModelInvalid: values that are not finite, or settings the library refuses.
        """
        if X.ndim != 2 or y.shape != (len(X),) or not len(X):
            raise ModelInvalid(f"features of shape {X.shape} do not fit targets of {y.shape}")
        if not (np.isfinite(X.astype(self.door)).all() and np.isfinite(y).all()):
            raise ModelInvalid("features and targets must be finite")
        options: dict[str, Any] = {} if weights is None else {"sample_weight": weights}
        if self.kind == "ridge" or self.kind == "logistic":
            options = {} if weights is None else {f"{self.kind}__sample_weight": weights}
        if self.kind == "lightgbm_ranker":
            options["group"] = groups
            if groups is None or groups.sum() != len(X):
                raise ModelInvalid("a ranker needs the sizes of its cross-sections, adding up to E")
        target = y.astype(np.int64) if self.classifies or groups is not None else y
        try:
            fitted = self.estimator().fit(X, target, **options)
        except (TypeError, ValueError) as error:
            raise ModelInvalid(f"{self.kind} with {dict(self.settings)}: {error}") from error
        return fitted

    def estimator(self) -> Any:
        """Return an estimator that is not fitted yet; one thread, seeded."""
        given = dict(self.settings)
        match self.kind:
            case "lightgbm" | "lightgbm_ranker" | "lightgbm_classifier":
                import lightgbm

                names = {
                    "lightgbm": "LGBMRegressor",
                    "lightgbm_ranker": "LGBMRanker",
                    "lightgbm_classifier": "LGBMClassifier",
                }
                fixed = {"deterministic": True, "force_row_wise": True, "verbose": -1}
                maker = getattr(lightgbm, names[self.kind])
                return maker(**fixed, n_jobs=1, random_state=self.seed, **given)
            case "xgboost":
                import xgboost

                return xgboost.XGBRegressor(
                    n_jobs=1, random_state=self.seed, tree_method="exact", **given
                )
            case "random_forest":
                from sklearn.ensemble import RandomForestRegressor

                return RandomForestRegressor(n_jobs=1, random_state=self.seed, **given)
            case _:
                from sklearn.linear_model import LogisticRegression, Ridge
                from sklearn.pipeline import Pipeline
                from sklearn.preprocessing import StandardScaler

                line = Ridge if self.kind == "ridge" else LogisticRegression
                return Pipeline([("scale", StandardScaler()), (self.kind, line(**given))])

    def predict(self, estimator: Any, X: Array) -> Array:
        """Return the Python model's value per row, shape (E,): what the graph is compared with."""
        seen = np.asarray(X, dtype=np.float64)
        if self.classifies:
            return np.asarray(estimator.predict_proba(seen)[:, 1], dtype=np.float64)
        return np.asarray(estimator.predict(seen), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """Several learners of one target, mixed by what they predict of rows they did not see.

    They must speak in one unit: regressors of the same target, or probabilities and regressors of
    a target that is 0 or 1.
    """

    members: tuple[Learner, ...]  # two or more; bags are one learner with several seeds
    weighing: Literal["stacked", "alike"] = "stacked"  # by skill on unseen rows, or in equal parts

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ModelInvalid(f"a blend needs two learners or more, had {len(self.members)}")
        if any(one.kind == "lightgbm_ranker" for one in self.members):
            raise ModelInvalid(
                "a blend cannot hold a lightgbm_ranker: its scores have no unit to be mixed in; "
                "use lightgbm on the rank target"
            )
        if len({one.described for one in self.members}) < len(self.members):
            raise ModelInvalid("a blend holds one learner twice; give bags different seeds")

    @property
    def described(self) -> str:
        """Return everything that is asked for, as one text."""
        return f"{self.weighing} of {' and '.join(one.described for one in self.members)}"
