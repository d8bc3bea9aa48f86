"""Listens while a decision is taken: passes every question to the real desk and keeps the answer.

The decision code sees a desk like any other. What it cannot ask here it cannot have been told, so
a scene that leaves something out is noticed by the first decision that is taken again from it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

from featurestore.errors import PlatformError
from runtime.bundles.contract import canonical
from runtime.bundles.inputs import (
    Array,
    CurrentWeights,
    Groups,
    Input,
    Latest,
    MarketReader,
    Newest,
    Window,
)
from runtime.desk import Desk
from runtime.domain import Bar, Quote
from runtime.errors import DecisionInvalid, OrderInvalid
from runtime.journal.blobs import encode_arrays, hash_of
from runtime.journal.records import DecisionRecord
from runtime.kill.switch import KillSwitch
from runtime.market.states import Published
from runtime.policies.policy import Policy
from runtime.ports import Broker
from runtime.proof import scene as scenes
from runtime.proof.scene import Failed, Question, Scene
from runtime.tick import Moment


@dataclass(slots=True)
class _Heard:
    """What was asked during one decision."""

    policy: Policy | None = None
    killed: list[dict[str, str]] = field(default_factory=list)
    approved: list[str | None] = field(default_factory=list)
    market: Mapping[str, Published] | None = None
    halts: Mapping[str, Published] = field(default_factory=dict)
    quotes: list[Quote] = field(default_factory=list)
    groups: Groups = field(default_factory=Groups)
    windows: dict[Question, Array] = field(default_factory=dict)
    ages: dict[tuple[str, int], datetime] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)


class Recorder:
    """One desk, listened to; a decision at a time."""

    def __init__(self, desk: Desk) -> None:
        """Stand between a desk and whoever decides on it."""
        self._real = desk
        self.heard = _Heard()  # what the decision under way was told so far
        kind = _PaperVenue if desk.simulated else _Venue
        self._desk = replace(
            desk,
            reader=_Reader(self, desk.reader),
            brokers=tuple(cast(Broker, kind(self, one)) for one in desk.brokers),
            limits=self._limits,
            kill=cast(KillSwitch, _Kill(self, desk.kill)),
            approved=self._approved,
            market=None if desk.market is None else self._market,
            halts=None if desk.halts is None else self._halts,
        )

    @contextmanager
    def listening(self) -> Iterator[Desk]:
        """Yield the desk to decide on; what was heard before is forgotten."""
        self.heard = _Heard()
        yield self._desk

    def sealed(
        self, record: DecisionRecord, moment: Moment
    ) -> tuple[DecisionRecord, dict[str, bytes]]:
        """Return the record with its scene's name, and the bytes to be kept beside it by name."""
        heard, beside = self.heard, dict[str, bytes]()
        reads, arrays = self._left_over(record), ""
        if reads:
            data = encode_arrays({str(n): heard.windows[one] for n, one in enumerate(reads)})
            arrays = hash_of(data)
            beside[arrays] = data
        data = scenes.encode(self._scene(moment, reads, arrays))
        name = hash_of(data)
        beside[name] = data
        policy = heard.policy or self._real.policy
        beside[record.policy_hash] = canonical(policy)  # of which its hash is taken
        return replace(record, scene_hash=name), beside

    def _scene(self, moment: Moment, reads: tuple[Question, ...], arrays: str) -> Scene:
        desk, heard, session = self._real, self.heard, moment.session
        bundles = [one.bundle for one in desk.members] or [desk.bundle]
        return Scene(
            day=session.day,
            open=session.open,
            close=session.close,
            caller=desk.caller,
            stages=tuple([one.stage for one in bundles]),
            venues=tuple([one.name for one in desk.brokers]),
            simulated=desk.simulated,
            freshness=dict(desk.freshness),
            bars=tuple(scenes.in_runs(moment.bars)),
            roles=tuple([one.role for one in desk.members]),
            urgent=tuple([one.role for one in desk.members if one.urgent]),
            killed=tuple(heard.killed),
            approved=tuple(heard.approved),
            breaks=moment.breaks,
            broken=tuple(sorted(moment.broken)),
            market=None if heard.market is None else _of_bars(heard.market, moment.bars),
            halts=_of_bars(heard.halts, moment.bars),
            quotes=tuple(heard.quotes),
            groups=tuple(heard.groups.numbers),
            ages=tuple([(*key, at) for key, at in heard.ages.items()]),
            volume=desk.volume,
            failed=heard.failed,
            reads=reads,
            arrays=arrays,
        )

    def _left_over(self, record: DecisionRecord) -> tuple[Question, ...]:
        """Return what was read and does not stand in the decision's inputs."""
        if not self.heard.windows:
            return ()
        members = [
            one.bundle for one in self._real.members if f"weight {one.role}" in record.inputs
        ]
        alone = [] if self._real.members or not record.symbols else [self._real.bundle]
        known = self.heard.groups.numbers
        kept = {
            (feature, group, length)
            for bundle in (*members, *alone)
            for group in [known.get(bundle.manifest.symbols)]
            for feature, length in windows_of(bundle.inputs.values())
        }
        return tuple([one for one in self.heard.windows if one not in kept])

    def _limits(self, at: datetime) -> Policy:
        try:
            policy = self.heard.policy = self._real.policy_at(at)
        except PlatformError as error:
            self.heard.failed[scenes.POLICY_QUESTION] = scenes.failure(error)
            raise
        return policy

    def _approved(self) -> str | None:
        heard = self.heard
        heard.approved.append(None)
        try:
            answer = heard.approved[-1] = self._real.approved()
        except PlatformError as error:
            question = scenes.approved_question(len(heard.approved))
            heard.failed[question] = scenes.failure(error)
            raise
        return answer

    def _market(self, at: datetime) -> Mapping[str, Published]:
        ask = self._real.market
        try:
            market = self.heard.market = {} if ask is None else ask(at)
        except PlatformError as error:
            self.heard.failed[scenes.MARKET_QUESTION] = scenes.failure(error)
            raise
        return market

    def _halts(self, at: datetime) -> Mapping[str, Published]:
        ask = self._real.halts
        try:
            halts = self.heard.halts = {} if ask is None else ask(at)
        except PlatformError as error:
            self.heard.failed[scenes.HALTS_QUESTION] = scenes.failure(error)
            raise
        return halts


class _Reader:
    """Reads for the decision, and remembers what it gave."""

    def __init__(self, recorder: Recorder, real: MarketReader) -> None:
        self._recorder, self._real = recorder, real

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        heard = self._recorder.heard
        group = heard.groups.number(symbols)
        try:
            values = self._real.window(feature, symbols, length=length, at=at)
        except PlatformError as error:
            heard.failed[scenes.window_question(feature, group, length)] = scenes.failure(error)
            raise
        heard.windows[feature, group, length] = values
        return values

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> Newest:
        raise DecisionInvalid(f"a decision asks how old {feature} is, not what it was")

    def oldest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> datetime:
        heard = self._recorder.heard
        group = heard.groups.number(symbols)
        try:
            known = self._real.oldest(feature, symbols, at=at)
        except PlatformError as error:
            heard.failed[scenes.latest_question(feature, group)] = scenes.failure(error)
            raise
        heard.ages[feature, group] = known
        return known


class _Venue:
    """A venue that is asked for quotes only."""

    def __init__(self, recorder: Recorder, real: Broker) -> None:
        self._recorder, self._ask = recorder, real.quote
        self.name = real.name

    def quote(self, symbol: str, at: datetime) -> Quote:
        heard = self._recorder.heard
        try:
            quote = self._ask(symbol, at)
        except PlatformError as error:
            heard.failed[scenes.quote_question(self.name, symbol)] = scenes.failure(error)
            raise
        heard.quotes.append(quote)
        return quote


class _PaperVenue(_Venue):
    """The same, to be told from one that trades with money."""

    def expire_before(self, opened: datetime) -> None:
        raise OrderInvalid(f"{self.name} is only asked for quotes while a decision is taken")

    def on_bars(self, bars: Sequence[Bar], at: datetime) -> int:
        raise OrderInvalid(f"{self.name} is only asked for quotes while a decision is taken")


class _Kill:
    """The kill switch, read."""

    def __init__(self, recorder: Recorder, real: KillSwitch) -> None:
        self._recorder, self._real = recorder, real

    def engaged(self) -> dict[str, str]:
        heard = self._recorder.heard
        heard.killed.append({})
        try:
            found = heard.killed[-1] = dict(self._real.engaged())
        except PlatformError as error:
            heard.failed[scenes.kill_question(len(heard.killed))] = scenes.failure(error)
            raise
        return found


def windows_of(inputs: Iterable[Input]) -> Iterator[tuple[str, int]]:
    """Yield (feature, length) of what a graph's declared inputs read from the store."""
    for source in inputs:
        match source:
            case Window(feature=feature, length=length):
                yield feature, length
            case Latest(feature=feature):
                yield feature, 1
            case CurrentWeights():
                continue


def _of_bars(market: Mapping[str, Published], bars: Sequence[Bar]) -> dict[str, Published]:
    """Return what is published of the symbols that can be traded here."""
    if not market:
        return {}
    return {bar.symbol: market[bar.symbol] for bar in bars if bar.symbol in market}
