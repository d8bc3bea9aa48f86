"""One decision: inputs, graph, plan, guardrails, routes; a record of it all and the orders.

Nothing is written and nothing is sent here. Steps: 1. what the bundle proposes; 2. whole-lot
orders; 3. eight checks; 4. venues. Several bundles have their own first two steps
(`runtime.joint.together`); their account checks and routes once, by the same code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, TypeAlias

import msgspec

from featurestore.calendars import Session
from featurestore.errors import PlatformError
from runtime.bundles.inference import Decided
from runtime.bundles.inputs import Array, SharedReads
from runtime.desk import Desk
from runtime.domain import Bar, Order, OrderType, PlannedOrder, Quote, Verdict
from runtime.errors import FeedInvalid, OrderInvalid, RuntimeFault
from runtime.guardrails import Context, FeatureAge, Judged, MarketState, Published, judge
from runtime.history import History
from runtime.joint.proposal import propose
from runtime.journal.book import Book
from runtime.journal.marks import Marks
from runtime.journal.records import DecisionRecord, OrderRecord, PlanLine, decision_id
from runtime.market.bands import inside
from runtime.market.lots import round_lot
from runtime.market.states import overlaid
from runtime.market.volumes import average_volumes
from runtime.plan import make_plan, signals
from runtime.policies.policy import Policy
from runtime.routing.router import child_orders
from runtime.routing.whole import route_order

ZERO = Decimal(0)
_COLLARED = (OrderType.MARKET, OrderType.STOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The tick as the engine found it, before anything is decided."""

    session: Session
    at: datetime  # UTC
    bars: Sequence[Bar]
    book: Book
    breaks: tuple[str, ...]  # unresolved, in words
    broken: frozenset[str] = frozenset()  # symbols of which a venue says to hold other units
    marks: Marks = field(init=False)  # newest close per symbol, USD per unit
    equity: Decimal = field(init=False)  # USD at these closes
    priced_at: dict[str, datetime] = field(init=False)  # UTC, what the closes are of
    instants: frozenset[datetime] = field(init=False)  # of these, UTC; nearly always one
    positions: dict[str, Decimal] = field(init=False)  # units held of every open position

    def __post_init__(self) -> None:
        marks = Marks(self.bars)
        priced_at = {bar.symbol: bar.event_time for bar in self.bars}
        for name, value in (
            ("marks", marks),
            ("equity", self.book.equity(marks)),
            ("priced_at", priced_at),
            ("instants", frozenset(priced_at.values())),
            ("positions", self.book.quantities()),
        ):
            object.__setattr__(self, name, value)

    @property
    def tick(self) -> str:
        """Return the tick's name."""
        return self.session.day.isoformat()

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Return the symbols whose newest bar is of an earlier session."""
        opened = self.session.open
        if all(at >= opened for at in self.instants):
            return ()
        return tuple([symbol for symbol, at in self.priced_at.items() if at < opened])

    @property
    def valued_at(self) -> datetime | None:
        """Return what the oldest close is of, None without any."""
        return min(self.instants, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for before limits and venues are looked at, and what the record says of it."""

    symbols: tuple[str, ...]  # n of them, row order of every array
    current: Array  # (n,) weights held before
    decided: Decided
    features: Mapping[str, FeatureAge]  # of every source that was read
    orders: Sequence[PlannedOrder]
    snapshot: str  # hash of the data that the studies saw
    # Inputs and notes to be kept, once it is known who may trade.
    kept: Callable[[Context], tuple[Mapping[str, Array], tuple[str, ...]]]


Ask: TypeAlias = Callable[[Desk, Moment, Sequence[OrderRecord]], Wanted]


def decide(
    desk: Desk, moment: Moment, history: History
) -> tuple[DecisionRecord, tuple[Order, ...]]:
    """Decide once; whatever cannot be decided becomes a refusal on record, without orders."""
    return decided_by(_alone, desk, moment, history)


def decided_by(
    ask: Ask, desk: Desk, moment: Moment, history: History
) -> tuple[DecisionRecord, tuple[Order, ...]]:
    """Decide once on what `ask` wants, one bundle or several; see `decide`."""
    policy = desk.policy
    try:
        policy = desk.policy_at(moment.at)
        if moment.unpriced:
            missing = ", ".join(moment.unpriced)
            raise FeedInvalid(f"there is no bar of {moment.tick} for {missing}")

        # 1. and 2. what is wanted, from what is known now, as whole-lot orders
        standing = desk.journal.open_orders()
        wanted = ask(desk, moment, standing)

        # 3. eight checks
        context = gathered(desk, moment, history, wanted, remaining(standing))
        judged = judge(inside_bands(wanted.orders, context), context, policy)

        # 4. venues
        lines, orders = routed(desk, moment, judged)
        return _record(desk, moment, context, policy.hash, wanted, lines), orders
    except PlatformError as error:
        return refusal(desk, moment, policy, str(error)), ()


def _alone(desk: Desk, moment: Moment, standing: Sequence[OrderRecord]) -> Wanted:
    """Return what the desk's one bundle wants."""
    bundle = desk.bundle
    manifest = bundle.manifest
    proposal = propose(
        bundle,
        SharedReads(desk.reader, moment.at),
        at=moment.at,
        current=moment.book.weights(moment.marks, manifest.symbols),
        freshness=desk.freshness,
    )
    working = remaining(standing)
    plan = make_plan(
        proposal.decided.weight,
        manifest.symbols,
        prices=moment.marks,
        positions=with_working(moment.positions, working) if working else moment.positions,
        equity=moment.equity,
        sizing=manifest.sizing,
        day=moment.session.day,
        counts=None if working else moment.book.counts(manifest.symbols),
    )
    notes = tuple([f"{left.symbol} left out: {left.reason}" for left in plan.left_out])
    return Wanted(
        symbols=manifest.symbols,
        current=proposal.current,
        decided=proposal.decided,
        features=proposal.features,
        orders=plan.orders,
        snapshot=manifest.snapshot.hash,
        kept=lambda context: (proposal.inputs, notes),
    )


def _record(
    desk: Desk,
    moment: Moment,
    context: Context,
    policy_hash: str,
    wanted: Wanted,
    lines: tuple[PlanLine, ...],
) -> DecisionRecord:
    known = max({bar.known_at for bar in moment.bars})
    features = [one.known_at for one in wanted.features.values() if one.known_at]
    inputs, notes = wanted.kept(context)
    return DecisionRecord(
        decision_id=decision_id(desk.journal.account, desk.bundle.hash, moment.tick),
        bundle=desk.bundle.hash,
        study=desk.bundle.manifest.study,
        tick=moment.tick,
        decided_at=moment.at,
        known_at=max([known, *features]),
        snapshot_hash=wanted.snapshot,
        policy_hash=policy_hash,
        symbols=wanted.symbols,
        inputs=inputs,
        current=tuple(wanted.current.tolist()),
        scores=tuple(wanted.decided.score.tolist()),
        weights=tuple(wanted.decided.weight.tolist()),
        signals=signals(wanted.symbols, wanted.decided),
        plan=lines,
        cash=moment.book.cash,
        equity=moment.equity,
        notes=notes,
    )


def refusal(desk: Desk, moment: Moment, policy: Policy, reason: str) -> DecisionRecord:
    """Return the record of a tick that decides nothing."""
    return DecisionRecord(
        decision_id=decision_id(desk.journal.account, desk.bundle.hash, moment.tick),
        bundle=desk.bundle.hash,
        study=desk.bundle.manifest.study,
        tick=moment.tick,
        decided_at=moment.at,
        known_at=moment.at,
        snapshot_hash=desk.bundle.manifest.snapshot.hash,
        policy_hash=policy.hash,
        symbols=(),
        inputs={},
        current=(),
        scores=(),
        weights=(),
        signals=(),
        plan=(),
        cash=moment.book.cash,
        equity=moment.equity,
        notes=(f"refused: {reason}",),
    )


def remaining(standing: Sequence[OrderRecord]) -> tuple[Order, ...]:
    """Return what still works of the orders that stand."""
    return tuple([record.remaining for record in standing])


def with_working(held: Mapping[str, Decimal], working: Sequence[Order]) -> dict[str, Decimal]:
    """Return units held once everything that works is filled."""
    standing = dict(held)
    for order in working:
        change = order.quantity * order.side.sign
        standing[order.symbol] = standing.get(order.symbol, ZERO) + change
    return standing


def _published(desk: Desk, moment: Moment) -> dict[str, Published]:
    """Return the state of each symbol, told halts on top of it."""
    known = _known(desk, moment)
    halted = None if desk.halts is None else desk.halts(moment.at)
    return overlaid(known, halted) if halted else known


def _known(desk: Desk, moment: Moment) -> dict[str, Published]:
    """Return the state of each symbol; a real venue that publishes nothing: nothing is known."""
    if desk.market is not None:
        return dict(desk.market(moment.at))
    if not desk.simulated:
        return {}
    normal = {at: Published(state=MarketState.NORMAL, at=at) for at in moment.instants}
    if len(normal) == 1:
        return dict.fromkeys(moment.priced_at, *normal.values())
    return {symbol: normal[at] for symbol, at in moment.priced_at.items()}


def gathered(
    desk: Desk, moment: Moment, history: History, wanted: Wanted, working: tuple[Order, ...]
) -> Context:
    """Gather everything the eight checks look at."""
    approved, killed = desk.approved(), desk.kill.engaged()
    return Context(
        at=moment.at,
        session=moment.session,
        account=desk.journal.account,
        caller=desk.caller,
        study=desk.bundle.manifest.study,
        bundle=desk.bundle.hash,
        approved_bundle=approved,
        stage=desk.bundle.stage,
        simulated=desk.simulated,
        verified=True,  # a LoadedBundle exists only after complete verification
        drift_stopped=any(f"drift.{study}" in killed for study in desk.studies()),
        killed=killed,
        market=_published(desk, moment),
        prices=moment.marks,
        priced_at=moment.priced_at,
        previous_prices=history.marks,
        volumes=average_volumes(
            desk.reader, desk.volume, [one.symbol for one in wanted.orders], moment.at
        ),
        positions=moment.positions,
        cash=moment.book.cash,
        equity=moment.equity,
        valued_at=moment.valued_at,
        equity_before=history.equity,
        equity_peak=history.peak,
        losing_streak=history.losing_streak,
        closes=tuple(history.closes),
        breaks=moment.breaks,
        broken=moment.broken,
        working=working,
        orders_this_session=desk.journal.sent_at(moment.tick),
        repeats=history.repeats(),
        features=wanted.features,
        weights=dict(zip(wanted.symbols, wanted.decided.weight.tolist(), strict=True)),
    )


def inside_bands(orders: Sequence[PlannedOrder], context: Context) -> list[PlannedOrder]:
    """Pull the collar of market orders in to the published bands; no trade happens beyond them.

    A stop's collar is pulled in as far as its stop price; one beyond the bands is check 4's.
    """
    found = []
    for order in orders:
        published = context.market.get(order.symbol)
        if published and published.bands and order.order_type in _COLLARED:
            limit = inside(order.limit_price, order.side, published.bands)
            if order.stop_price is not None and order.side.sign * (limit - order.stop_price) < 0:
                limit = order.limit_price
            order = msgspec.structs.replace(order, limit_price=limit)
        found.append(order)
    return found


def routed(
    desk: Desk, moment: Moment, judged: Sequence[Judged]
) -> tuple[tuple[PlanLine, ...], tuple[Order, ...]]:
    """Route what passed; return a line for every order of the plan, and the children."""
    lines: list[PlanLine] = []
    orders: list[Order] = []
    tick = _Tick(
        ask=tuple([broker.quote for broker in desk.brokers]),
        lot=desk.bundle.manifest.sizing.lot,
        account=desk.journal.account,
        bundle=desk.bundle.hash,
        name=moment.tick,
        at=moment.at,
        day=moment.at.date(),
    )
    for one in judged:
        line, children = _routed(tick, one)
        lines.append(line)
        orders.extend(children)
    return tuple(lines), tuple(orders)


class _Tick(NamedTuple):
    """What is the same for all orders of a tick, looked up once."""

    ask: tuple[Callable[[str, datetime], Quote], ...]  # of each venue
    lot: int  # units
    account: str
    bundle: str  # hash, hex
    name: str
    at: datetime  # UTC
    day: date


def _routed(tick: _Tick, judged: Judged) -> tuple[PlanLine, tuple[Order, ...]]:
    """Route an order that passed; one that cannot be routed is refused like the others."""
    planned, lot, at = judged.order, tick.lot, tick.at
    if not judged.passed:
        line = PlanLine(order=planned, verdicts=judged.verdicts, route="", order_ids=())
        return line, ()
    try:
        chosen = route_order(
            planned,
            [ask(planned.symbol, at) for ask in tick.ask],
            lot=1 if lot == 1 or planned.quantity % lot else lot,  # an exit takes odd lots along
            round_lot=round_lot(planned.reference_price, tick.day),
        )
        children = child_orders(
            chosen,
            planned,
            account=tick.account,
            bundle=tick.bundle,
            tick=tick.name,
            created_at=at,
        )
    except (OrderInvalid, RuntimeFault) as error:
        refused = Verdict(
            check="route", passed=False, limit="a venue", observed="none", reason=str(error)
        )
        line = PlanLine(order=planned, verdicts=(*judged.verdicts, refused), route="", order_ids=())
        return line, ()
    line = PlanLine(
        order=planned,
        verdicts=judged.verdicts,
        route=chosen.explanation,
        order_ids=tuple([child.order_id for child in children]),
    )
    return line, children
