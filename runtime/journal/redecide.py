"""Decides journalled decisions again, whole, and compares every byte of their entries.

The chain is folded from its beginning. Before each decision stands the account as its entries left
it; with the inputs, the scene and the limits that the decision names, the very functions that
decide live run again: reads, graph, range checks, plan, guardrails, routes. The entry they would
write must be the one that is there. No lake, clock, registry or venue is asked.

Afterwards the graphs may be evaluated many times more on the same inputs, shuffled, in several
threads, each beginning with a graph loaded anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from random import Random
from typing import Protocol, cast

import msgspec
import numpy as np

from featurestore.calendars import Calendar, load_calendar
from featurestore.errors import PlatformError
from runtime.bundles.inference import Decided
from runtime.bundles.inputs import Array
from runtime.chain import Entry
from runtime.database import reading
from runtime.decoding import from_json
from runtime.errors import JournalBroken
from runtime.history import History
from runtime.joint.identity import JointLog
from runtime.joint.joint_graph import JointGraph
from runtime.joint.shares import Shares
from runtime.joint.together import decide_together
from runtime.journal import wire
from runtime.journal.blobs import decode_arrays, restore
from runtime.journal.queries import JournalQueries
from runtime.journal.records import DecisionRecord
from runtime.journal.tables import holders
from runtime.plan import signals
from runtime.policies.policy import Policy
from runtime.proof import past
from runtime.proof import scene as scenes
from runtime.proof.differences import first_difference, payload_of
from runtime.proof.past import Past
from runtime.proof.playing import Answers, Bundles, Load, played, seen_windows
from runtime.proof.scene import Scene
from runtime.proof.standing import Standing
from runtime.tick import Moment, decide

_STRETCH = 10_000  # evaluations between two loads of the graph
_PAGE = 500  # entries whose blobs are read at once


class Decides(Protocol):
    """A loaded decision graph."""

    def run(self, inputs: Mapping[str, Array]) -> Decided:
        """Return scores and weights."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A decision that did not come out as it is journalled, and the first field that tells."""

    decision_id: str
    tick: str
    field: str  # "weights[3]", "plan[AAA].verdicts[5 exposure].observed", "inputs", "scene"
    was: str  # as it is journalled
    now: str  # as it came out

    @property
    def what(self) -> str:
        """Return it in words."""
        return f"{self.field}: was {self.was}, is {self.now}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redecided:
    """What deciding again has shown."""

    decisions: int  # decided something
    refusals: int  # decided nothing, and say why
    whole: int  # of both: run again from reads to routes, compared to the last byte
    evaluations: int  # of graphs, all in all
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    bundle: str
    name: str
    tick: str
    inputs: Mapping[str, Array]
    answer: bytes  # scores, weights, and confidences if the graph gives them
    said: tuple[float, ...]  # confidences of its signals


@dataclass(frozen=True, slots=True)
class _Kept:
    """A decision as it stands in the journal, and where."""

    entry: Entry
    past: Past

    def differs(self, field: str, was: str, now: str) -> Difference:
        name, tick = self.past.decision_id, self.past.tick
        return Difference(decision_id=name, tick=tick, field=field, was=was, now=now)

    def record(self, inputs: Mapping[str, Array]) -> DecisionRecord:
        """Return all of it; what is decided again whole needs only some."""
        try:
            record, _, _ = wire.decode_decision(self.entry.payload, inputs)
        except msgspec.DecodeError as error:
            raise past.unreadable(self.entry, error) from error
        return record


def redecide(
    journal: JournalQueries,
    load: Load,
    *,
    start: date | None = None,
    end: date | None = None,
    evaluations: int = 0,
    threads: int = 1,
    seed: int = 0,
    part: tuple[int, int] = (0, 1),
    calendar_of: Callable[[str], Calendar] = load_calendar,
) -> Redecided:
    """Decide again what an account decided between two days, both included.

    Args:
        journal: of the account.
        load: loads a bundle by its hash, anew at every call; called in every thread.
        start: first day, None = the first there is.
        end: last day, None = the last there is.
        evaluations: go on until graphs were run that often.
        threads: how many evaluate at a time after the first pass.
        seed: of the order in which the later evaluations come.
        part: (k, n) takes every n-th decision from the k-th on, for several processes.
        calendar_of: name of an exchange -> its sessions.

    Raises:
        BundleRefused: the bundle that decided first does not verify.
        JournalBroken: an entry of the account is not what anybody of ours writes.
    """
    try:
        first = journal.said_after(0, 1)
    except msgspec.DecodeError as error:
        raise JournalBroken(f"journal: its first decision cannot be read: {error}") from error
    if not first:
        return Redecided(decisions=0, refusals=0, whole=0, evaluations=0, differences=())
    prover = _Prover(journal, load, first[0][1].bundle, calendar_of, part)
    cases: list[_Case] = []
    found: list[Difference] = []
    decisions = refusals = whole = 0
    for kept, blobs in prover.decisions(start, end):
        refusals += not kept.past.symbols
        decisions += bool(kept.past.symbols)
        whole += bool(kept.past.scene_hash)
        difference, inputs = prover.prove(kept, blobs)
        if difference is not None:
            found.append(difference)
        elif inputs is not None and kept.past.symbols and evaluations:
            cases.append(_case(kept.record(inputs)))
    left = max(0, evaluations - decisions) if cases else 0
    found += _evaluated(cases, prover.graph, left, threads, seed)
    return Redecided(
        decisions=decisions,
        refusals=refusals,
        whole=whole,
        evaluations=decisions + left,
        differences=tuple(found),
    )


class _Prover:
    """Walks along one account's chain, and takes its decisions again as they come."""

    def __init__(
        self,
        journal: JournalQueries,
        load: Load,
        first: str,
        calendar_of: Callable[[str], Calendar],
        part: tuple[int, int],
    ) -> None:
        self._journal, self._load = journal, load
        self._part, self._asked = part, 0  # decisions within the days asked for, so far
        self._joints = JointLog(journal.engine)
        self._bundles = Bundles(load, self._joints.find)
        manifest = self._bundles.bare(first).manifest
        history = History(manifest, calendar_of(manifest.calendar))
        self._standing = Standing(journal, history, trailing=self._joints.verify().seq > 0)
        self._shares = Shares(cast(JournalQueries, self._standing), self._joints)
        self._policies: dict[str, Policy] = {}

    def decisions(
        self, start: date | None, end: date | None
    ) -> Iterator[tuple[_Kept, dict[str, bytes]]]:
        """Yield own decisions with their blobs, the account folded up to just before each."""
        account = f"{self._journal.account}/"
        page: list[Entry] = []
        for entry in self._journal.log.entries():
            page.append(entry)
            if len(page) == _PAGE:
                yield from self._page(page, account, start, end)
                page = []
        yield from self._page(page, account, start, end)

    def _page(
        self, page: Sequence[Entry], account: str, start: date | None, end: date | None
    ) -> Iterator[tuple[_Kept, dict[str, bytes]]]:
        decided = {
            entry.seq: past.of(entry)
            for entry in page
            if entry.kind == "decision" and entry.key.startswith(account)
        }
        asked = [seq for seq, one in decided.items() if _within(one.tick, start, end)]
        own = set(asked[(self._part[0] - self._asked) % self._part[1] :: self._part[1]])
        self._asked += len(asked)
        names = set[str]()
        for one in map(decided.__getitem__, own):
            names |= {one.inputs_hash, one.scene_hash}
            if one.policy_hash not in self._policies:
                names.add(one.policy_hash)
        blobs = self._blobs(sorted(names - {""}))
        for entry in page:
            if entry.seq not in decided:
                self._standing.take(entry)
                continue
            if entry.seq in own:
                yield _Kept(entry, decided[entry.seq]), blobs
            self._standing.decided(entry, decided[entry.seq])

    def _blobs(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return stored frames by name; what is not there is left out."""
        found: dict[str, bytes] = {}
        with reading(self._journal.engine) as connection:
            for begin in range(0, len(names), _PAGE):
                some = names[begin : begin + _PAGE]
                query = f"SELECT name, data FROM journal_blobs WHERE name IN ({holders(len(some))})"
                rows = self._journal.sql.rows(connection, query, some)
                found.update((name, bytes(data)) for name, data in rows)
        return found

    def graph(self, name: str) -> Decides:
        """Return a bundle's graph, or those of several in one account, loaded anew."""
        joint = self._joints.find(name)
        if joint is None:
            return self._load(name).session
        members = {seat.role: self._load(seat.bundle) for seat in joint.seats}
        return JointGraph({role: (one.session, one.inputs) for role, one in members.items()})

    def prove(
        self, kept: _Kept, blobs: Mapping[str, bytes]
    ) -> tuple[Difference | None, Mapping[str, Array] | None]:
        """Take a decision again; return what differs, and its inputs if they are there."""
        name = kept.past.inputs_hash
        try:
            inputs = decode_arrays(_restored(blobs, name))
        except JournalBroken as error:
            return kept.differs("inputs", name, str(error)), None
        try:
            if not kept.past.scene_hash:
                return self._graph_only(kept, inputs), inputs
            return self._whole(kept, inputs, blobs), inputs
        except PlatformError as error:
            return kept.differs("entry", "a decision", f"cannot be taken again: {error}"), inputs

    def _whole(
        self, kept: _Kept, inputs: Mapping[str, Array], blobs: Mapping[str, bytes]
    ) -> Difference | None:
        """Run the live code on what was seen then."""
        decision = kept.past
        try:
            scene = scenes.decode(_restored(blobs, decision.scene_hash, "scene"))
            more = self._more(scene)
        except JournalBroken as error:
            return kept.differs("scene", decision.scene_hash, str(error))
        try:
            policy = self._policy(decision.policy_hash, blobs)
        except JournalBroken as error:
            return kept.differs("policy", decision.policy_hash, str(error))
        answers = Answers(scene, seen_windows(decision, inputs, scene, self._bundles, more))
        desk = played(
            decision,
            answers,
            policy,
            bundles=self._bundles,
            standing=self._standing,
            shares=self._shares,
        )
        bars, book = scenes.bars_of(scene), self._standing.book
        moment = Moment(
            session=scenes.session_of(scene),
            at=kept.entry.at,
            bars=bars,
            book=book,
            breaks=scene.breaks,
            broken=frozenset(scene.broken),
        )
        taken = decide_together if desk.members else decide
        again, orders = taken(desk, moment, self._standing.history)
        now = payload_of(again, self._journal.account, orders, decision.scene_hash)
        found = first_difference(kept.entry.payload, now)
        return None if found is None else kept.differs(*found)

    def _graph_only(self, kept: _Kept, inputs: Mapping[str, Array]) -> Difference | None:
        """Run the graph alone: nobody listened when this was decided."""
        if not kept.past.symbols:
            return None
        record = kept.record(inputs)
        decided = self.graph(record.bundle).run(inputs)
        again = replace(
            record,
            scores=tuple(decided.score.tolist()),
            weights=tuple(decided.weight.tolist()),
            signals=signals(record.symbols, decided),
        )
        now = payload_of(again, kept.past.account, kept.past.orders, record.scene_hash)
        found = first_difference(kept.entry.payload, now)
        return None if found is None else kept.differs(*found)

    def _more(self, scene: Scene) -> dict[str, Array]:
        """Return the arrays of a scene that did not become inputs."""
        if not scene.arrays:
            return {}
        return decode_arrays(_restored(self._blobs([scene.arrays]), scene.arrays, "reads"))

    def _policy(self, name: str, blobs: Mapping[str, bytes]) -> Policy:
        if name not in self._policies:
            data = _restored(blobs, name, "policy")
            self._policies[name] = from_json(data, Policy)
        return self._policies[name]


def _restored(blobs: Mapping[str, bytes], name: str, what: str = "inputs") -> bytes:
    if name not in blobs:
        raise JournalBroken(f"stored {what} {name} are missing")
    return restore(name, blobs[name], what)


def _within(tick: str, start: date | None, end: date | None) -> bool:
    """Say whether a tick, whose name begins with its day, lies between two days."""
    day = tick[:10]
    return (start is None or day >= start.isoformat()) and (end is None or day <= end.isoformat())


def _case(record: DecisionRecord) -> _Case:
    answer = np.array((*record.scores, *record.weights), dtype=np.float64).tobytes()
    said = tuple(signal.confidence for signal in record.signals)
    return _Case(record.bundle, record.decision_id, record.tick, record.inputs, answer, said)


def _evaluated(
    cases: Sequence[_Case], load: Callable[[str], Decides], count: int, threads: int, seed: int
) -> list[Difference]:
    """Evaluate that many decisions more, in threads."""
    pieces = [min(_STRETCH, count - begun) for begun in range(0, count, _STRETCH)]
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(
            lambda piece: _again(cases, load, piece[1], Random(f"{seed}/{piece[0]}")),
            enumerate(pieces),
        )
        return [one for more in found for one in more]


def _again(
    cases: Sequence[_Case], load: Callable[[str], Decides], count: int, chance: Random
) -> list[Difference]:
    """Evaluate that many decisions, drawn at random, with graphs loaded anew."""
    graphs: dict[str, Decides] = {}
    found = []
    for case in chance.choices(cases, k=count):
        if case.bundle not in graphs:
            graphs[case.bundle] = load(case.bundle)
        decided = graphs[case.bundle].run(case.inputs)
        sure = decided.confidence
        other = sure is not None and sure.tobytes() != np.array(case.said).tobytes()
        answer = decided.score.tobytes() + decided.weight.tobytes()
        if other or answer != case.answer:
            found.append(
                Difference(
                    decision_id=case.name,
                    tick=case.tick,
                    field="weights",
                    was="one answer",
                    now="another answer, run again",
                )
            )
    return found
