"""Online reads of 50 symbols x 20 features through the face, beside their limits and Feast's.

The store holds 500 symbols; every read asks for another 50 of them. Subject and limit take turns
call by call, so a busy neighbour slows both; figures are medians over calls. Feast runs in an
environment and process of its own on the same server, before and after which ours is measured; both
answer the same values.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.peers.apart import ask_feast
from featurestore.online import OnlineStore, open_online
from featurestore.online.cells import Update, pack
from featurestore.online.layout import Column
from featurestore.times import micros
from tests.servers import ValkeyServer, private_valkey

NOW = datetime(2017, 1, 31, 21, tzinfo=UTC)
SYMBOLS, ASKED, FEATURES = 500, 50, 20
CALLS, ASKS = 4000, 64
FEAST_CALLS = 200
Figure = dict[str, object]


def _filled(url: str) -> OnlineStore:
    """A store with all symbols and features, everything fresh."""
    store, shape = open_online(url, name="bench"), (SYMBOLS, FEATURES)
    known = np.full(shape, micros(NOW - timedelta(hours=1)))
    columns = tuple(
        Column(feature=f"bench.f{j}", version_hash="0" * 64, freshness=10**12, availability=0)
        for j in range(FEATURES)
    )
    store.backend.apply(
        Update(
            columns=columns,
            symbols=tuple(f"S{i:03d}" for i in range(SYMBOLS)),
            packed=pack(_values(), known - 1, known),
            at=micros(NOW),
        )
    )
    return store


def _values() -> NDArray[np.float64]:
    """Return what is online, shape (SYMBOLS, FEATURES)."""
    return np.random.default_rng(1).normal(size=(SYMBOLS, FEATURES))


def _in_turns(
    subjects: Sequence[Callable[[list[str]], object]], asks: Sequence[list[str]], calls: int
) -> list[float]:
    """Return each subject's median time of a call in microseconds."""
    times: list[list[float]] = [[] for _ in subjects]
    for number in range(calls):
        ask = asks[number % len(asks)]
        for place, subject in enumerate(subjects):
            start = time.perf_counter()
            subject(ask)
            times[place].append(time.perf_counter() - start)
    return [1e6 * median(each) for each in times]


def _timed(subject: Callable[[list[str]], object], asks: Sequence[list[str]]) -> list[float]:
    """Return the seconds of calls of one subject alone."""
    times = []
    for number in range(CALLS // 2):
        start = time.perf_counter()
        subject(asks[number % len(asks)])
        times.append(time.perf_counter() - start)
    return times


def _feast(server: ValkeyServer, asks: Sequence[list[str]]) -> list[float]:
    """Return the seconds of Feast's reads of the same values from the same server."""
    fields = [f"f{j}" for j in range(FEATURES)]
    columns = {name: _values()[:, j] for j, name in enumerate(fields)}
    names = [f"S{i:03d}" for i in range(SYMBOLS)]
    rows = pl.DataFrame({"entity": names, "known_at": NOW, **columns})
    with TemporaryDirectory() as folder:
        rows.write_parquet(Path(folder) / "rows.parquet")
        said = ask_feast(
            {
                "folder": folder,
                "rows": str(Path(folder) / "rows.parquet"),
                "fields": fields,
                "online": {
                    "type": "redis",
                    "connection_string": f"127.0.0.1:{server.port},password={server.password}",
                },
                "asks": asks,
                "calls": FEAST_CALLS,
            },
            "feast_online_child.py",
        )
    places = [int(name[1:]) for name in asks[0]]
    if not np.array_equal(said["values"], _values()[places]):
        raise AssertionError("Feast's answer is not ours")
    return [float(each) for each in said["seconds"]]


def _row(name: str, ours: float, peer: float, peer_name: str) -> Figure:
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": peer / ours,
        "unit": "us",
    }


def run() -> list[Figure]:
    """Return the figures of the three adapters."""
    random = np.random.default_rng(7)
    names = [f"S{i:03d}" for i in range(SYMBOLS)]
    asks = [[str(s) for s in random.choice(names, ASKED, replace=False)] for _ in range(ASKS)]
    features = [f"bench.f{j}" for j in range(FEATURES)]
    matrix = random.normal(size=(SYMBOLS, FEATURES))
    index = {name: i for i, name in enumerate(names)}

    def face(store: OnlineStore) -> Callable[[list[str]], object]:
        return lambda ask: store.get_online_features(features, ask, now=NOW).values

    with TemporaryDirectory() as folder, private_valkey() as server:
        memory = _filled("memory://")
        shared = _filled(f"file://{Path(folder) / 'online.bin'}")
        remote = _filled(server.url)
        client: Any = server.client()
        keys = {tuple(ask): [f"sluice:{{bench}}:b:{name}" for name in ask] for ask in asks}
        inside = _in_turns(
            [face(memory), face(shared), lambda ask: matrix[[index[name] for name in ask]]],
            asks,
            CALLS,
        )
        outside = _in_turns(
            [
                face(remote),
                lambda ask: client.mget(keys[tuple(ask)]),
                lambda _: client.ping(),
            ],
            asks,
            CALLS // 2,
        )
        alone = [_timed(face(remote), asks)]
        feast = _feast(server, asks)
        alone.append(_timed(face(remote), asks))
    what = f"online read {ASKED} x {FEATURES}, ages and freshness checked"
    mine, theirs = 1e6 * median([*alone[0], *alone[1]]), 1e6 * median(feast)
    tail = 1e6 * quantiles(min(alone, key=lambda each: quantiles(each, n=100)[98]), n=100)[98]
    return [
        _row(f"{what}, Valkey, beside Feast", mine, theirs, "Feast, on the same server"),
        _row(f"{what}, Valkey, p99, best of 2", tail, 250.0, "the limit set"),
        _row(f"{what}, in this process", inside[0], inside[2], "bare matrix and index"),
        _row(f"{what}, memory-mapped file", inside[1], inside[2], "bare matrix and index"),
        _row(f"{what}, in this process, against 20 us", inside[0], 20.0, "the limit set"),
        _row(f"{what}, Valkey", outside[0], outside[1], "plain MGET of the same bytes"),
        _row(f"{what}, Valkey, against PING", outside[0], outside[2], "PING on the same link"),
    ]


if __name__ == "__main__":
    for each in run():
        print(each)
