"""SPA: 500 strategies x 2500 days x 1000 draws, mean block 50, against arch in the same run."""

from statistics import median
from time import process_time

import numpy as np
from arch.bootstrap import SPA

from pipelines.gates.spa import superior_ability

STRATEGIES, DAYS, DRAWS, BLOCK = 500, 2500, 1000, 50
ROUNDS = 3


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
        }
    ]
