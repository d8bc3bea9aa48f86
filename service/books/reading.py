"""Answers from the journal: signals, plan, positions, equity, sessions, decisions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal

from runtime.bundles.inputs import Array, CurrentWeights, Input, Latest, Window
from runtime.domain import Fill, Signal
from runtime.journal.actions import Correction, Dividend, Event, Split, in_time, taken_back
from runtime.journal.book import book_of
from runtime.journal.queries import JournalQueries
from runtime.journal.records import DecisionRecord, OrderRecord, PlanLine, SessionRecord
from service.books.curves import returns_of, sharpe, summary
from service.books.index import Index, IndexedDecision
from service.faults import NotFound
from service.web import answers as a

REFUSED = "refused: "  # how the engine begins the note of a tick that decided nothing
CENT, MICRO = Decimal("0.01"), Decimal("0.000001")

InputsOf = Callable[[str], Mapping[str, Input]]  # bundle hash -> declared inputs, {} if unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything the live routes ask of one account."""

    journal: JournalQueries
    index: Index
    inputs_of: InputsOf

    def signals(self, day: date | None) -> a.SignalsAnswer:
        """Return the signals of the newest decision up to a day; NotFound before the first."""
        record = self._latest(day).record
        return a.SignalsAnswer(
            decision_id=record.decision_id,
            tick=record.tick,
            decided_at=record.decided_at,
            known_at=record.known_at,
            bundle=record.bundle,
            study=record.study,
            signals=_signals(record),
        )

    def plan(self, day: date | None) -> a.PlanAnswer:
        """Return the plan of the newest decision up to a day; NotFound before the first."""
        record = self._latest(day).record
        return a.PlanAnswer(
            decision_id=record.decision_id,
            tick=record.tick,
            decided_at=record.decided_at,
            bundle=record.bundle,
            refused=_refusal(record),
            notes=record.notes,
            lines=self._lines(record),
        )

    def positions(self, day: date | None) -> a.PositionsAnswer:
        """Return the books at the close of the newest session up to a day."""
        session = self._session(day)
        self.index.refresh()
        book = book_of(self._events(session.closed_at))
        bases = {symbol: held.basis for symbol, held in book.positions().items()}
        lines = [
            _position(symbol, quantity, session, bases.get(symbol))
            for symbol, quantity in session.positions.items()
        ]
        return a.PositionsAnswer(
            day=session.day,
            closed_at=session.closed_at,
            cash=session.cash,
            equity=session.equity,
            positions=tuple(sorted(lines, key=lambda line: (-abs(line.value), line.symbol))),
        )

    def equity(self, start: date | None, end: date | None) -> a.EquityAnswer:
        """Return the curve and the benchmark from the same start, with the figures of both."""
        points = self.journal.equity_curve(start, end)
        self.index.refresh()
        last = self.journal.sessions(limit=1, end=end)
        levels: list[Decimal] = []
        for point in points:
            grown = Decimal(repr(1.0 + (point.benchmark_return or 0.0)))
            levels.append(levels[-1] * grown if levels else point.equity)
        benchmark = tuple(level.quantize(CENT, ROUND_HALF_EVEN) for level in levels)
        own, other = [float(point.equity) for point in points], [float(level) for level in levels]
        days = {point.day for point in points}
        decided = sorted({one.day for one in self.index.decisions} & days)
        excess = returns_of(own) - returns_of(other)
        return a.EquityAnswer(
            days=tuple(point.day for point in points),
            equity=tuple(point.equity for point in points),
            benchmark=benchmark,
            benchmark_name=last[0].benchmark if last else "",
            decisions=tuple(decided),
            strategy=summary(own),
            reference=summary(other),
            information_ratio=sharpe(excess),
        )

    def sessions(self, day: date | None, limit: int) -> a.SessionsAnswer:
        """Return a page of sessions up to a day, newest first."""
        found = self.journal.sessions(limit=limit + 1, end=day)[::-1]
        page = found[:limit]
        return a.SessionsAnswer(
            items=tuple(_session(record) for record in page),
            next=found[limit].day if len(found) > limit else None,
        )

    def decisions(self, day: date | None, before: str | None, limit: int) -> a.DecisionsAnswer:
        """Return a page of decisions, newest first.

        Args:
            day: only those taken until the end of it.
            before: id of the last decision of the page before.
            limit: how many at most.
        """
        self.index.refresh()
        found = list(self.index.up_to(day))
        if before is not None:
            names = [one.record.decision_id for one in found]
            if before not in names:
                raise NotFound(f"there is no decision {before} to page from", "start without it")
            found = found[: names.index(before)]
        page = found[::-1][:limit]
        return a.DecisionsAnswer(
            items=tuple(self.summary(one) for one in page),
            next=page[-1].record.decision_id if len(found) > limit else None,
        )

    def decision(self, decision_id: str) -> a.DecisionAnswer:
        """Return one decision with everything; an unambiguous beginning of the id is enough."""
        one, _ = self.find(decision_id)
        found = self.journal.decision(one.record.decision_id)
        if found is None:
            raise NotFound(f"there is no decision {decision_id}", "see /decisions")
        record = found.record
        declared = self.inputs_of(record.bundle)
        inputs = (_input(name, array, declared.get(name)) for name, array in record.inputs.items())
        return a.DecisionAnswer(
            decision_id=record.decision_id,
            tick=record.tick,
            bundle=record.bundle,
            study=record.study,
            decided_at=record.decided_at,
            known_at=record.known_at,
            snapshot_hash=record.snapshot_hash,
            policy_hash=record.policy_hash,
            inputs_hash=record.inputs_hash,
            symbols=record.symbols,
            inputs=tuple(inputs),
            signals=_signals(record),
            lines=self._lines(record),
            cash=record.cash,
            equity=record.equity,
            notes=record.notes,
            entry_hash=found.hash,
        )

    def knows(self, text: str) -> bool:
        """Say whether a decision or order of this account has an id that begins with `text`."""
        self.index.refresh()
        return bool(text and self.index.beginning_with(text))

    def find(self, text: str) -> tuple[IndexedDecision, str | None]:
        """Return the decision, and the order, whose id is or begins with `text`.

        Raises:
            NotFound: none does, or several do.
        """
        self.index.refresh()
        found = self.index.beginning_with(text) if text else []
        exact = [one for one in found if text in (one[0].record.decision_id, one[1])]
        found = exact or found
        if not found:
            raise NotFound(
                f"no decision or order is called {text!r}",
                "list the decisions with GET /decisions, or give a day to sluice why",
            )
        if len(found) > 1:
            raise NotFound(f"{len(found)} ids begin with {text!r}", "give more of the id")
        return found[0]

    def summary(self, one: IndexedDecision) -> a.DecisionSummary:
        """Return one line of the list of decisions."""
        record = one.record
        return a.DecisionSummary(
            decision_id=record.decision_id,
            tick=record.tick,
            day=one.day,
            decided_at=record.decided_at,
            bundle=record.bundle,
            study=record.study,
            refused=_refusal(record),
            planned=len(record.plan),
            denied=sum(line.denied for line in record.plan),
            orders=len(one.order_ids),
            fills=sum(len(self.index.fills_of(name)) for name in one.order_ids),
            traded=self.index.traded(one).quantize(CENT, ROUND_HALF_EVEN),
        )

    def order(self, order_id: str) -> a.OrderAnswer:
        """Return one order with its fills."""
        record = self.journal.order(order_id)
        if record is None:
            raise NotFound(f"there is no order {order_id}", "see /plan for the orders of today")
        return _order(record, self.index.fills_of(order_id))

    def _events(self, until: datetime) -> list[Event]:
        """Return what stands of the trades and actions up to an instant."""
        adjusted = self.journal.adjustments()
        wrong = {(one.venue, one.execution_id) for one in adjusted if isinstance(one, Correction)}
        events: list[Event] = [
            fill
            for fill in self.index.fills
            if fill.executed_at <= until and (fill.venue, fill.execution_id) not in wrong
        ]
        undone = taken_back(adjusted)
        acted = [one for one in adjusted if isinstance(one, Split | Dividend)]
        events += [one for one in acted if one.effective <= until and one.action_id not in undone]
        return in_time(events) if adjusted else events

    def _latest(self, day: date | None) -> IndexedDecision:
        self.index.refresh()
        found = self.index.up_to(day)
        if not found:
            raise _nothing("nothing was decided", day)
        return found[-1]

    def _session(self, day: date | None) -> SessionRecord:
        found = self.journal.sessions(limit=1, end=day)
        if not found:
            raise _nothing("no session was closed", day)
        return found[0]

    def _lines(self, record: DecisionRecord) -> tuple[a.PlanLine, ...]:
        orders = {one.order.order_id: one for one in self.journal.orders(record.decision_id)}
        return tuple(self._line(line, orders) for line in record.plan)

    def _line(self, line: PlanLine, orders: Mapping[str, OrderRecord]) -> a.PlanLine:
        order = line.order
        return a.PlanLine(
            symbol=order.symbol,
            side=order.side.value,
            quantity=order.quantity,
            order_type=order.order_type.value,
            limit_price=order.limit_price,
            stop_price=order.stop_price,
            time_in_force=order.time_in_force.value,
            reference_price=order.reference_price,
            notional=order.notional.quantize(CENT, ROUND_HALF_EVEN),
            reason=order.reason,
            passed=not line.denied,
            verdicts=tuple(
                a.VerdictAnswer(
                    check=verdict.check,
                    passed=verdict.passed,
                    limit=verdict.limit,
                    observed=verdict.observed,
                    reason=verdict.reason,
                )
                for verdict in line.verdicts
            ),
            route=line.route,
            orders=tuple(
                _order(orders[name], self.index.fills_of(name))
                for name in line.order_ids
                if name in orders
            ),
        )


def _nothing(what: str, day: date | None) -> NotFound:
    """Return the answer to a question about days that hold nothing."""
    when = "yet" if day is None else f"up to {day}"
    return NotFound(f"{what} {when}", "replay some sessions or wait for the schedule")


def _refusal(record: DecisionRecord) -> str:
    """Return why the tick decided nothing, without the mark that the engine puts before it."""
    found = (note for note in record.notes if note.startswith(REFUSED))
    return next((note.removeprefix(REFUSED) for note in found), "")


def _signals(record: DecisionRecord) -> tuple[a.SignalAnswer, ...]:
    current = dict(zip(record.symbols, record.current, strict=True))
    ranked: Sequence[Signal] = sorted(record.signals, key=lambda s: (-s.score, s.symbol))
    return tuple(
        a.SignalAnswer(
            symbol=signal.symbol,
            score=signal.score,
            weight=signal.weight,
            current=current[signal.symbol],
            confidence=signal.confidence,
            rank=rank,
        )
        for rank, signal in enumerate(ranked, start=1)
    )


def _order(record: OrderRecord, fills: Sequence[Fill]) -> a.OrderAnswer:
    order = record.order
    traded = sum((fill.quantity * fill.price for fill in fills), Decimal(0))
    filled = sum((fill.quantity for fill in fills), Decimal(0))
    return a.OrderAnswer(
        order_id=order.order_id,
        decision_id=record.decision_id,
        symbol=order.symbol,
        leg=order.leg,
        venue=order.venue,
        side=order.side.value,
        quantity=order.quantity,
        order_type=order.order_type.value,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        time_in_force=order.time_in_force.value,
        created_at=order.created_at,
        state=record.state.value,
        note=record.note,
        filled=filled,
        average_price=(traded / filled).quantize(MICRO, ROUND_HALF_EVEN) if filled else None,
        fees=sum((fill.fee for fill in fills), Decimal(0)),
        fills=tuple(
            a.FillAnswer(
                venue=fill.venue,
                execution_id=fill.execution_id,
                quantity=fill.quantity,
                price=fill.price,
                fee=fill.fee,
                executed_at=fill.executed_at,
            )
            for fill in fills
        ),
    )


def _position(
    symbol: str, quantity: Decimal, session: SessionRecord, basis: Decimal | None
) -> a.PositionAnswer:
    mark = session.marks[symbol]
    value = (quantity * mark).quantize(CENT, ROUND_HALF_EVEN)
    cost = unrealised = None
    if basis is not None:
        cost = (basis / quantity).quantize(MICRO, ROUND_HALF_EVEN)
        unrealised = (value - basis).quantize(CENT, ROUND_HALF_EVEN)
    return a.PositionAnswer(
        symbol=symbol,
        quantity=quantity,
        average_cost=cost,
        mark=mark,
        value=value,
        weight=float(value / session.equity) if session.equity else 0.0,
        unrealised=unrealised,
    )


def _session(record: SessionRecord) -> a.SessionAnswer:
    return a.SessionAnswer(
        day=record.day,
        closed_at=record.closed_at,
        equity=record.equity,
        cash=record.cash,
        benchmark_return=record.benchmark_return,
        positions=len(record.positions),
        realised=record.realised,
        unrealised=record.unrealised,
        fees=record.fees,
        breaks=tuple(
            a.BreakAnswer(
                kind=one.kind.value,
                venue=one.venue,
                symbol=one.symbol,
                ours=one.ours,
                theirs=one.theirs,
            )
            for one in record.breaks
        ),
    )


def _input(name: str, values: Array, declared: Input | None) -> a.InputAnswer:
    match declared:
        case Window(feature=feature, length=length):
            source, unit = f"last {length} of {feature}", ""
        case Latest(feature=feature):
            source, unit = f"newest {feature}", ""
        case CurrentWeights():
            source, unit = "weights held", "fraction"
        case None:
            source, unit = "", ""
    nested = values.tolist()
    rows = tuple(tuple(row) for row in nested) if values.ndim == 2 else tuple(nested)
    return a.InputAnswer(
        name=name, shape=tuple(values.shape), unit=unit, source=source, values=rows
    )
