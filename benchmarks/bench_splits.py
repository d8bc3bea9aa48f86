"""Combinatorial purged splits of 5000 rows, all of them made, against skfolio's."""

from statistics import median
from time import process_time

import numpy as np
from skfolio.model_selection import CombinatorialPurgedCV

from pipelines.splits import CombinatorialPurged, LabelSpans

ROWS, FOLDS, TESTED, LENGTH, EMBARGO = 5000, 10, 2, 20, 10
ROUNDS = 9


def run() -> list[dict[str, object]]:
    """Time both in CPU time, interleaved; ours also knows labels of unequal length."""
    X = np.zeros((ROWS, 2))
    labels = LabelSpans(np.arange(ROWS), np.arange(ROWS) + LENGTH)
    ours = CombinatorialPurged(spans=labels, folds=FOLDS, tested=TESTED, embargo=EMBARGO)
    peer = CombinatorialPurgedCV(
        n_folds=FOLDS, n_test_folds=TESTED, purged_size=LENGTH, embargo_size=EMBARGO
    )
    mine, theirs = [], []
    for _ in range(ROUNDS):
        for splitter, times in ((ours, mine), (peer, theirs)):
            start = process_time()
            made = list(splitter.split(X))
            times.append(process_time() - start)
            if len(made) != ours.get_n_splits():
                raise AssertionError(f"{len(made)} splits were made")
    fast, slow = 1000 * median(mine), 1000 * median(theirs)
    return [
        {
            "name": f"CPCV splits, {ROWS} rows, {FOLDS} folds, {TESTED} tested",
            "ours": fast,
            "peer": slow,
            "peer_name": "skfolio CombinatorialPurgedCV",
            "ratio": slow / fast,
            "unit": "CPU ms",
        }
    ]
