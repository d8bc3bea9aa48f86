"""Online reads of 50 symbols x 20 features through the face, beside their limits.

The store holds 500 symbols; every read asks for another 50 of them. Subject and limit take turns
call by call, so a busy neighbour slows both; figures are medians over calls.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from featurestore.online import OnlineStore, open_online
from featurestore.online.cells import Update, pack
from featurestore.online.layout import Column
from featurestore.times import micros
from tests.servers import private_valkey

NOW = datetime(2017, 1, 31, 21, tzinfo=UTC)
SYMBOLS, ASKED, FEATURES = 500, 50, 20
CALLS, ASKS = 4000, 64
Figure = dict[str, object]


def _filled(url: str) -> OnlineStore:
    """A store with all symbols and features, everything fresh."""
    store, random = open_online(url, name="bench"), np.random.default_rng(1)
    shape = (SYMBOLS, FEATURES)
    known = np.full(shape, micros(NOW - timedelta(hours=1)))
    columns = tuple(
        Column(feature=f"bench.f{j}", version_hash="0" * 64, freshness=10**12, availability=0)
        for j in range(FEATURES)
    )
    store.backend.apply(
        Update(
            columns=columns,
            symbols=tuple(f"S{i:03d}" for i in range(SYMBOLS)),
            packed=pack(random.normal(size=shape), known - 1, known),
            at=micros(NOW),
        )
    )
    return store


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
    what = f"online read {ASKED} x {FEATURES}, ages and freshness checked"
    return [
        _row(f"{what}, in this process", inside[0], inside[2], "bare matrix and index"),
        _row(f"{what}, memory-mapped file", inside[1], inside[2], "bare matrix and index"),
        _row(f"{what}, in this process, against 20 us", inside[0], 20.0, "the limit set"),
        _row(f"{what}, Valkey", outside[0], outside[1], "plain MGET of the same bytes"),
        _row(f"{what}, Valkey, against PING", outside[0], outside[2], "PING on the same link"),
    ]


if __name__ == "__main__":
    for each in run():
        print(each)
