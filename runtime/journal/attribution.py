"""Where an account's profit came from, session by session, in parts that sum to it to the cent.

With units q held before the session, trades d made in it, marks m now and m' before:

market     equity before times the benchmark's return
signal     (q + d)(m - m') beyond the market: the decided holdings, traded when they were decided
timing     -d (m - m'): what waiting from the decision's close to the fill added or took
spread     what half the venue's spread took from each trade, at the mark
impact     what else the fill's price took against the mark
fees       fees of the session's fills, and what rounding cash to the cent left
dividends  what was paid on holdings
borrow     borrow, interest and tax
corrected  what corrections, and actions learned late, changed of earlier sessions

Every part but `corrected` is computed by itself; that they sum to the change in equity is checked,
and fails unless a correction explains the rest. Cents are shared by largest remainder.
Sources: market-rules, sections 8 and 9; the research side's attribution has the same market,
signal and timing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction

from runtime.database import reading
from runtime.errors import JournalBroken
from runtime.journal import wire
from runtime.journal.actions import Action, Charge, Correction, Dividend, Reversal, Split
from runtime.journal.queries import JournalQueries
from runtime.journal.records import FillRecord, SessionRecord
from runtime.journal.tables import Sql

PARTS = (
    *("market", "signal", "timing", "spread", "impact"),
    *("fees", "dividends", "borrow", "corrected"),
)
_KINDS = ", ".join(f"'{kind}'" for kind in wire.ADJUSTMENTS)
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParts:
    """One session's profit and what it is made of."""

    day: date
    profit: Decimal  # USD, whole cents: equity now less equity before less money paid in
    parts: Mapping[str, Decimal]  # USD, whole cents, one of each of PARTS; they sum to profit


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The sessions of a period."""

    sessions: tuple[SessionParts, ...]

    @property
    def profit(self) -> Decimal:
        """Return the profit of the whole period, USD."""
        return sum((one.profit for one in self.sessions), Decimal("0.00"))

    def total(self) -> dict[str, Decimal]:
        """Return the parts of the whole period, USD; they sum to its profit."""
        zero = Decimal("0.00")
        return {name: sum((one.parts[name] for one in self.sessions), zero) for name in PARTS}


@dataclass(slots=True)
class _Window:
    """What was booked between two closes."""

    fills: list[FillRecord] = field(default_factory=list)
    flows: Decimal = Decimal(0)
    actions: list[tuple[Action | Correction, tuple[wire.Line, ...]]] = field(default_factory=list)


def attribute(
    journal: JournalQueries,
    half_spreads: Mapping[str, Decimal],
    *,
    start: date | None = None,
    end: date | None = None,
) -> Attribution:
    """Split the profit of an account's closed sessions between two days, both included.

    Args:
        journal: of the account.
        half_spreads: fraction of the mark per venue; a venue that is not named counts as impact.
        start: first day, None = the first closed session.
        end: last day, None = the last one.

    Raises:
        JournalBroken: the parts of a session do not sum to its change in equity.
    """
    windows = _windows(journal)
    found: list[SessionParts] = []
    before: SessionRecord | None = None
    for session in journal.sessions(end=end):
        window = windows[session.day]
        if start is None or session.day >= start:
            found.append(_session(before, session, window, half_spreads))
        before = session
    return Attribution(sessions=tuple(found))


def shared(total: int, parts: Sequence[Fraction]) -> list[int]:
    """Round parts to whole numbers that sum to `total`, which they sum to themselves.

    Each is floored; what is left goes to the largest remainders, ties to the earlier one.
    """
    floors = [part.numerator // part.denominator for part in parts]
    order = sorted(range(len(parts)), key=lambda n: (floors[n] - parts[n], n))
    for n in order[: total - sum(floors)]:
        floors[n] += 1
    return floors


def _session(
    before: SessionRecord | None,
    session: SessionRecord,
    window: _Window,
    half_spreads: Mapping[str, Decimal],
) -> SessionParts:
    equity = Decimal("0.00") if before is None else before.equity
    change = session.equity - equity - window.flows
    profit = session.equity.quantize(_CENT) - equity.quantize(_CENT) - window.flows
    exact = dict.fromkeys(PARTS, Fraction(0))
    held, marks, restated = _opening(before, window, exact)

    # what was held, and what waiting cost of what was traded
    traded = _trade(session, window, half_spreads, marks, exact)
    for symbol in sorted({*held, *traded}):
        if symbol in marks:
            moved = Fraction(session.marks.get(symbol, Decimal(0))) - marks[symbol]
            exact["signal"] += (held.get(symbol, 0) + traded.get(symbol, 0)) * moved
            exact["timing"] -= traded.get(symbol, 0) * moved
    gained = Fraction(session.benchmark_return or 0.0) * Fraction(equity)
    exact["market"] += gained
    exact["signal"] -= gained

    left = Fraction(change) - sum(exact.values())
    if left and not restated:
        raise JournalBroken(
            f"session {session.day}: its parts sum to {float(sum(exact.values())):.6f} USD, the "
            f"books changed by {change}"
        )
    exact["corrected"] += left
    exact["signal"] += Fraction(profit) - sum(exact.values())  # equity beyond the cent
    cents = shared(int(profit / _CENT), [100 * exact[name] for name in PARTS])
    parts = {name: Decimal(count) * _CENT for name, count in zip(PARTS, cents, strict=True)}
    return SessionParts(day=session.day, profit=profit, parts=parts)


def _opening(
    before: SessionRecord | None, window: _Window, exact: dict[str, Fraction]
) -> tuple[dict[str, Fraction], dict[str, Fraction], bool]:
    """Return units and marks before the session in its own units, and whether it was restated."""
    held: dict[str, Fraction] = {}
    marks: dict[str, Fraction] = {}
    if before is not None:
        held = {symbol: Fraction(units) for symbol, units in before.positions.items()}
        marks = {symbol: Fraction(mark) for symbol, mark in before.marks.items()}
    restated = False
    for event, postings in window.actions:
        match event:
            case Charge():
                exact["borrow"] -= Fraction(event.amount)
            case Dividend():
                exact["dividends"] += _posted(postings, "cash")
            case Split():
                ratio = Fraction(event.new, event.old)
                if event.symbol in held:
                    held[event.symbol] *= ratio
                if event.symbol in marks:
                    marks[event.symbol] /= ratio
                restated = True  # a fraction sold in lieu, or units below 1e-6
            case Reversal() if event.split is None:
                exact["dividends"] += _posted(postings, "cash")
                restated = True  # it was booked before, perhaps of another day's units
            case Correction() | Reversal():
                restated = True
    late = before is not None and any(
        isinstance(event, Dividend) and event.effective <= before.closed_at
        for event, _ in window.actions
    )
    return held, marks, restated or late


def _trade(
    session: SessionRecord,
    window: _Window,
    half_spreads: Mapping[str, Decimal],
    marks: Mapping[str, Fraction],
    exact: dict[str, Fraction],
) -> dict[str, Fraction]:
    """Add up what trades cost against the marks; return signed units traded by symbol."""
    traded: dict[str, Fraction] = {}
    for record in window.fills:
        fill = record.fill
        units = fill.side.sign * Fraction(fill.quantity)
        mark = Fraction(session.marks.get(fill.symbol, Decimal(0)))
        cost = units * (Fraction(fill.price) - mark)
        crossed = abs(units) * mark * Fraction(half_spreads.get(fill.venue, Decimal(0)))
        exact["spread"] -= crossed
        exact["impact"] -= cost - crossed
        exact["fees"] -= Fraction(fill.fee)
        exact["fees"] -= sum(
            (Fraction(one.amount) for one in record.postings if one.account == "rounding"),
            Fraction(0),
        )
        traded[fill.symbol] = traded.get(fill.symbol, Fraction(0)) + units
    return traded


def _posted(postings: Sequence[wire.Line], account: str) -> Fraction:
    return sum((Fraction(amount) for name, _, amount in postings if name == account), Fraction(0))


def _windows(journal: JournalQueries) -> dict[date, _Window]:
    """Return what was booked up to each session's close since the one before."""
    sql = Sql(journal.engine.dialect.name)
    account = (journal.account,)
    with reading(journal.engine) as connection:
        closes = sql.rows(
            connection,
            "SELECT seq, day FROM journal_sessions WHERE account = ? ORDER BY seq",
            account,
        )
        flows = sql.rows(
            connection, "SELECT seq, amount FROM journal_flows WHERE account = ?", account
        )
        actions = sql.rows(
            connection,
            "SELECT a.seq, a.kind, j.payload FROM journal_adjustments a JOIN journal j "
            f"ON j.seq = a.seq WHERE a.account = ? AND a.kind IN ({_KINDS}) ORDER BY a.seq",
            account,
        )
    windows = {date.fromisoformat(day): _Window() for _, day in closes}
    ends = list(zip([seq for seq, _ in closes], windows.values(), strict=True))

    def window(seq: int) -> _Window | None:
        return next((one for end, one in ends if seq < end), None)

    replaced = {seq for seq, kind, _ in actions if kind == "correction"}
    pending = list(ends)
    for record in journal.fills():
        while pending and pending[0][0] < record.seq:
            pending.pop(0)
        if pending and record.seq not in replaced:
            pending[0][1].fills.append(record)
    for seq, amount in flows:
        found = window(seq)
        if found is not None:
            found.flows += Decimal(amount)
    for seq, kind, payload in actions:
        found = window(seq)
        if found is not None:
            kept = wire.decode_adjustment(kind, bytes(payload))
            found.actions.append((kept.event, kept.postings))
    return windows
