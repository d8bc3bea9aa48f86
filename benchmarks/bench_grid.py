"""Moving-average sweeps: 1000 pairs x 2500 days x 20 names, and vectorbt's front page, recorded.

The cold rows start a fresh interpreter for each side, count its CPU seconds to the result, imports
included, and give ours an empty cache of compiled code where the row says so.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from numba import njit

from featurestore.lake import Lake
from featurestore.sources.embedded import US_EQUITIES, ingest_embedded
from featurestore.store import FeatureStore
from pipelines.grid import crossovers, window_pairs
from pipelines.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
PAIRS, DAYS, NAMES, FEE = 1000, 2500, 20, 0.001
PEER_CHUNK = 200  # pairs at a time, or vectorbt needs gigabytes

_PRICES = """
import numpy as np
rng = np.random.default_rng(1)
prices = 30.0 * np.exp(np.cumsum(rng.normal(0.0004, 0.02, (2500, {names})), axis=0))
"""
_PEER = """
import pandas as pd, vectorbt as vbt
close = pd.DataFrame(prices, index=pd.bdate_range("2001-01-01", periods=len(prices)))
fast, slow = vbt.MA.run_combs(
    close, window=np.arange(2, {last}), r=2, short_names=["fast", "slow"]
)
book = vbt.Portfolio.from_signals(
    close, fast.ma_crossed_above(slow), fast.ma_crossed_below(slow),
    size=np.inf, fees=0.001, freq="1D",
)
print(len(book.total_return()))
"""
_OURS = """
from pipelines.grid import crossovers, window_pairs
print(crossovers(prices, window_pairs(range(2, {last})), fee=0.001, delay=0).total_return.size)
"""
_RECORDED = """
from datetime import date
from pipelines.grid import submit_crossovers, window_pairs
from pipelines.study import Period, Study
from pipelines.workspace import Workspace, open_workspace
from pathlib import Path
import tempfile
base = open_workspace({folder!r})
place = Workspace(
    Path(tempfile.mkdtemp(dir={folder!r})), lake_url=base.lake_url, snapshot=base.snapshot
)
windows = tuple(range(2, 101))
study = Study(
    name="front_page", question="Do averages time the market?", hypothesis="No.", source="none",
    universe="us_large_caps", schedule="month_end", owner="bench", warm_up=100, costs=0.001,
    research=Period(start=date(1991, 1, 2), end=date(2000, 12, 29)),
    holdout=Period(start=date(2017, 1, 3), end=date(2022, 12, 28)),
    search_space={{"fast": windows, "slow": windows}},
)
names = ("AAPL", "KO", "XOM")
grid = submit_crossovers(study, window_pairs(windows), workspace=place, symbols=names)
assert place.ledger().study("front_page").by_status == {{"complete": 4851}}
print(grid.sweep.total_return.size)
"""


def run() -> list[dict[str, object]]:
    """Time all in CPU time (neighbours on the machine do not count), interleaved."""
    return [*_warm(), _first_result(), _front_page()]


def _warm() -> list[dict[str, object]]:
    steps = np.random.default_rng(1).normal(0.0004, 0.02, (DAYS, NAMES))
    prices = 30.0 * np.exp(np.cumsum(steps, axis=0))
    windows = np.arange(2, 48)
    pairs = window_pairs(windows)[:PAIRS]
    sweep = crossovers(prices, pairs, fee=FEE, delay=0)
    peer = _peer(prices, windows)
    worst = float(np.abs(peer() - sweep.total_return).max())
    assert worst <= 1e-9, f"returns differ from vectorbt's by {worst}"
    hand = _hand(sweep.prices, sweep.averages, sweep.rows)
    assert np.abs(hand() - sweep.total_return).max() <= 1e-9
    tasks: dict[str, Callable[[], object]] = {
        "ours": lambda: crossovers(prices, pairs, fee=FEE, delay=0),
        "hand": hand,
    }
    times: dict[str, list[float]] = {"ours": [], "hand": [], "peer": []}
    for round_ in range(9):
        for name, task in tasks.items():
            times[name].append(_cpu_of(task))
        if round_ % 4 == 0:
            times["peer"].append(_cpu_of(peer))
    mid = {name: 1000.0 * median(values) for name, values in times.items()}
    size = f"{PAIRS} pairs x {DAYS} days x {NAMES} names"
    return [
        _row(
            f"Crossover sweep, {size}", mid["ours"], mid["peer"], "vectorbt from_signals", "CPU ms"
        ),
        _row(
            f"The same, averages included, {size}",
            mid["ours"],
            mid["hand"],
            "hand-written numba kernel on ready averages (a limit)",
            "CPU ms",
        ),
    ]


def _cpu_of(task: Callable[[], object]) -> float:
    start = process_time()
    task()
    return process_time() - start


def _peer(prices: np.ndarray, windows: np.ndarray) -> Callable[[], np.ndarray]:
    """Return vectorbt's simulation and total returns on ready signals, chunk by chunk."""
    import pandas as pd
    import vectorbt as vbt

    close = pd.DataFrame(prices, index=pd.bdate_range("2001-01-01", periods=len(prices)))
    fast, slow = vbt.MA.run_combs(close, window=windows, r=2, short_names=["fast", "slow"])
    entries, exits = fast.ma_crossed_above(slow), fast.ma_crossed_below(slow)
    columns = PEER_CHUNK * NAMES
    spans = [slice(at, at + columns) for at in range(0, PAIRS * NAMES, columns)]
    chunks = [(entries.iloc[:, span], exits.iloc[:, span]) for span in spans]

    def simulate() -> np.ndarray:
        done = []
        for enter, leave in chunks:
            book = vbt.Portfolio.from_signals(close, enter, leave, size=np.inf, fees=FEE, freq="1D")
            done.append(book.total_return().to_numpy().reshape(-1, NAMES))
        return np.concatenate(done)

    return simulate


def _hand(prices: np.ndarray, averages: np.ndarray, rows: np.ndarray) -> Callable[[], np.ndarray]:
    """Return the loop one writes by hand for exactly this question."""

    @njit
    def kernel(price, average, pairs, fee, out):  # type: ignore[no-untyped-def]
        for p in range(pairs.shape[0]):
            for i in range(price.shape[0]):
                cash, shares, below = 1.0, 0.0, False
                for t in range(price.shape[1]):
                    quick, steady = average[pairs[p, 0], i, t], average[pairs[p, 1], i, t]
                    if quick > steady and below and shares == 0.0:
                        shares = cash / (price[i, t] * (1.0 + fee))
                    elif quick < steady:
                        below = True
                        if shares > 0.0:
                            cash, shares = shares * price[i, t] * (1.0 - fee), 0.0
                out[p, i] = (shares * price[i, -1] if shares > 0.0 else cash) - 1.0

    out = np.empty((len(rows), len(prices)))

    def task() -> np.ndarray:
        kernel(prices, averages, rows, FEE, out)
        return out

    task()
    return task


def _first_result() -> dict[str, object]:
    """Time the first result in a fresh kernel, imports and compilation included."""
    prices = _PRICES.format(names=NAMES)
    ours, peer = [], []
    for round_ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            ours.append(_cold(prices + _OURS.format(last=48), {"NUMBA_CACHE_DIR": cache}))
        if round_ == 0:
            peer.append(_cold(prices + _PEER.format(last=48), {}))
    return _row(
        f"First result in a fresh process, nothing compiled yet, 1035 pairs x {DAYS} x {NAMES}",
        median(ours),
        median(peer),
        "vectorbt, imports included",
        "CPU s",
    )


def _front_page() -> dict[str, object]:
    """Time vectorbt's front page from a cold start; ours records each pair in the ledger."""
    ours, peer = [], []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        ingest_embedded(FeatureStore(Lake(workspace.lake_url)), (US_EQUITIES,))
        workspace.save()
        _cold(_RECORDED.format(folder=folder), {})  # compiled before the clock
        for _ in range(3):
            ours.append(_cold(_RECORDED.format(folder=folder), {}))
        peer.append(_cold(_PRICES.format(names=3) + _PEER.format(last=101), {}))
    return _row(
        "4,851 pairs x 2500 days x 3 names from a cold start, every pair a trial in the ledger",
        median(ours),
        median(peer),
        "vectorbt's front page from a cold start, nothing recorded",
        "CPU s",
    )


def _cold(program: str, extra: dict[str, str]) -> float:
    """Return the CPU seconds of a fresh interpreter that runs a program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | extra,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _row(name: str, ours: float, peer: float, peer_name: str, unit: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": peer / ours,
        "unit": unit,
    }
