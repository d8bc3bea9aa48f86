"""One decision: inputs, graph, plan, guardrails, routes; a record of it all and the orders.

Nothing is written and nothing is sent here. Steps: 1. what the bundle proposes; 2. whole-lot
orders; 3. eight checks; 4. venues. Each is a function of its own, so that several bundles can
propose while their account plans, checks and routes once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import msgspec

from featurestore.calendars import Session
from featurestore.errors import PlatformError
from runtime.bundles.inputs import SharedReads
from runtime.desk import Desk
from runtime.domain import Bar, Order, OrderType, PlannedOrder, Verdict
from runtime.errors import FeedInvalid, OrderInvalid, RuntimeFault
from runtime.guardrails import Context, FeatureAge, Judged, MarketState, Published, judge
from runtime.history import History
from runtime.joint.proposal import Proposal, propose
from runtime.journal.book import Book
from runtime.journal.records import DecisionRecord, PlanLine, decision_id
from runtime.market.bands import inside
from runtime.plan import Plan, make_plan, signals
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
    equity: Decimal  # USD at the bars' closes
    breaks: tuple[str, ...]  # unresolved, in words
    broken: frozenset[str] = frozenset()  # symbols of which a venue says to hold other units
    marks: dict[str, Decimal] = field(init=False)  # newest close per symbol, USD per unit

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", {bar.symbol: bar.close for bar in self.bars})

    @property
    def tick(self) -> str:
        """Return the tick's name."""
        return self.session.day.isoformat()

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Return the symbols whose newest bar is of an earlier session."""
        return tuple(bar.symbol for bar in self.bars if bar.event_time < self.session.open)


def decide(
    desk: Desk, moment: Moment, history: History
) -> tuple[DecisionRecord, tuple[Order, ...]]:
    """Decide once; whatever cannot be decided becomes a refusal on record, without orders."""
    policy = desk.policy
    try:
        policy = desk.policy_at(moment.at)
        return _decide(desk, moment, history, policy)
    except PlatformError as error:
        return refusal(desk, moment, policy, str(error)), ()


def _decide(
    desk: Desk, moment: Moment, history: History, policy: Policy
) -> tuple[DecisionRecord, tuple[Order, ...]]:
    bundle, marks = desk.bundle, moment.marks
    if moment.unpriced:
        raise FeedInvalid(f"there is no bar of {moment.tick} for {', '.join(moment.unpriced)}")

    # 1. what the bundle proposes, from what is known now
    proposal = propose(
        bundle,
        SharedReads(desk.reader, moment.at),
        at=moment.at,
        current=moment.book.weights(marks, bundle.manifest.symbols),
        freshness=desk.freshness,
    )

    # 2. whole-lot orders
    positions = moment.book.quantities()
    working = tuple(record.remaining for record in desk.journal.open_orders())
    plan = make_plan(
        proposal.decided.weight,
        bundle.manifest.symbols,
        prices=marks,
        positions=with_working(positions, working),
        equity=moment.equity,
        sizing=bundle.manifest.sizing,
        day=moment.session.day,
    )

    # 3. eight checks
    context = gathered(
        desk,
        moment,
        history,
        features=proposal.features,
        weights=proposal.weights,
        positions=positions,
        working=working,
    )
    judged = judge(inside_bands(plan.orders, context), context, policy)

    # 4. venues
    lines, orders = routed(desk, moment, judged)
    return _record(desk, moment, policy, proposal, plan, lines), orders


def _record(
    desk: Desk,
    moment: Moment,
    policy: Policy,
    proposal: Proposal,
    plan: Plan,
    lines: tuple[PlanLine, ...],
) -> DecisionRecord:
    manifest, decided = proposal.bundle.manifest, proposal.decided
    known = [bar.known_at for bar in moment.bars]
    known += [feature.known_at for feature in proposal.features.values() if feature.known_at]
    return DecisionRecord(
        decision_id=decision_id(desk.journal.account, proposal.bundle.hash, moment.tick),
        bundle=proposal.bundle.hash,
        study=manifest.study,
        tick=moment.tick,
        decided_at=moment.at,
        known_at=max(known),
        snapshot_hash=manifest.snapshot.hash,
        policy_hash=policy.hash,
        symbols=manifest.symbols,
        inputs=proposal.inputs,
        current=tuple(proposal.current.tolist()),
        scores=tuple(decided.score.tolist()),
        weights=tuple(decided.weight.tolist()),
        signals=signals(manifest.symbols, decided),
        plan=lines,
        cash=moment.book.cash,
        equity=moment.equity,
        notes=tuple(f"{left.symbol} left out: {left.reason}" for left in plan.left_out),
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


def with_working(held: Mapping[str, Decimal], working: Sequence[Order]) -> dict[str, Decimal]:
    """Return units held once everything that works is filled."""
    standing = dict(held)
    for order in working:
        change = order.quantity * order.side.sign
        standing[order.symbol] = standing.get(order.symbol, ZERO) + change
    return standing


def _published(desk: Desk, moment: Moment) -> dict[str, Published]:
    """Return the state of each symbol; a real venue that publishes nothing: nothing is known."""
    if desk.market is not None:
        return dict(desk.market(moment.at))
    if not desk.simulated:
        return {}
    normal = {
        at: Published(state=MarketState.NORMAL, at=at)
        for at in {bar.event_time for bar in moment.bars}
    }
    return {bar.symbol: normal[bar.event_time] for bar in moment.bars}


def gathered(
    desk: Desk,
    moment: Moment,
    history: History,
    *,
    features: Mapping[str, FeatureAge],
    weights: Mapping[str, float],
    positions: Mapping[str, Decimal],
    working: tuple[Order, ...],
) -> Context:
    """Gather everything the eight checks look at."""
    return Context(
        at=moment.at,
        session=moment.session,
        account=desk.journal.account,
        caller=desk.caller,
        study=desk.bundle.manifest.study,
        bundle=desk.bundle.hash,
        approved_bundle=desk.approved(),
        stage=desk.bundle.stage,
        simulated=desk.simulated,
        verified=True,  # a LoadedBundle exists only after complete verification
        drift_stopped=False,
        killed=desk.kill.engaged(),
        market=_published(desk, moment),
        prices=moment.marks,
        priced_at={bar.symbol: bar.event_time for bar in moment.bars},
        previous_prices=history.marks,
        volumes={},
        positions=positions,
        cash=moment.book.cash,
        equity=moment.equity,
        valued_at=min((bar.event_time for bar in moment.bars), default=None),
        equity_before=history.equity,
        equity_peak=history.peak,
        losing_streak=history.losing_streak,
        closes=tuple(history.closes),
        breaks=moment.breaks,
        broken=moment.broken,
        working=working,
        orders_this_session=desk.journal.sent_at(moment.tick),
        repeats=history.repeats(),
        features=features,
        weights=weights,
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
    tick = moment.tick
    for one in judged:
        line, children = _routed(desk, moment.at, tick, one)
        lines.append(line)
        orders.extend(children)
    return tuple(lines), tuple(orders)


def _routed(
    desk: Desk, at: datetime, tick: str, judged: Judged
) -> tuple[PlanLine, tuple[Order, ...]]:
    """Route an order that passed; one that cannot be routed is refused like the others."""
    planned, lot = judged.order, desk.bundle.manifest.sizing.lot
    if not judged.passed:
        line = PlanLine(order=planned, verdicts=judged.verdicts, route="", order_ids=())
        return line, ()
    try:
        quotes = [broker.quote(planned.symbol, at) for broker in desk.brokers]
        chosen = route_order(
            planned,
            quotes,
            lot=1 if planned.quantity % lot else lot,  # an exit takes odd lots along
        )
        children = child_orders(
            chosen,
            planned,
            account=desk.journal.account,
            bundle=desk.bundle.hash,
            tick=tick,
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
