"""How fast the worth of decisions fades: what they would have earned, acted on later and later."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from runtime.bundles.inputs import Array
from runtime.journal.decisions import DecisionStore
from runtime.journal.queries import JournalQueries
from runtime.journal.records import SessionRecord
from runtime.journal.wire import decode_decision


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayPoint:
    """What decisions are worth that are acted on a number of sessions late."""

    delay: int  # sessions after the decision's close
    decisions: int  # that have prices far enough
    excess: float  # mean over decisions, fraction: sum of weights times return beyond the mean name
    error: float  # standard error of that mean
    rank: float  # mean Spearman correlation of scores and returns


def decay(
    journal: JournalQueries,
    *,
    delays: Sequence[int],
    horizon: int,
    start: date | None = None,
    end: date | None = None,
) -> tuple[DelayPoint, ...]:
    """Return one point per delay, from the decision store and the sessions' marks.

    The return of a decision acted on `delay` sessions late is that of the `horizon` sessions after
    that, of every symbol marked on both days; costs are left out.

    Args:
        journal: of the account.
        delays: sessions, 0 = at the deciding close.
        horizon: sessions that each return spans, at least 1.
        start: first day of the decisions.
        end: last day, inclusive.
    """
    sessions = journal.sessions()
    days = [session.day for session in sessions]
    found: dict[int, list[tuple[float, float]]] = {delay: [] for delay in delays}
    for stored in DecisionStore(journal).stored(start, end):
        record, _, _ = decode_decision(stored.payload, {})
        place = bisect_left(days, date.fromisoformat(record.tick[:10]))
        for delay in delays if record.symbols else ():
            first, last = place + delay, place + delay + horizon
            if last < len(sessions):
                earned = _earned(record.symbols, sessions[first], sessions[last])
                known = np.isfinite(earned)
                if known.sum() > 1:
                    weights = np.array(record.weights)[known]
                    gained = float(weights @ (earned[known] - earned[known].mean()))
                    scores = np.array(record.scores)[known]
                    found[delay].append((gained, _rank(scores, earned[known])))
    return tuple(_point(delay, found[delay]) for delay in delays)


def _earned(symbols: Sequence[str], first: SessionRecord, last: SessionRecord) -> Array:
    """Return each symbol's return between two closes, (n,); NaN without a mark."""
    nothing = float("nan")
    before = np.array([float(first.marks.get(symbol, nothing)) for symbol in symbols])
    after = np.array([float(last.marks.get(symbol, nothing)) for symbol in symbols])
    return np.asarray(after / before - 1.0)


def _rank(left: Array, right: Array) -> float:
    """Return Spearman's correlation, ties sharing their mean rank; 0 where one does not vary."""
    a, b = _ranks(left), _ranks(right)
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0.0 else 0.0


def _ranks(values: Array) -> Array:
    ordered = np.sort(values)
    low = np.searchsorted(ordered, values, side="left")
    high = np.searchsorted(ordered, values, side="right")
    return np.asarray((low + high - 1) / 2.0)


def _point(delay: int, values: Sequence[tuple[float, float]]) -> DelayPoint:
    if not values:
        return DelayPoint(delay=delay, decisions=0, excess=0.0, error=0.0, rank=0.0)
    table = np.array(values)
    error = float(table[:, 0].std(ddof=1) / np.sqrt(len(table))) if len(table) > 1 else 0.0
    return DelayPoint(
        delay=delay,
        decisions=len(table),
        excess=float(table[:, 0].mean()),
        error=error,
        rank=float(table[:, 1].mean()),
    )
