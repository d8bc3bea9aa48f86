"""Parameter sweeps in one compiled pass: thousands of configurations in the time of a glance."""

from pipelines.grid.crossover import Crossovers, crossovers, window_pairs
from pipelines.grid.record import RecordedGrid, submit_crossovers

__all__ = ["Crossovers", "RecordedGrid", "crossovers", "submit_crossovers", "window_pairs"]
