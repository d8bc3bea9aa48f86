"""One decision: inputs, graph, plan, guardrails, routes; a record of it all and the orders.

Nothing is written and nothing is sent here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec

from featurestore.calendars import Session
from featurestore.errors import PlatformError
from featurestore.features.expression import sources_of
from runtime.desk import Desk
from runtime.domain import Bar, Order, OrderType, PlannedOrder, Verdict
from runtime.errors import FeedInvalid, OrderInvalid, RuntimeFault
from runtime.guardrails import Context, FeatureAge, Judged, MarketState, Published, judge
from runtime.history import History
from runtime.inputs import Array, CurrentWeights, gather
from runtime.journal.book import Book
from runtime.journal.records import DecisionRecord, PlanLine, decision_id
from runtime.market.bands import inside
from runtime.plan import make_plan, signals
from runtime.policy import Policy
from runtime.routing.router import child_orders, route

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The tick as the engine found it, before anything is decided."""

    session: Session
    at: datetime  # UTC
    bars: Sequence[Bar]
    book: Book
    equity: Decimal  # USD at the bars' closes
    breaks: tuple[str, ...]  # unresolved, in words

    @property
    def tick(self) -> str:
        """Return the tick's name."""
        return self.session.day.isoformat()

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Return the symbols whose newest bar is of an earlier session."""
        return tuple(bar.symbol for bar in self.bars if bar.event_time < self.session.open)

    @property
    def marks(self) -> dict[str, Decimal]:
        """Return the newest close per symbol, USD per unit."""
        return {bar.symbol: bar.close for bar in self.bars}


def decide(
    desk: Desk, moment: Moment, history: History
) -> tuple[DecisionRecord, tuple[Order, ...]]:
    """Decide once; whatever cannot be decided becomes a refusal on record, without orders."""
    policy = desk.policy
    try:
        policy = desk.policy_at(moment.at)
        return _decide(desk, moment, history, policy)
    except PlatformError as error:
        return _refusal(desk, moment, policy, str(error)), ()


def _decide(
    desk: Desk, moment: Moment, history: History, policy: Policy
) -> tuple[DecisionRecord, tuple[Order, ...]]:
    bundle, manifest = desk.bundle, desk.bundle.manifest
    symbols, marks = manifest.symbols, moment.marks
    if moment.unpriced:
        raise FeedInvalid(f"there is no bar of {moment.tick} for {', '.join(moment.unpriced)}")

    # 1. everything the graph may see, as known now
    current = moment.book.weights(marks, symbols)
    inputs = gather(desk.reader, bundle.inputs, symbols, at=moment.at, current=current)
    features = _feature_ages(desk, moment.at)

    # 2. the graph
    decided = bundle.session.run(inputs)

    # 3. whole-lot orders
    held = {symbol: moment.book.position(symbol) for symbol in symbols}
    working = tuple(record.order for record in desk.journal.open_orders())
    plan = make_plan(
        decided.weight,
        symbols,
        prices=marks,
        positions=_with_working(held, working),
        equity=moment.equity,
        sizing=manifest.sizing,
        day=moment.session.day,
    )

    # 4. eight checks
    context = _context(desk, moment, history, working, decided.weight, features)
    judged = judge(_inside_bands(plan.orders, context), context, policy)

    # 5. venues
    lines: list[PlanLine] = []
    orders: list[Order] = []
    for one in judged:
        line, children = _routed(desk, moment, one)
        lines.append(line)
        orders.extend(children)

    known = [bar.known_at for bar in moment.bars]
    known += [feature.known_at for feature in features.values() if feature.known_at]
    record = DecisionRecord(
        decision_id=decision_id(desk.journal.account, bundle.hash, moment.tick),
        bundle=bundle.hash,
        study=manifest.study,
        tick=moment.tick,
        decided_at=moment.at,
        known_at=max(known),
        snapshot_hash=manifest.snapshot.hash,
        policy_hash=policy.hash,
        symbols=symbols,
        inputs=inputs,
        current=tuple(current.tolist()),
        scores=tuple(decided.score.tolist()),
        weights=tuple(decided.weight.tolist()),
        signals=signals(symbols, decided),
        plan=tuple(lines),
        cash=moment.book.cash,
        equity=moment.equity,
        notes=tuple(f"{left.symbol} left out: {left.reason}" for left in plan.left_out),
    )
    return record, tuple(orders)


def _refusal(desk: Desk, moment: Moment, policy: Policy, reason: str) -> DecisionRecord:
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


def _with_working(held: Mapping[str, Decimal], working: Sequence[Order]) -> dict[str, Decimal]:
    """Return units held once everything that works is filled."""
    standing = dict(held)
    for order in working:
        change = order.quantity * order.side.sign
        standing[order.symbol] = standing.get(order.symbol, ZERO) + change
    return standing


def _feature_ages(desk: Desk, at: datetime) -> dict[str, FeatureAge]:
    """Say of everything read, computed features' sources too, when its oldest symbol changed."""
    symbols = desk.bundle.manifest.symbols
    sources = {
        source
        for declared in desk.bundle.inputs.values()
        if not isinstance(declared, CurrentWeights)
        for source in sources_of(declared.feature)
    }
    ages = {}
    for source in sorted(sources, key=str):
        names = symbols if source.entity is None else (source.entity,)
        known = desk.reader.latest(source.feature, names, at=at).known_at
        allowed = desk.freshness.get(source.view)
        ages[source.name] = FeatureAge(
            known_at=min(known), allowed=None if allowed is None else allowed.total_seconds()
        )
    return ages


def _context(
    desk: Desk,
    moment: Moment,
    history: History,
    working: tuple[Order, ...],
    weights: Array,
    features: Mapping[str, FeatureAge],
) -> Context:
    """Gather everything the eight checks look at."""
    symbols, book = desk.bundle.manifest.symbols, moment.book
    states: dict[str, Published] = {}  # a real venue that publishes nothing: nothing is known
    if desk.market is not None:
        states = dict(desk.market(moment.at))
    elif desk.simulated:
        normal = MarketState.NORMAL
        states = {bar.symbol: Published(state=normal, at=bar.event_time) for bar in moment.bars}
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
        market=states,
        prices=moment.marks,
        priced_at={bar.symbol: bar.event_time for bar in moment.bars},
        previous_prices=history.marks,
        volumes={},
        positions={name: held.quantity for name, held in book.positions().items()},
        cash=book.cash,
        equity=moment.equity,
        valued_at=min((bar.event_time for bar in moment.bars), default=None),
        equity_before=history.equity,
        equity_peak=history.peak,
        losing_streak=history.losing_streak,
        closes=tuple(history.closes),
        breaks=moment.breaks,
        working=working,
        orders_this_session=desk.journal.sent_at(moment.tick),
        repeats=history.repeats(),
        features=features,
        weights=dict(zip(symbols, weights.tolist(), strict=True)),
    )


def _inside_bands(orders: Sequence[PlannedOrder], context: Context) -> list[PlannedOrder]:
    """Pull the collar of market orders in to the published bands; no trade happens beyond them."""
    found = []
    for order in orders:
        published = context.market.get(order.symbol)
        if order.order_type is OrderType.MARKET and published and published.bands:
            limit = inside(order.limit_price, order.side, published.bands)
            order = msgspec.structs.replace(order, limit_price=limit)
        found.append(order)
    return found


def _routed(desk: Desk, moment: Moment, judged: Judged) -> tuple[PlanLine, tuple[Order, ...]]:
    """Route an order that passed; one that cannot be routed is refused like the others."""
    planned, sizing = judged.order, desk.bundle.manifest.sizing
    if not judged.passed:
        line = PlanLine(order=planned, verdicts=judged.verdicts, route="", order_ids=())
        return line, ()
    lot = 1 if planned.quantity % sizing.lot else sizing.lot  # an exit takes odd lots along
    try:
        quotes = [broker.quote(planned.symbol, moment.at) for broker in desk.brokers]
        chosen = route(planned, quotes, lot=lot)
        children = child_orders(
            chosen,
            planned,
            account=desk.journal.account,
            bundle=desk.bundle.hash,
            tick=moment.tick,
            created_at=moment.at,
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
        order_ids=tuple(child.order_id for child in children),
    )
    return line, children
