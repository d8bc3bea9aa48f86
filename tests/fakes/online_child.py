"""A process that writes one online store until it is killed.

    python -m tests.fakes.online_child URL

Update number n gives every cell the value and the times n; n is printed once it is applied.
"""

import sys
from itertools import count

import numpy as np

from featurestore.online import open_online
from featurestore.online.cells import Update, pack
from featurestore.online.layout import Column

SYMBOLS = tuple(f"S{i}" for i in range(200))
FEATURES = tuple(f"v.f{j}" for j in range(20))
COLUMNS = tuple(
    Column(feature=name, version_hash="0" * 64, freshness=10**15, availability=0)
    for name in FEATURES
)


def update(number: int) -> Update:
    times = np.full((len(SYMBOLS), len(COLUMNS)), number)
    packed = pack(times.astype(np.float64), times, times)
    return Update(columns=COLUMNS, symbols=SYMBOLS, packed=packed, at=number)


def main(url: str) -> None:
    store = open_online(url, name="kill")
    for number in count(1):
        store.backend.apply(update(number))
        print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
