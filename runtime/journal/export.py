"""Writes parts of the journal to Parquet for notebooks, after the journal was proved.

Each file carries the head of the chain it was proved against, so that anybody can tell which
record it is a copy of. Amounts are exact decimals, times are UTC.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ExportImpossible
from runtime.journal.decisions import DecisionStore
from runtime.journal.store import Journal
from runtime.journal.wire import decode_decision

if TYPE_CHECKING:
    import polars as pl

HEAD, ACCOUNT, WHAT = "sluice.head", "sluice.account", "sluice.what"  # keys of the file's metadata

Row = tuple[Any, ...]
_COLUMNS: dict[str, str] = {  # name and type of each column; money is USD
    "decisions": "decision_id text, tick text, decided_at time, known_at time, bundle text, "
    "study text, policy_hash text, inputs_hash text, cash money, equity money, symbol text, "
    "score float, weight float, current float, confidence float, planned units, denied_by text",
    "orders": "order_id text, decision_id text, bundle text, tick text, symbol text, leg int, "
    "venue text, side text, quantity units, order_type text, limit_price units, "
    "time_in_force text, created_at time, state text, filled units, note text, updated_at time, "
    "stop_price units",
    "fills": "seq int, venue text, execution_id text, order_id text, symbol text, side text, "
    "quantity units, price units, fee units, executed_at time, realised money, "
    "realised_average money, stands bool",
    "sessions": "day day, closed_at time, cash money, equity money, realised money, "
    "unrealised money, fees money, benchmark text, benchmark_return float, breaks int",
}
KINDS = tuple(_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A file that was written."""

    what: str
    path: Path
    rows: int
    head: str  # of the chain it was proved against: sequence number and hash
    sha256: str  # of the file, hex


def export(
    journal: Journal, what: str, path: Path, *, start: date | None = None, end: date | None = None
) -> Exported:
    """Prove the journal, then write one account's decisions, orders, fills or sessions.

    Decisions have one row per symbol; a tick that decided nothing has one without a symbol.

    Args:
        journal: of the account.
        what: one of KINDS.
        path: of the file; an older one is replaced once the new one is whole.
        start: first day: of the tick, the execution or the session.
        end: last day, inclusive.

    Raises:
        ExportImpossible: no such kind, or the file cannot be written.
        JournalBroken: the journal does not hold; nothing is written.
    """
    import polars as pl

    if what not in _COLUMNS:
        raise ExportImpossible(f"{what} cannot be exported, one of {', '.join(KINDS)} can")
    proved = journal.verify()
    columns = [column.split(" ") for column in _COLUMNS[what].split(", ")]
    types = _types()
    schema = {name: types[kind] for name, kind in columns}
    rows = list(_ROWS[what](journal, start, end))
    if journal.head() != proved:
        raise ExportImpossible("the journal was written to meanwhile; export again")
    head = f"{proved.seq} {proved.hash}"
    table = pl.DataFrame(rows, schema=schema, orient="row")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(
            part,
            compression="zstd",
            metadata={HEAD: head, ACCOUNT: journal.account, WHAT: what},
        )
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        part.replace(path)
    except OSError as error:
        if part.exists():
            part.unlink()
        raise ExportImpossible(f"{path} cannot be written: {error.strerror}") from error
    return Exported(what=what, path=path, rows=len(rows), head=head, sha256=digest)


def _types() -> "Mapping[str, pl.DataType | type[pl.DataType]]":
    import polars as pl

    return {
        "text": pl.String,
        "int": pl.Int64,
        "float": pl.Float64,
        "bool": pl.Boolean,
        "day": pl.Date,
        "time": pl.Datetime("us", "UTC"),
        "units": pl.Decimal(38, 6),
        "money": pl.Decimal(38, 12),
    }


def _decisions(journal: Journal, start: date | None, end: date | None) -> Iterator[Row]:
    for stored in DecisionStore(journal).stored(start, end):
        record, _, _ = decode_decision(stored.payload, {})
        shared = (
            record.decision_id,
            record.tick,
            record.decided_at,
            record.known_at,
            record.bundle,
            record.study,
            record.policy_hash,
            record.inputs_hash,
            record.cash,
            record.equity,
        )
        lines = {line.order.symbol: line for line in record.plan}
        confidence = {signal.symbol: signal.confidence for signal in record.signals}
        if not record.symbols:
            yield (*shared, None, None, None, None, None, None, None)
        for n, symbol in enumerate(record.symbols):
            line = lines.get(symbol)
            planned = Decimal(0) if line is None else line.order.side.sign * line.order.quantity
            failed = [] if line is None else [one.check for one in line.verdicts if not one.passed]
            yield (
                *shared,
                symbol,
                record.scores[n],
                record.weights[n],
                record.current[n],
                confidence.get(symbol),
                planned,
                "; ".join(failed),
            )


def _orders(journal: Journal, start: date | None, end: date | None) -> Iterator[Row]:
    for record in journal.orders():
        order = record.order
        if _between(order.tick[:10], start, end):
            yield (
                order.order_id,
                record.decision_id,
                order.bundle,
                order.tick,
                order.symbol,
                order.leg,
                order.venue,
                order.side.value,
                order.quantity,
                order.order_type.value,
                order.limit_price,
                order.time_in_force.value,
                order.created_at,
                record.state.value,
                record.filled,
                record.note,
                record.updated_at,
                order.stop_price,
            )


def _fills(journal: Journal, start: date | None, end: date | None) -> Iterator[Row]:
    for record in journal.fills():
        fill = record.fill
        if _between(fill.executed_at.date().isoformat(), start, end):
            yield (
                record.seq,
                fill.venue,
                fill.execution_id,
                fill.order_id,
                fill.symbol,
                fill.side.value,
                fill.quantity,
                fill.price,
                fill.fee,
                fill.executed_at,
                record.realised,
                record.realised_average,
                record.stands,
            )


def _sessions(journal: Journal, start: date | None, end: date | None) -> Iterator[Row]:
    for record in journal.sessions(start=start, end=end):
        yield (
            record.day,
            record.closed_at,
            record.cash,
            record.equity,
            record.realised,
            record.unrealised,
            record.fees,
            record.benchmark,
            record.benchmark_return,
            len(record.breaks),
        )


def _between(day: str, start: date | None, end: date | None) -> bool:
    first, last = start.isoformat() if start else "", end.isoformat() if end else "9999"
    return first <= day <= last


_ROWS: dict[str, Callable[[Journal, date | None, date | None], Iterator[Row]]] = {
    "decisions": _decisions,
    "orders": _orders,
    "fills": _fills,
    "sessions": _sessions,
}
