"""The journal's payloads: one JSON encoding per record, and back. Exact decimals are strings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from runtime.bundles.inputs import Array
from runtime.decoding import from_json
from runtime.domain import Fill, Order, OrderState, PlannedOrder
from runtime.journal.actions import Action, Charge, Correction, Dividend, Reversal, Split
from runtime.journal.adjust import Adjusted
from runtime.journal.exact import all_exact, check_units, one_form, plain, text
from runtime.journal.holding import Booking, Posting
from runtime.journal.reconcile import Break
from runtime.journal.records import CashFlow, DecisionRecord, OrderEvent, Said, SessionRecord

# Everything of a decision but the inputs' bytes, which stand beside the chain under their hash.
_KEPT = tuple(one.name for one in fields(DecisionRecord) if one.name not in ("inputs", "encoded"))
_SCENE = "scene_hash"
_HINTS = get_type_hints(DecisionRecord)
DecisionWire: Any = msgspec.defstruct(
    "DecisionWire",
    [
        *((name, _HINTS[name]) for name in _KEPT if name != _SCENE),
        ("account", str),
        ("orders", tuple[Order, ...]),
        (_SCENE, str, ""),
    ],
    frozen=True,
    kw_only=True,
    omit_defaults=True,  # of a decision whose scene was not kept
)


Line = tuple[str, str, str]  # ledger account, symbol, amount
Kept = TypeVar("Kept")
ADJUSTMENTS: dict[str, type[Action | Correction]] = {
    "split": Split,
    "dividend": Dividend,
    "charge": Charge,
    "correction": Correction,
    "reversal": Reversal,
}


class FillWire(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a fill: the execution and its double entry."""

    account: str
    fill: Fill
    state: OrderState  # the order's state after it
    postings: tuple[Line, ...]
    realised: str
    realised_average: str


class OrderStateWire(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a change of state."""

    order_id: str
    state: OrderState
    note: str


class FlowWire(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a cash flow."""

    account: str
    flow_id: str
    amount: str
    note: str
    postings: tuple[Line, ...]


class AdjustmentWire(msgspec.Struct, Generic[Kept], frozen=True, kw_only=True):
    """Payload of an action or a correction: the event as it was entered and its double entry."""

    account: str
    event: Kept
    postings: tuple[Line, ...]
    realised: str
    realised_average: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionWire:
    """Payload of a closed session; mappings are stored in alphabetical order."""

    account: str
    day: date
    closed_at: datetime
    marks: dict[str, Decimal]
    positions: dict[str, Decimal]
    cash: Decimal
    equity: Decimal
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    benchmark: str
    benchmark_return: float | None
    breaks: tuple[Break, ...]


_SESSION = tuple(one.name for one in fields(SessionWire))
_encode = msgspec.json.Encoder(order="deterministic").encode


def lines(postings: Sequence[Posting]) -> tuple[Line, ...]:
    """Return postings as they are written."""
    return tuple((account, symbol, plain(amount)) for account, symbol, amount in postings)


def postings_of(written: Sequence[Line]) -> tuple[Posting, ...]:
    """Return what `lines` wrote."""
    return tuple(Posting(account, symbol, Decimal(amount)) for account, symbol, amount in written)


def realised(adjusted: Adjusted) -> tuple[str, str]:
    """Return what an adjustment realised by both methods, as it is written."""
    return plain(adjusted.realised), plain(adjusted.realised_average)


def plain_fill(fill: Fill) -> Fill:
    """Return the fill with its amounts checked and in their one form; OrderInvalid if not exact."""
    size = one_form(fill.quantity, "fill", "quantity")
    price, fee = one_form(fill.price, "fill", "price"), one_form(fill.fee, "fill", "fee")
    if size is fill.quantity and price is fill.price and fee is fill.fee:
        return fill
    return msgspec.structs.replace(fill, quantity=size, price=price, fee=fee)


def encode_decision(
    record: DecisionRecord, account: str, orders: tuple[Order, ...], *, scene: str | None = None
) -> bytes:
    """Return a decision's payload, its orders included; OrderInvalid if an amount is not exact.

    Args:
        record: of the decision.
        account: that decided.
        orders: that leave for venues.
        scene: the name of its scene; None = as the record has it.
    """
    planned = [line.order for line in record.plan]
    for order in planned if not _all_exact(planned) else ():
        check_units(order.quantity, order.symbol, "planned quantity")
        check_units(order.limit_price, order.symbol, "planned limit_price")
        check_units(order.reference_price, order.symbol, "planned reference_price")
        if order.stop_price is not None:
            check_units(order.stop_price, order.symbol, "planned stop_price")
    kept = {name: getattr(record, name) for name in _KEPT}
    if scene is not None:
        kept[_SCENE] = scene
    return _encode(DecisionWire(**kept, account=account, orders=orders))


def _all_exact(planned: Sequence[PlannedOrder]) -> bool:
    amounts = [one.quantity for one in planned]
    amounts += [one.limit_price for one in planned]
    amounts += [one.reference_price for one in planned]
    return all_exact([*amounts, *[one.stop_price for one in planned if one.stop_price is not None]])


def decode_decision(
    payload: bytes, inputs: Mapping[str, Array]
) -> tuple[DecisionRecord, str, tuple[Order, ...]]:
    """Return record, account and orders; `inputs` come from beside the chain."""
    wire = from_json(payload, DecisionWire)
    kept = {name: getattr(wire, name) for name in _KEPT}
    return DecisionRecord(**kept, inputs=inputs), wire.account, wire.orders


def decode_said(payload: bytes) -> Said:
    """Return what a decision says of its universe; the rest of its payload is passed over."""
    return from_json(payload, Said)


def encode_fill(
    account: str, fill: Fill, booking: Booking, lines: tuple[Line, ...], state: OrderState
) -> bytes:
    """Return a fill's payload; `lines` are the booking's, written once by the caller."""
    realised, realised_average = booking.texts
    return _encode(
        FillWire(
            account=account,
            fill=fill,
            state=state,
            postings=lines,
            realised=realised,
            realised_average=realised_average,
        )
    )


def decode_fill(payload: bytes) -> FillWire:
    """Return what `encode_fill` wrote."""
    return from_json(payload, FillWire)


def kind_of(event: Action | Correction) -> str:
    """Return the kind of entry that keeps an event."""
    return next(kind for kind, one in ADJUSTMENTS.items() if isinstance(event, one))


def encode_adjustment(account: str, event: Action | Correction, adjusted: Adjusted) -> bytes:
    """Return the payload of an action or a correction; OrderInvalid if an amount is not exact."""
    if isinstance(event, Correction) and event.replacement is not None:
        event = replace(event, replacement=plain_fill(event.replacement))
    return _encode(
        AdjustmentWire(
            account=account,
            event=event,
            postings=lines(adjusted.postings),
            realised=realised(adjusted)[0],
            realised_average=realised(adjusted)[1],
        )
    )


def decode_adjustment(kind: str, payload: bytes) -> AdjustmentWire[Action | Correction]:
    """Return what `encode_adjustment` wrote under a kind."""
    wanted: Any = AdjustmentWire[ADJUSTMENTS[kind]]  # type: ignore[valid-type]
    decoded: AdjustmentWire[Action | Correction] = from_json(payload, wanted)
    return decoded


class BreakWire(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a break."""

    account: str
    break_id: str
    found: Break
    amount: str
    postings: tuple[Line, ...]


class ResolutionWire(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a break's resolution."""

    account: str
    break_id: str
    by: str
    reason: str
    postings: tuple[Line, ...]


def suspense(symbol: str, amount: Decimal) -> tuple[Line, ...]:
    """Return the sides of an amount in dispute, none for nothing."""
    if not amount:
        return ()
    return (("suspense", symbol, plain(amount)), ("claims", symbol, plain(-amount)))


def encode_break(payload: BreakWire | ResolutionWire) -> bytes:
    """Return the bytes of a break or a resolution."""
    return _encode(payload)


def decode_break(payload: bytes) -> BreakWire:
    """Return the break that `encode_break` wrote."""
    return from_json(payload, BreakWire)


def decode_resolution(payload: bytes) -> ResolutionWire:
    """Return the resolution that `encode_break` wrote."""
    return from_json(payload, ResolutionWire)


def encode_event(event: OrderEvent) -> bytes:
    """Return the payload of a change of state; its time stands in the entry."""
    return _encode(OrderStateWire(order_id=event.order_id, state=event.state, note=event.note))


def decode_event(payload: bytes, at: datetime) -> OrderEvent:
    """Return what `encode_event` wrote."""
    wire = from_json(payload, OrderStateWire)
    return OrderEvent(order_id=wire.order_id, state=wire.state, at=at, note=wire.note)


def encode_flow(account: str, flow: CashFlow, postings: tuple[Posting, ...]) -> bytes:
    """Return a cash flow's payload."""
    return _encode(
        FlowWire(
            account=account,
            flow_id=flow.flow_id,
            amount=text(flow.amount),
            note=flow.note,
            postings=lines(postings),
        )
    )


def decode_flow(payload: bytes) -> FlowWire:
    """Return what `encode_flow` wrote."""
    return from_json(payload, FlowWire)


def encode_session(record: SessionRecord) -> bytes:
    """Return a session's payload; OrderInvalid if a mark or a position is not exact."""
    return _encode(
        SessionWire(
            account=record.account,
            day=record.day,
            closed_at=record.closed_at,
            marks={name: one_form(value, name, "mark") for name, value in record.marks.items()},
            positions={
                name: one_form(value, name, "position") for name, value in record.positions.items()
            },
            cash=record.cash,
            equity=record.equity,
            realised=record.realised,
            unrealised=record.unrealised,
            fees=record.fees,
            benchmark=record.benchmark,
            benchmark_return=record.benchmark_return,
            breaks=record.breaks,
        )
    )


def decode_session(payload: bytes) -> SessionRecord:
    """Return what `encode_session` wrote."""
    wire = from_json(payload, SessionWire)
    return SessionRecord(**{name: getattr(wire, name) for name in _SESSION})
