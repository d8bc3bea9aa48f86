"""What one bundle proposes at one tick: what it saw, what its graph said, how old the data was.

Nothing of the account but its current weights is looked at, so bundles propose independently and
share what they read (`runtime.bundles.inputs.SharedReads`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from featurestore.features.declaration import Source
from featurestore.features.expression import sources_of
from runtime.bundles.bundle import LoadedBundle
from runtime.bundles.inference import Decided
from runtime.bundles.inputs import Array, CurrentWeights, SharedReads, gather
from runtime.guardrails import FeatureAge


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One bundle's answer, before money and limits are looked at."""

    bundle: LoadedBundle
    inputs: Mapping[str, Array]  # exactly what the graph was given
    current: Array  # (n,) weights held before
    decided: Decided
    features: Mapping[str, FeatureAge]  # of every source that was read

    @property
    def weights(self) -> dict[str, float]:
        """Return the target weight per symbol, fraction of equity."""
        names = self.bundle.manifest.symbols
        return dict(zip(names, self.decided.weight.tolist(), strict=True))


def propose(
    bundle: LoadedBundle,
    reads: SharedReads,
    *,
    at: datetime,
    current: Array,
    freshness: Mapping[str, timedelta],
) -> Proposal:
    """Ask a bundle what it wants.

    Args:
        bundle: verified and loaded.
        reads: the store, shared between the bundles of a tick.
        at: UTC decision time.
        current: drifted weights held at `at`, shape (n,) in the order of the bundle's symbols.
        freshness: view -> age allowed.

    Raises:
        HistoryMissing: a bar is absent or not yet known.
        DecisionInvalid: an input or an output is not what it must be.
    """
    inputs = gather(reads, bundle.inputs, bundle.manifest.symbols, at=at, current=current)
    return Proposal(
        bundle=bundle,
        inputs=inputs,
        current=current,
        decided=bundle.session.run(inputs),
        features=feature_ages(bundle, reads, freshness, at),
    )


def feature_ages(
    bundle: LoadedBundle, reads: SharedReads, freshness: Mapping[str, timedelta], at: datetime
) -> dict[str, FeatureAge]:
    """Say of everything read, computed features' sources too, when its oldest symbol changed."""
    symbols, ages = bundle.manifest.symbols, {}
    declared = [
        one.feature for one in bundle.inputs.values() if not isinstance(one, CurrentWeights)
    ]
    for source in _read_by(tuple(declared)):
        names = symbols if source.entity is None else (source.entity,)
        allowed = freshness.get(source.view)
        ages[source.name] = FeatureAge(
            known_at=reads.oldest(source.feature, names, at=at),
            allowed=None if allowed is None else allowed.total_seconds(),
        )
    return ages


@lru_cache(maxsize=256)  # one entry per list of inputs; what a name reads never changes
def _read_by(features: tuple[str, ...]) -> tuple[Source, ...]:
    """Return everything of the lake that features are computed from, in order of name."""
    found = {source for feature in features for source in sources_of(feature)}
    return tuple(sorted(found, key=str))
