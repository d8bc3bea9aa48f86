"""What the journal keeps: decisions with all they saw, sessions with all they closed with."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from math import isfinite

import msgspec

from runtime.bundles.inputs import Array
from runtime.domain import (
    Fill,
    Order,
    OrderReport,
    OrderState,
    PlannedOrder,
    Signal,
    Verdict,
)
from runtime.errors import OrderInvalid
from runtime.journal.blobs import Encoded
from runtime.journal.holding import Posting
from runtime.journal.reconcile import Break


def decision_id(account: str, bundle: str, tick: str) -> str:
    """Derive a decision's name: 24 hex digits of SHA-256 over account, bundle hash and tick."""
    return hashlib.sha256(f"{account}\x1f{bundle}\x1f{tick}".encode()).hexdigest()[:24]


class PlanLine(msgspec.Struct, frozen=True, kw_only=True):
    """One order of the plan: what the guardrails said of it and where it went."""

    order: PlannedOrder
    verdicts: tuple[Verdict, ...]  # in the order of the checks; the first refusal ends the list
    route: str  # the router's explanation in words; "" if denied
    order_ids: tuple[str, ...]  # children that leave for venues; () if denied

    @property
    def denied(self) -> bool:
        """Say whether a guardrail refused it; it then ends as DENIED and is never sent."""
        return any(not verdict.passed for verdict in self.verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One tick of one bundle, complete enough to be decided again.

    `inputs` may be left empty when it is read back in a list; `inputs_hash` always names them.
    """

    decision_id: str
    bundle: str  # hash, hex
    study: str
    tick: str  # e.g. "2017-01-31"
    decided_at: datetime  # UTC, by the engine's clock
    known_at: datetime  # UTC, newest knowledge time among the inputs
    snapshot_hash: str
    policy_hash: str
    symbols: tuple[str, ...]  # n of them, row order of every array
    inputs: Mapping[str, Array]  # exactly what the graph was given, by name
    inputs_hash: str = ""  # SHA-256 of the inputs' canonical bytes; computed when left out
    current: tuple[float, ...]  # (n,) weights held before
    scores: tuple[float, ...]  # (n,)
    weights: tuple[float, ...]  # (n,) target weights as the graph gave them
    signals: tuple[Signal, ...]
    plan: tuple[PlanLine, ...]
    cash: Decimal  # USD before the decision
    equity: Decimal  # USD before the decision
    notes: tuple[str, ...] = ()  # anything worth telling: what was left out, and why
    scene_hash: str = ""  # SHA-256 of all else it was told, see `runtime.proof`; "" = not kept
    encoded: Encoded | None = field(default=None, repr=False, compare=False)  # while at hand

    def __post_init__(self) -> None:
        for name in ("decided_at", "known_at"):
            if getattr(self, name).tzinfo is None:
                raise OrderInvalid(f"decision {self.decision_id}: {name} must carry a time zone")
        n = len(self.symbols)
        for name in ("current", "scores", "weights"):
            values = getattr(self, name)
            # A sum is finite only if every term is, and is had in a quarter of the time.
            if len(values) != n or not (isfinite(sum(values)) or all(map(isfinite, values))):
                raise OrderInvalid(
                    f"decision {self.decision_id}: {name} needs {n} finite numbers, one a symbol"
                )
        if not self.inputs_hash:
            encoded = Encoded.of(self.inputs)
            object.__setattr__(self, "encoded", encoded)
            object.__setattr__(self, "inputs_hash", encoded.name)

    @property
    def inputs_bytes(self) -> bytes:
        """Return the inputs' canonical bytes; OrderInvalid if `inputs_hash` does not name them."""
        encoded = self.encoded
        if encoded is None or encoded.arrays is not self.inputs:
            encoded = Encoded.of(self.inputs)
        if encoded.name != self.inputs_hash:
            raise OrderInvalid(
                f"decision {self.decision_id}: inputs_hash is not the hash of the inputs"
            )
        return encoded.data


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision says of its universe, without plan and inputs: all that is announced of it.

    Read by itself it costs a third of the whole record; fields are named as there.
    """

    decision_id: str
    bundle: str  # hash, hex
    study: str
    tick: str
    decided_at: datetime  # UTC
    known_at: datetime  # UTC
    symbols: tuple[str, ...]  # n
    scores: tuple[float, ...]  # (n,)
    weights: tuple[float, ...]  # (n,)
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalledDecision:
    """A decision as it stands in the journal."""

    seq: int
    hash: str  # of its entry, hex
    account: str
    record: DecisionRecord
    order_ids: tuple[str, ...]  # every order committed with it


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """A change of an order's state, to be recorded."""

    order_id: str
    state: OrderState
    at: datetime  # UTC
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order and where it stands."""

    order: Order
    decision_id: str
    account: str
    state: OrderState
    filled: Decimal  # units
    note: str  # of the last change
    updated_at: datetime  # UTC

    @property
    def leaves(self) -> Decimal:
        """Return units that may still execute."""
        return Decimal(0) if self.state.terminal else self.order.quantity - self.filled

    @property
    def report(self) -> OrderReport:
        """Return its quantities: filled + leaves + cancelled = ordered."""
        return OrderReport.of(self.order.order_id, self.state, self.order.quantity, self.filled)

    @property
    def remaining(self) -> Order:
        """Return the order as far as it is not filled: what still works of it."""
        if not self.filled:
            return self.order
        return msgspec.structs.replace(self.order, quantity=self.order.quantity - self.filled)


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRecord:
    """A fill and how it was booked."""

    seq: int
    account: str
    fill: Fill
    postings: tuple[Posting, ...]  # debits positive; they sum to zero
    realised: Decimal  # USD, FIFO
    realised_average: Decimal  # USD, average cost
    stands: bool = True  # False once the venue has taken it back or replaced it


@dataclass(frozen=True, slots=True, kw_only=True)
class CashFlow:
    """Money paid into an account, or out of it."""

    flow_id: str
    amount: Decimal  # USD, whole cents; negative = paid out
    at: datetime  # UTC
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """What an account closed a session with."""

    account: str
    day: date
    closed_at: datetime  # UTC
    marks: Mapping[str, Decimal]  # USD per unit, at least of every symbol held
    positions: Mapping[str, Decimal]  # symbol -> units, zeros left out
    cash: Decimal  # USD
    equity: Decimal  # USD, cash and positions at the marks
    realised: Decimal = Decimal("0.00")  # USD since the start, FIFO
    unrealised: Decimal = Decimal("0.00")  # USD, FIFO
    fees: Decimal = Decimal("0.00")  # USD paid since the start
    benchmark: str = ""  # name of the benchmark
    benchmark_return: float | None = None  # of this session, fraction; None if unknown
    breaks: tuple[Break, ...] = field(default=())  # of all venues; empty = reconciled to 0.00

    def __post_init__(self) -> None:
        if self.closed_at.tzinfo is None:
            raise OrderInvalid(f"session {self.day}: closed_at must carry a time zone")
        if self.benchmark_return is not None and not isfinite(self.benchmark_return):
            raise OrderInvalid(f"session {self.day}: the benchmark's return must be finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityPoint:
    """One session of the equity curve."""

    day: date
    cash: Decimal  # USD
    equity: Decimal  # USD
    benchmark_return: float | None  # of this session, fraction
    breaks: int
