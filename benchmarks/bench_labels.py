"""Triple-barrier labels of 5000 events, against the book's event loop on a pandas series."""

from statistics import median
from time import process_time

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.labels import triple_barrier

EVENTS, BARS, HORIZON, WIDTH = 5000, 25_000, 250, 0.05
SHARE = 10  # the loop labels every tenth event; its time is scaled to all of them
ROUNDS = 5


def plain(closes: "pd.Series[float]", rows: NDArray[np.int64]) -> list[int]:
    """Lopez de Prado (2018), snippet 3.2: one slice of the path per event; row of first touch."""
    ends = []
    for row in rows:
        last = min(row + HORIZON, len(closes) - 1)
        path = closes.iloc[row : last + 1] / closes.iloc[row] - 1.0
        taken, stopped = path[path >= WIDTH].index.min(), path[path <= -WIDTH].index.min()
        touches = [touch for touch in (taken, stopped) if not np.isnan(touch)]
        ends.append(int(min(touches, default=last)))
    return ends


def run() -> list[dict[str, object]]:
    """Time both in CPU time, interleaved; they must agree."""
    generator = np.random.default_rng(5)
    values = 100 * np.exp(np.cumsum(generator.normal(0.0, 0.01, BARS)))
    closes = pd.Series(values)
    rows = np.sort(generator.choice(BARS - HORIZON - 1, EVENTS, replace=False))

    def ours() -> NDArray[np.int64]:
        return triple_barrier(values, rows, profit=WIDTH, stop=WIDTH, horizon=HORIZON).ends

    found = ours()  # compiled before the clock
    mine, theirs = [], []
    for _ in range(ROUNDS):
        start = process_time()
        expected = plain(closes, rows[::SHARE])
        theirs.append((process_time() - start) * SHARE)
        for _ in range(5):
            start = process_time()
            found = ours()
            mine.append(process_time() - start)
        if found[::SHARE].tolist() != expected:
            raise AssertionError("labels differ from the plain loop's")
    fast, slow = 1000 * median(mine), 1000 * median(theirs)
    return [
        {
            "name": f"Triple-barrier labels, {EVENTS} events",
            "ours": fast,
            "peer": slow,
            "peer_name": f"event loop on pandas, one event in {SHARE} timed",
            "ratio": slow / fast,
            "unit": "CPU ms",
        }
    ]
