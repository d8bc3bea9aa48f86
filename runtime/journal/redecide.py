"""Decides journalled decisions again from their stored inputs and compares every byte.

A decision's inputs stand in the journal whole, so its bundle alone answers again: no lake, no clock
and no book is asked. Afterwards the same decisions may be evaluated many times more, shuffled, in
several threads, each beginning with a graph loaded anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from random import Random
from typing import Protocol

import numpy as np

from featurestore.errors import PlatformError
from runtime.bundles.inference import Decided
from runtime.bundles.inputs import Array
from runtime.journal import wire
from runtime.journal.blobs import decode_arrays, restore
from runtime.journal.decisions import DecisionStore
from runtime.journal.queries import JournalQueries
from runtime.journal.records import DecisionRecord
from runtime.plan import signals

_STRETCH = 10_000  # evaluations between two loads of the graph


class Decides(Protocol):
    """A loaded decision graph."""

    def run(self, inputs: Mapping[str, Array]) -> Decided:
        """Return scores and weights."""
        ...


Load = Callable[[str], Decides]  # bundle hash -> its graph, loaded anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A decision that did not come out as it is journalled."""

    decision_id: str
    tick: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Redecided:
    """What deciding again has shown."""

    decisions: int  # decided again, each compared to the last byte of its entry
    refusals: int  # had no inputs, so there is nothing to decide
    evaluations: int  # of graphs, all in all
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    bundle: str
    name: str
    tick: str
    inputs: Mapping[str, Array]
    answer: bytes  # scores, then weights


def redecide(
    journal: JournalQueries,
    load: Load,
    *,
    start: date | None = None,
    end: date | None = None,
    evaluations: int = 0,
    threads: int = 1,
    seed: int = 0,
) -> Redecided:
    """Decide again what an account decided between two days, both included.

    Args:
        journal: of the account.
        load: loads the graph of a bundle; called in every thread.
        start: first day, None = the first there is.
        end: last day, None = the last there is.
        evaluations: go on until graphs were run that often.
        threads: how many evaluate at a time after the first pass.
        seed: of the order in which the later evaluations come.

    Raises:
        JournalBroken: stored inputs are missing or were changed.
    """
    graphs: dict[str, Decides] = {}
    cases: list[_Case] = []
    found: list[Difference] = []
    refusals = 0
    for record, payload, account, orders in _decisions(journal, start, end):
        if not record.symbols:
            refusals += 1
            continue
        if record.bundle not in graphs:
            graphs[record.bundle] = load(record.bundle)
        cases.append(_case(record))
        what = _differs(graphs[record.bundle], record, payload, account, orders)
        if what:
            found.append(Difference(decision_id=record.decision_id, tick=record.tick, what=what))
    left = max(0, evaluations - len(cases)) if cases else 0
    pieces = [min(_STRETCH, left - begun) for begun in range(0, left, _STRETCH)]
    with ThreadPoolExecutor(threads) as pool:
        for more in pool.map(
            lambda piece: _again(cases, load, piece[1], Random(f"{seed}/{piece[0]}")),
            enumerate(pieces),
        ):
            found += more
    return Redecided(
        decisions=len(cases),
        refusals=refusals,
        evaluations=len(cases) + left,
        differences=tuple(found),
    )


def _decisions(
    journal: JournalQueries, start: date | None, end: date | None
) -> Iterator[tuple[DecisionRecord, bytes, str, Sequence[object]]]:
    """Yield records with their inputs, their payloads, accounts and orders, oldest first."""
    for row in DecisionStore(journal).stored(start, end):
        arrays = decode_arrays(restore(row.inputs, row.data))
        record, account, orders = wire.decode_decision(row.payload, arrays)
        yield record, row.payload, account, orders


def _case(record: DecisionRecord) -> _Case:
    answer = np.array((*record.scores, *record.weights), dtype=np.float64).tobytes()
    return _Case(record.bundle, record.decision_id, record.tick, record.inputs, answer)


def _differs(
    graph: Decides, record: DecisionRecord, payload: bytes, account: str, orders: Sequence[object]
) -> str:
    """Decide again and write the entry again; return what differs, "" if nothing does."""
    try:
        decided = graph.run(record.inputs)
    except PlatformError as error:
        return f"the graph refuses its own inputs: {error}"
    again = replace(
        record,
        scores=tuple(decided.score.tolist()),
        weights=tuple(decided.weight.tolist()),
        signals=signals(record.symbols, decided),
    )
    for name in ("scores", "weights"):
        before, now = np.array(getattr(record, name)), np.array(getattr(again, name))
        if before.tobytes() != now.tobytes():
            return f"{name} differ by up to {np.abs(before - now).max():.3g}"
    if wire.encode_decision(again, account, tuple(orders)) != payload:  # type: ignore[arg-type]
        return "its entry would be written with other bytes"
    return ""


def _again(cases: Sequence[_Case], load: Load, count: int, chance: Random) -> list[Difference]:
    """Evaluate that many decisions, drawn at random, with graphs loaded anew."""
    graphs: dict[str, Decides] = {}
    found = []
    for case in chance.choices(cases, k=count):
        if case.bundle not in graphs:
            graphs[case.bundle] = load(case.bundle)
        decided = graphs[case.bundle].run(case.inputs)
        if decided.score.tobytes() + decided.weight.tobytes() != case.answer:
            found.append(
                Difference(decision_id=case.name, tick=case.tick, what="another answer, run again")
            )
    return found
