"""A decision's entry, as much of it as those read that come later; the rest is passed over.

It is taken again from what it was told and compared byte by byte, so scores, signals, verdicts and
explanations need not be read. That takes a quarter of the time of the whole record.
"""

from datetime import datetime
from decimal import Decimal

import msgspec

from runtime.chain import Entry
from runtime.decoding import from_json
from runtime.domain import Order, Side
from runtime.errors import JournalBroken


class _Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What a later decision must not repeat too often."""

    symbol: str
    side: Side
    quantity: Decimal  # units


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    order: _Planned
    order_ids: tuple[str, ...]  # () if denied


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that was taken; fields are named as in `DecisionRecord` and its payload."""

    decision_id: str
    bundle: str  # hash, hex
    tick: str
    decided_at: datetime  # UTC
    policy_hash: str
    symbols: tuple[str, ...]
    inputs_hash: str
    plan: tuple[_Line, ...]
    account: str
    orders: tuple[Order, ...]
    scene_hash: str = ""

    def sent(self) -> list[tuple[str, Side, Decimal]]:
        """Return symbol, side and units of each planned order that left."""
        return [
            (line.order.symbol, line.order.side, line.order.quantity)
            for line in self.plan
            if line.order_ids
        ]


def of(entry: Entry) -> Past:
    """Return what `wire.encode_decision` wrote; JournalBroken if it cannot be read."""
    try:
        return from_json(entry.payload, Past)
    except msgspec.DecodeError as error:
        raise unreadable(entry, error) from error


def unreadable(entry: Entry, error: msgspec.DecodeError) -> JournalBroken:
    """Return the error that names an entry which nobody of ours can have written."""
    return JournalBroken(
        f"journal: entry {entry.seq} ({entry.kind} {entry.key}) cannot be read: {error}"
    )
