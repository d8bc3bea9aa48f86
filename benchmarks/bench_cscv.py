"""CSCV: 16 blocks, 200 trials x 2496 days, against the paper written plainly, and limits."""

import tracemalloc
from itertools import combinations
from statistics import median
from time import process_time

import numpy as np
from numpy.typing import NDArray

from pipelines.gates.pbo import backtest_overfitting

TRIALS, DAYS, BLOCKS = 200, 2496, 16
SHARE = 99  # the plain version runs every 99th split; its time is scaled to all of them
LIMIT = 20.0  # ms
MANY_BLOCKS, MANY_LIMIT = 20, 500.0  # ms
MEMORY = 100.0  # MB
ROUNDS = 3


def plain(values: NDArray[np.float64]) -> int:
    """Bailey et al. (2017), section 3, split by split with NumPy; returns the splits it ran."""
    parts = np.array_split(values, BLOCKS)
    splits = list(combinations(range(BLOCKS), BLOCKS // 2))[::SHARE]
    logits = []
    for chosen in splits:
        inside = np.concatenate([parts[s] for s in chosen])
        outside = np.concatenate([parts[s] for s in range(BLOCKS) if s not in chosen])
        best = (inside.mean(axis=0) / inside.std(axis=0, ddof=1)).argmax()
        ratios = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        rank = (ratios <= ratios[best]).sum() / (TRIALS + 1)
        logits.append(np.log(rank / (1 - rank)))
    return len(splits)


def run() -> list[dict[str, object]]:
    """Time both in CPU time (neighbours on the machine do not count), interleaved."""
    values = 0.01 * np.random.default_rng(1).normal(size=(DAYS, TRIALS))
    splits = backtest_overfitting(values, blocks=BLOCKS).splits  # compiled before the clock
    ours, peer = [], []
    for _ in range(ROUNDS):
        start = process_time()
        done = plain(values)
        peer.append((process_time() - start) * splits / done)
        for _ in range(5):
            start = process_time()
            backtest_overfitting(values, blocks=BLOCKS)
            ours.append(process_time() - start)
    mine, theirs = 1000 * median(ours), 1000 * median(peer)
    name = f"CSCV, {BLOCKS} blocks, {TRIALS} trials x {DAYS} days"
    return [
        {
            "name": name,
            "ours": mine,
            "peer": theirs,
            "peer_name": f"plain NumPy, one split in {SHARE} timed",
            "ratio": theirs / mine,
            "unit": "CPU ms",
        },
        {
            "name": f"{name}, limit",
            "ours": mine,
            "peer": LIMIT,
            "peer_name": "limit",
            "ratio": LIMIT / mine,
            "unit": "CPU ms",
        },
        *_limits(values),
    ]


def _limits(values: NDArray[np.float64]) -> list[dict[str, object]]:
    """Measure what 20 blocks cost, and the memory that 16 take (NumPy and numba report theirs)."""
    many = []
    for _ in range(ROUNDS):
        start = process_time()
        backtest_overfitting(values, blocks=MANY_BLOCKS)
        many.append(1000 * (process_time() - start))
    tracemalloc.start()
    backtest_overfitting(values, blocks=BLOCKS)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return [
        {
            "name": f"CSCV, {blocks} blocks, {what}",
            "ours": ours,
            "peer": limit,
            "peer_name": "limit",
            "ratio": limit / ours,
            "unit": unit,
        }
        for blocks, what, ours, limit, unit in (
            (MANY_BLOCKS, "same shape", median(many), MANY_LIMIT, "CPU ms"),
            (BLOCKS, "peak of arrays", peak, MEMORY, "MB"),
        )
    ]
