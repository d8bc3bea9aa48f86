"""The life of a made-up account: decisions by the live code, on random data and random luck.

Each session something comes from the venues: fills whole or in part, rejections, orders that rest.
Prices walk, quotes differ, limits change, switches are pulled, data are missing. Holdings, open
orders and closes are kept here by other means than the proof has, as a running engine keeps them;
what is journalled is written in large pieces, since a million commits would measure a disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, cast

import msgspec
import numpy as np

from featurestore.calendars import Session
from runtime.bundles.bundle import LoadedBundle
from runtime.chain import Draft
from runtime.clock import ReplayClock
from runtime.desk import Desk
from runtime.domain import Bar, Fill, Order, OrderState, TimeInForce
from runtime.history import History
from runtime.journal import blobs, wire
from runtime.journal.actions import Dividend
from runtime.journal.adjust import SymbolHistory, adjust
from runtime.journal.book import Book
from runtime.journal.records import CashFlow, OrderEvent, OrderRecord, SessionRecord
from runtime.journal.rows import decision_row
from runtime.journal.store import Journal
from runtime.journal.tables import DECISION
from runtime.proof.recording import Recorder
from runtime.tick import Moment, decide
from tests.golden.outside import (
    CENT,
    KINDS,
    NAMES,
    POLICIES,
    SESSIONS,
    VENUES,
    WINDOW,
    XNYS,
    Exchange,
    Outside,
    Paper,
)


@dataclass
class Live:
    """The account as a running engine has it, and the entries it has not written yet."""

    account: str
    book: Book = field(default_factory=Book)
    orders: dict[str, OrderRecord] = field(default_factory=dict)  # open ones
    sent: dict[str, int] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    decided: list[tuple[int, Any]] = field(default_factory=list)  # place among drafts, record
    executions: int = 0

    def open_orders(self) -> tuple[OrderRecord, ...]:
        """Return what still works."""
        return tuple(self.orders.values())

    def sent_at(self, tick: str) -> int:
        """Return how many planned orders left at a tick."""
        return self.sent.get(tick, 0)

    def flow(self, amount: Decimal, at: datetime) -> None:
        """Pay in."""
        flow = CashFlow(flow_id=f"flow{len(self.drafts)}", amount=amount, at=at)
        payload = wire.encode_flow(self.account, flow, self.book.flow(amount))
        self.drafts.append(Draft("flow", f"{self.account}/{flow.flow_id}", at, payload))

    def state(self, record: OrderRecord, state: OrderState, at: datetime) -> None:
        """Put an order where its venue says it stands."""
        event = OrderEvent(order_id=record.order.order_id, state=state, at=at, note="luck")
        key = f"{event.order_id}/{state.value}"
        self.drafts.append(Draft("order", key, at, wire.encode_event(event)))
        self._stands(record, state, record.filled, at)

    def fill(self, record: OrderRecord, size: Decimal, price: Decimal, at: datetime) -> None:
        """Execute a part of an order."""
        self.executions += 1
        order = record.order
        fill = wire.plain_fill(
            Fill(
                venue=order.venue,
                execution_id=f"{self.account}.{self.executions}",
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                quantity=size,
                price=price,
                fee=Decimal(self.executions % 7) * CENT,
                executed_at=at,
            )
        )
        booking = self.book.apply(fill)
        assert booking is not None
        filled = record.filled + size
        state = OrderState.FILLED if filled == order.quantity else OrderState.WORKING
        payload = wire.encode_fill(self.account, fill, booking, booking.lines, state)
        self.drafts.append(Draft("fill", f"{fill.venue}/{fill.execution_id}", at, payload))
        self._stands(record, state, filled, at)

    def _stands(
        self, record: OrderRecord, state: OrderState, filled: Decimal, at: datetime
    ) -> None:
        name = record.order.order_id
        if state.terminal:
            self.orders.pop(name, None)
            return
        self.orders[name] = replace(record, state=state, filled=filled, updated_at=at)

    def dividend(self, symbol: str, at: datetime) -> None:
        """Pay a dividend on what is held."""
        event = Dividend(
            action_id=f"d{len(self.drafts)}", symbol=symbol, per_unit=Decimal("0.17"), effective=at
        )
        done = adjust(self.book, event, symbol, SymbolHistory)
        payload = wire.encode_adjustment(self.account, event, done)
        self.drafts.append(Draft("dividend", f"{self.account}/{event.action_id}", at, payload))

    def commit(self, record: Any, orders: Sequence[Order], beside: dict[str, bytes]) -> None:
        """Journal a decision."""
        payload = wire.encode_decision(record, self.account, tuple(orders))
        self.decided.append((len(self.drafts), record))
        key = f"{self.account}/{record.bundle}/{record.tick}"
        self.drafts.append(Draft("decision", key, record.decided_at, payload))
        self.kept[record.inputs_hash] = blobs.encode_arrays(record.inputs)
        self.kept.update(beside)
        for order in orders:
            self.orders[order.order_id] = OrderRecord(
                order=order,
                decision_id=record.decision_id,
                account=self.account,
                state=OrderState.PENDING,
                filled=Decimal(0),
                note="",
                updated_at=order.created_at,
            )
        if orders:
            self.sent[record.tick] = len({order.symbol for order in orders})

    def write(self, journal: Journal) -> None:
        """Write everything at once."""
        with journal.writing() as connection:
            first = journal.log.extend(connection, self.drafts)[0]
            journal.sql.run(
                connection,
                "INSERT INTO journal_blobs (name, data) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(name, blobs.compress(data)) for name, data in self.kept.items()],
            )
            rows = [
                decision_row(first + place, record, self.account) for place, record in self.decided
            ]
            journal.sql.insert(connection, "journal_decisions", DECISION, rows)


def live(journal: Journal, seed: int, decisions: int) -> Iterator[bytes]:
    """Let an account live for that many sessions; yield the hash of what each decision read.

    Args:
        journal: of the account, empty.
        seed: of everything random.
        decisions: one per session.
    """
    chance, draws = Random(seed), np.random.default_rng(seed)
    kind = chance.choice(KINDS)
    first = chance.randrange(len(SESSIONS) - decisions)
    sessions = SESSIONS[first : first + decisions]
    n, bundle = len(kind.symbols), kind.load()
    steps = draws.normal(0.0003, 0.012, (n, decisions + WINDOW))
    closes = np.round(draws.uniform(15, 180, (n, 1)) * np.exp(np.cumsum(steps, axis=1)), 2)
    money = chance.random() < 0.2
    if money:
        signature = msgspec.structs.replace(bundle.signature, stage="production")
        bundle = replace(bundle, signature=signature)
    banded = money or chance.random() < 0.3
    outside = Outside(chance, bundle, closes, sessions, banded, money)
    account, clock = Live(journal.account), ReplayClock(sessions[0].open)
    recorder = Recorder(desk_of(bundle, outside, account, clock))
    history = History(bundle.manifest, XNYS)
    account.flow(Decimal(chance.randint(200_000, 3_000_000)), sessions[0].open)
    for day, session in enumerate(sessions):
        outside.turn(day)
        _overnight(account, outside, session)
        at = session.close + timedelta(microseconds=chance.randrange(60_000_000))
        clock.advance(at)
        moment = _moment(account, outside, session, at)
        with recorder.listening() as told:
            record, orders = decide(told, moment, history)
        record, beside = recorder.sealed(record, moment)
        account.commit(record, orders, beside)
        history.decided(record)
        yield bytes.fromhex(record.inputs_hash if record.symbols else record.scene_hash)
        if chance.random() < 0.9:
            _close(account, history, session, moment)
    account.write(journal)


def desk_of(bundle: LoadedBundle, outside: Outside, account: Live, clock: ReplayClock) -> Desk:
    """Return the desk of an account."""
    return Desk(
        bundle=bundle,
        reader=cast(Any, outside),
        feed=cast(Any, None),
        journal=cast(Any, account),
        brokers=tuple(
            cast(Any, (Exchange if outside.money else Paper)(name, outside)) for name in VENUES
        ),
        policy=POLICIES[0],
        calendar=XNYS,
        clock=clock,
        kill=cast(Any, outside),
        approved=outside.approved,
        market=outside.market if outside.banded else None,
        freshness={"prices": timedelta(days=6)},
        limits=outside.limits,
    )


def _overnight(account: Live, outside: Outside, session: Session) -> None:
    """Let happen what a session brings to the orders of the one before."""
    chance = outside.chance
    for number, record in enumerate(account.open_orders()):
        at = session.open + timedelta(seconds=number)
        draw, order = chance.random(), record.order
        price = outside.price(NAMES.index(order.symbol))
        price += Decimal(chance.randint(-9, 9)) * Decimal("0.0025")
        left = order.quantity - record.filled
        rests = order.time_in_force is TimeInForce.GTC
        if draw < 0.03 and record.state is OrderState.PENDING:
            account.state(record, OrderState.REJECTED, at)
        elif draw < 0.8:
            account.fill(record, left, price, at)
        elif draw < 0.92 and left > 1:
            account.fill(record, left // 2, price, at)
            standing = account.orders[order.order_id]
            if not rests:
                account.state(standing, OrderState.EXPIRED, at)
        elif rests and record.state is OrderState.PENDING:
            account.state(record, OrderState.WORKING, at)
        elif not rests or draw > 0.95:
            account.state(record, OrderState.CANCELLED, at)
    if chance.random() < 0.01:
        at = session.open + timedelta(hours=1)
        account.dividend(chance.choice(outside.bundle.manifest.symbols), at)
    marks = {name: outside.price(row) for row, name in enumerate(NAMES[: len(outside.closes)])}
    invested, equity = account.book.market_value(marks), account.book.equity(marks)
    if invested > equity * Decimal("0.95"):  # what was sold did not execute, what was bought did
        account.flow(Decimal(int(invested)), session.open)
    elif chance.random() < 0.01:
        account.flow(Decimal(chance.randint(1, 5_000)), session.open)


def _moment(account: Live, outside: Outside, session: Session, at: datetime) -> Moment:
    chance = outside.chance
    bars = [
        Bar(
            symbol=symbol,
            close=outside.price(row),
            event_time=session.close,
            known_at=session.close + timedelta(seconds=row % 2),
        )
        for row, symbol in enumerate(outside.bundle.manifest.symbols)
    ]
    broken = chance.random() < 0.01
    return Moment(
        session=session,
        at=at,
        bars=bars,
        book=account.book.copy(),
        breaks=("cash break at primary",) if broken else (),
        broken=frozenset([bars[0].symbol]) if broken else frozenset(),
    )


def _close(account: Live, history: History, session: Session, moment: Moment) -> None:
    book = account.book
    record = SessionRecord(
        account=account.account,
        day=session.day,
        closed_at=moment.at.astimezone(UTC),
        marks=moment.marks,
        positions=book.quantities(),
        cash=book.cash,
        equity=moment.equity,
    )
    key = f"{account.account}/{session.day.isoformat()}"
    account.drafts.append(Draft("session", key, moment.at, wire.encode_session(record)))
    history.close(record)
