"""Where a trial's return came from: market, signal, timing, costs; and which names."""

from pipelines.attribution.decompose import Attribution, attribute, linked
from pipelines.attribution.tilts import Tilts, tilts

__all__ = ["Attribution", "Tilts", "attribute", "linked", "tilts"]
