"""What a model is taught: barrier labels, meta-labels, scaled targets, and what each is worth."""

from pipelines.labels.barriers import BarrierLabels, Bars, meta_labels, triple_barrier
from pipelines.labels.targets import Targets, ewm_volatility, scaled_targets
from pipelines.labels.uniqueness import average_uniqueness, concurrency, sequential_bootstrap

__all__ = [
    "BarrierLabels",
    "Bars",
    "Targets",
    "average_uniqueness",
    "concurrency",
    "ewm_volatility",
    "meta_labels",
    "scaled_targets",
    "sequential_bootstrap",
    "triple_barrier",
]
