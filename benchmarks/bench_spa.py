"""SPA: 500 strategies x 2500 days x 1000 draws, mean block 50, against arch in the same run.

The studentised form and step-down testing stand beside our own raw form, at most 1.5 times as dear.
"""

from collections.abc import Callable
from statistics import median
from time import process_time

import numpy as np
from arch.bootstrap import SPA
from numpy.typing import NDArray

from pipelines.gates.bootstrap import stationary_blocks
from pipelines.gates.spa import raw_ability_on, superior_ability, superior_ability_on
from pipelines.gates.stepwise import surviving_trials_on

STRATEGIES, DAYS, DRAWS, BLOCK = 500, 2500, 1000, 50
ROUNDS = 3
ALLOWED = 1.5  # times the raw form


def run() -> list[dict[str, object]]:
    """Time both in CPU time (neighbours on the machine do not count), interleaved.

    arch gives the raw form, ours the raw and the studentised one.
    """
    excess = 0.01 * np.random.default_rng(1).normal(size=(DAYS, STRATEGIES))
    benchmark = np.zeros(DAYS)
    superior_ability(excess[:100], mean_block=5, draws=10, seed=1)  # compiled before the clock
    ours, peer = [], []
    for seed in range(ROUNDS):
        start = process_time()
        oracle = SPA(benchmark, -excess, block_size=BLOCK, reps=DRAWS, seed=seed, studentize=False)
        oracle.compute()
        peer.append(process_time() - start)
        for _ in range(3):
            start = process_time()
            superior_ability(excess, mean_block=BLOCK, draws=DRAWS, seed=seed)
            ours.append(process_time() - start)
    mine, theirs = 1000 * median(ours), 1000 * median(peer)
    return [
        {
            "name": f"SPA, {STRATEGIES} strategies x {DAYS} days x {DRAWS} draws",
            "ours": mine,
            "peer": theirs,
            "peer_name": "arch, raw form only",
            "ratio": theirs / mine,
            "unit": "CPU ms",
        },
        *_beside_raw(excess),
    ]


def _beside_raw(excess: NDArray[np.float64]) -> list[dict[str, object]]:
    """Time the three forms on the same resamples, interleaved."""
    blocks = stationary_blocks(DAYS, mean_block=BLOCK, draws=DRAWS, seed=1)
    forms: dict[str, Callable[[], object]] = {
        "raw": lambda: raw_ability_on(excess, blocks, mean_block=BLOCK),
        "SPA, raw and studentised": lambda: superior_ability_on(excess, blocks, mean_block=BLOCK),
        "StepM, studentised": lambda: surviving_trials_on(excess, blocks, mean_block=BLOCK),
    }
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(1 + 5 * ROUNDS):
        for name, form in forms.items():
            start = process_time()
            form()
            taken[name].append(process_time() - start)
    medians = {name: 1000 * median(times[1:]) for name, times in taken.items()}
    limit = ALLOWED * medians.pop("raw")
    return [
        {
            "name": f"{name}, same shape",
            "ours": mine,
            "peer": limit,
            "peer_name": f"limit, {ALLOWED} x our raw SPA",
            "ratio": limit / mine,
            "unit": "CPU ms",
        }
        for name, mine in medians.items()
    ]
