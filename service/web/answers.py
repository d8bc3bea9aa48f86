"""What the service answers: one frozen struct per noun; money and units are decimal strings."""

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import msgspec

Number = float | int | str | bool | None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must hold before the service counts as ready."""

    name: str  # "journal", "registry", "bundle", "books"
    passed: bool
    reason: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Alive always; ready when every check passes."""

    status: Literal["ready", "not ready"]
    live: bool
    ready: bool
    checks: tuple[Check, ...]


class SignalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision function said about one symbol."""

    symbol: str
    score: float
    weight: float  # target fraction of equity, before sizing
    current: float  # fraction of equity held when it decided
    confidence: float  # 0..1
    rank: int  # 1 = highest score


class SignalsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The signals of one decision, highest score first."""

    decision_id: str
    tick: str
    decided_at: datetime  # UTC
    known_at: datetime  # UTC; newest knowledge time among the inputs
    bundle: str
    study: str
    signals: tuple[SignalAnswer, ...]


class VerdictAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One guardrail's answer about one order."""

    check: str
    passed: bool
    limit: str
    observed: str
    reason: str


class FillAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as the venue reported it."""

    venue: str
    execution_id: str
    quantity: Decimal  # units
    price: Decimal  # USD per unit
    fee: Decimal  # USD
    executed_at: datetime  # UTC


class OrderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One child order at one venue and what became of it."""

    order_id: str
    decision_id: str
    symbol: str
    leg: int
    venue: str
    side: str
    quantity: Decimal  # units
    order_type: str
    limit_price: Decimal  # USD per unit; the collar of a market order or a stop
    stop_price: Decimal | None  # USD per unit; what wakes a stop, None for others
    time_in_force: str
    created_at: datetime  # UTC
    state: str
    note: str
    filled: Decimal  # units
    average_price: Decimal | None  # USD per unit, None before the first fill
    fees: Decimal  # USD
    fills: tuple[FillAnswer, ...]


class PlanLine(msgspec.Struct, frozen=True, kw_only=True):
    """One planned order: why, what the guardrails said, how it was routed, what became of it."""

    symbol: str
    side: str
    quantity: Decimal  # units
    order_type: str
    limit_price: Decimal  # USD per unit; the collar of a market order or a stop
    stop_price: Decimal | None  # USD per unit; what wakes a stop, None for others
    time_in_force: str
    reference_price: Decimal  # USD per unit
    notional: Decimal  # USD at the reference price
    reason: str
    passed: bool  # every guardrail let it through
    verdicts: tuple[VerdictAnswer, ...]
    route: str  # the router's explanation, in words
    orders: tuple[OrderAnswer, ...]


class PlanAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of one decision, in the order it was sent."""

    decision_id: str
    tick: str
    decided_at: datetime  # UTC
    bundle: str
    refused: str  # why nothing could be decided; empty if it was
    notes: tuple[str, ...]  # what was left out, and why
    lines: tuple[PlanLine, ...]


class PositionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One holding at a session's close."""

    symbol: str
    quantity: Decimal  # units
    average_cost: Decimal | None  # USD per unit
    mark: Decimal  # USD per unit, the session's close
    value: Decimal  # USD
    weight: float  # fraction of equity
    unrealised: Decimal | None  # USD


class PositionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The books at a session's close."""

    day: date
    closed_at: datetime  # UTC
    cash: Decimal  # USD
    equity: Decimal  # USD
    positions: tuple[PositionAnswer, ...]  # largest value first


class CurveSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one curve over the days shown; None where there are too few days."""

    total_return: float | None  # fraction
    annual_return: float | None  # fraction a year, geometric
    annual_volatility: float | None  # fraction a year
    sharpe: float | None  # annualised, simple daily returns, 252 days
    max_drawdown: float | None  # fraction, <= 0


class EquityAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Equity against the benchmark, both as money from the same start, oldest day first."""

    days: tuple[date, ...]
    equity: tuple[Decimal, ...]  # USD
    benchmark: tuple[Decimal, ...]  # USD: the starting equity invested in the benchmark
    benchmark_name: str
    decisions: tuple[date, ...]  # days on which a decision was taken
    strategy: CurveSummary
    reference: CurveSummary
    information_ratio: float | None  # annualised Sharpe of daily return minus benchmark return


class BreakAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between our books and a venue's record."""

    kind: str
    venue: str
    symbol: str
    ours: str
    theirs: str


class SessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One trading session as the books closed it."""

    day: date
    closed_at: datetime  # UTC
    equity: Decimal  # USD
    cash: Decimal  # USD
    benchmark_return: float | None  # fraction
    positions: int
    realised: Decimal  # USD since the start, FIFO
    unrealised: Decimal  # USD, FIFO
    fees: Decimal  # USD since the start
    breaks: tuple[BreakAnswer, ...]  # empty = our books equal the venues' to 0.00


class SessionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of sessions, newest first."""

    items: tuple[SessionAnswer, ...]
    next: date | None  # give it as `day` to get the next page


class DecisionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list of decisions."""

    decision_id: str
    tick: str
    day: date
    decided_at: datetime  # UTC
    bundle: str
    study: str
    refused: str  # why nothing could be decided; empty if it was
    planned: int
    denied: int  # planned orders that a guardrail stopped
    orders: int
    fills: int
    traded: Decimal  # USD filled, both sides


class DecisionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of decisions, newest first."""

    items: tuple[DecisionSummary, ...]
    next: str | None  # give it as `before` to get the next page


class InputAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One declared input as the graph saw it."""

    name: str
    shape: tuple[int, ...]
    unit: str
    source: str  # where it came from, in words
    values: tuple[float | tuple[float, ...], ...]  # (n,) or (n, length)


class DecisionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with everything it was made of and everything that followed."""

    decision_id: str
    tick: str
    bundle: str
    study: str
    decided_at: datetime  # UTC
    known_at: datetime  # UTC
    snapshot_hash: str
    policy_hash: str
    inputs_hash: str
    symbols: tuple[str, ...]
    inputs: tuple[InputAnswer, ...]
    signals: tuple[SignalAnswer, ...]
    lines: tuple[PlanLine, ...]
    cash: Decimal  # USD before the decision
    equity: Decimal  # USD before the decision
    notes: tuple[str, ...]  # what was left out, and why
    entry_hash: str  # hash of the decision's entry in the journal's chain


class CellAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The notebook cell that decides."""

    notebook: str  # repository path
    notebook_hash: str
    cell: int  # 0-based
    source: str
    heading: str  # the nearest heading above the cell


class VerdictLine(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's verdict on the candidate, as the manifest holds it."""

    gate: str
    passed: bool
    statistic: float | None
    threshold: float | None
    comparison: str
    reason: str


class BundleOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """The signed artifact that decided."""

    hash: str
    version: int
    stage: str
    signer: str
    signed_at: str
    git_commit: str
    code_hash: str
    snapshot_hash: str


class TrialOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that became the candidate, one of all that were tried."""

    key: str
    parameters: dict[str, Number]
    of: int  # trials ever counted in the study
    run: str | None  # run id in the ledger; None when this host holds no ledger
    opened_at: str | None  # ISO 8601 UTC, from the ledger


class MemberShare(msgspec.Struct, frozen=True, kw_only=True):
    """One of several bundles that decided together, and its part of the order."""

    role: str
    study: str
    bundle: str
    version: int
    fraction: str  # of the capital when it was shared
    units: float | None  # of the order, signed; None where no order was asked about


class OriginAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The way back: order, decision, bundle, study, trial, run, notebook cell."""

    order: OrderAnswer | None
    decision: DecisionSummary
    bundle: BundleOrigin
    study: str
    research_window: tuple[str, str]  # ISO dates, inclusive
    holdout_window: tuple[str, str]  # ISO dates, inclusive
    verdicts: tuple[VerdictLine, ...]
    trial: TrialOrigin
    cell: CellAnswer
    members: tuple[MemberShare, ...] = ()  # where several bundles decided together; the one that
    # waits for most of the order, or else the champion, is told in full above


class BundleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the registry's history."""

    at: str  # ISO 8601, UTC
    action: str  # activate, rollback, retire
    role: str  # the seat, e.g. "champion"
    bundle: str
    study: str
    version: int
    stage: str
    by: str
    why: str


class BundlesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that decides now and how it came to be there, newest event first."""

    active: BundleEvent | None  # what the registry says should decide
    running: str | None  # hash of what decides here; differs while `refused` says why
    refused: str
    history: tuple[BundleEvent, ...]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as RFC 9457 problem+json, with what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    instance: str
