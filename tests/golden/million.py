"""A million different decisions, taken by the live code and each taken again from its record.

    .venv/bin/python -m tests.golden.million --decisions 1000000 --processes 2

Accounts of lengths from one session to two thousand are made in processes that end; others then
prove each from its journal in one to three pieces, on one to three threads, with graphs loaded
anew. Ends with 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from operator import itemgetter
from pathlib import Path
from random import Random

import msgspec
import numpy as np

from runtime.database import open_database
from runtime.journal.queries import JournalQueries
from runtime.journal.redecide import redecide
from runtime.journal.store import Journal
from tests.golden.lives import live
from tests.golden.outside import KINDS, Kind

LONGEST = 2000  # sessions of one account
BATCH = 300  # accounts, some 700 MB, made before they are proved by processes that then end


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen."""

    accounts: int
    decisions: int  # that decided something
    refusals: int
    whole: int  # of both, taken again from reads to routes
    distinct: int  # different inputs, or scenes where nothing was decided
    differences: tuple[str, ...]
    making: float  # s of CPU, all processes
    proving: float  # s of CPU, all processes
    seconds: float  # wall clock


def lengths(decisions: int, seed: int) -> Iterator[int]:
    """Yield lengths of accounts that add up; as many short lives as long ones, by order."""
    chance, left = Random(seed), decisions
    while left:
        length = min(left, int(10 ** chance.uniform(0, 3.3)), LONGEST)
        yield max(1, length)
        left -= max(1, length)


def make(place: tuple[Path, int, int]) -> tuple[bytes, float]:
    """Let one account live; return the hashes of what it read, 8 bytes each, and s of CPU."""
    path, seed, decisions = place
    start = time.process_time()
    engine = open_database(f"sqlite:///{path}")
    hashes = [one[:8] for one in live(Journal(engine), seed, decisions)]
    engine.dispose()
    return b"".join(hashes), time.process_time() - start


@cache
def by_hash() -> dict[str, Kind]:
    """Return the bundles by hash; each is loaded anew wherever it is asked for."""
    return {kind.load().hash: kind for kind in KINDS}


def prove(place: tuple[Path, int, int]) -> tuple[int, int, int, list[str], float]:
    """Take an account's decisions again, in pieces and threads as its seed has it."""
    path, seed, _ = place
    start, chance = time.process_time(), Random(f"prove {seed}")
    pieces, threads = chance.choice([(1, 1), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)])
    engine = open_database(f"sqlite:///{path}")
    kinds = by_hash()

    def piece(number: int):
        journal = JournalQueries(engine, "paper")
        return redecide(journal, lambda name: kinds[name].load(), part=(number, pieces))

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(piece, range(pieces)))
    engine.dispose()
    return (
        sum(one.decisions for one in found),
        sum(one.refusals for one in found),
        sum(one.whole for one in found),
        [f"account {seed}, {d.tick}: {d.what}" for one in found for d in one.differences],
        time.process_time() - start,
    )


def run(folder: Path, *, decisions: int, processes: int, seed: int) -> Answer:
    """Make that many decisions and prove each; journals lie in `folder`, each no longer than need.

    Args:
        folder: empty.
        decisions: how many.
        processes: at a time; others make than prove.
        seed: of everything.
    """
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    sizes = list(lengths(decisions, seed))
    places = [(folder / f"{n}.db", seed * 1_000_003 + n, size) for n, size in enumerate(sizes)]
    seen, totals, differences = [], [0, 0, 0], list[str]()
    making = proving = 0.0
    for begin in range(0, len(places), BATCH):
        batch = places[begin : begin + BATCH]
        batch.sort(key=itemgetter(2), reverse=True)  # or all wait for a long one that came last
        with ProcessPoolExecutor(processes, mp_context=context) as makers:
            for hashes, cpu in makers.map(make, batch):
                seen.append(np.frombuffer(hashes, dtype="<u8"))
                making += cpu
        with ProcessPoolExecutor(processes, mp_context=context) as provers:
            for *counts, told, cpu in provers.map(prove, batch):
                totals = [a + b for a, b in zip(totals, counts, strict=True)]
                differences += told
                proving += cpu
        for path, _, _ in batch:
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
        sys.stderr.write(f"{sum(totals[:2]):,} of {decisions:,}, {len(differences)} differ\n")
    return Answer(
        accounts=len(places),
        decisions=totals[0],
        refusals=totals[1],
        whole=totals[2],
        distinct=int(np.unique(np.concatenate(seen)).size),
        differences=tuple(differences),
        making=making,
        proving=proving,
        seconds=time.perf_counter() - start,
    )


def main() -> None:
    """Say what was seen."""
    parser = argparse.ArgumentParser(description="A million decisions, each taken again.")
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="For journals; else temporary.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        answer = run(
            Path(name), decisions=asked.decisions, processes=asked.processes, seed=asked.seed
        )
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n")
    sys.exit(1 if answer.differences else 0)


if __name__ == "__main__":
    main()
