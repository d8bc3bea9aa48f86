"""The backtest: the decision graph run once per date, filled on the next bar, costs charged.

1. at the close of a decision session: gather inputs, drift current weights, run the graph
2. size the target weights as the runtime's plan does: units = weight * invested * equity / price
3. at the close of the next session: trade the difference, pay costs on the traded notional
4. in between, units rest and equity is marked at every close

Units are fractional and cash earns nothing. Quantities are fixed at the decision, as orders are, so
a price that gaps before the fill can overdraw cash for a month, as it would at the paper venue.
The benchmark is the equal-weighted universe, kept by the same rules on the same dates at the same
costs, so that the difference is selection alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from pipelines.books import Books, Rows, keep_books
from pipelines.door import require_record
from pipelines.panel import BulkReader, Panel
from pipelines.study import Period, Study
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import Array, CurrentWeights, Input


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What one trial did and earned. D decisions, T return days, n symbols."""

    study: str
    symbols: tuple[str, ...]
    dates: tuple[date, ...]  # length T, sessions; the first is the first fill
    decided_at: tuple[datetime, ...]  # length D, UTC
    fill_rows: Rows  # (D,), index into dates of each decision's fill
    inputs_hash: tuple[str, ...]  # length D, SHA-256 of everything the decision saw
    scores: Array  # (D, n)
    weights: Array  # (D, n), as decided, before sizing
    confidences: Array | None = None  # (D, n), 0 to 1; None if the graph gives none
    opening: Array  # (n,), closes of the first decision's session
    prices: Array  # (T, n), closes
    books: Books
    benchmark_books: Books

    @property
    def net(self) -> Array:
        """Return daily returns after costs, shape (T,)."""
        return self.books.net

    @property
    def gross(self) -> Array:
        """Return daily returns before costs, shape (T,)."""
        return self.books.gross

    @property
    def benchmark(self) -> Array:
        """Return the benchmark's daily returns after costs, shape (T,)."""
        return self.benchmark_books.net

    @property
    def excess(self) -> Array:
        """Return net returns minus the benchmark's, shape (T,)."""
        return self.books.net - self.benchmark_books.net

    @property
    def current(self) -> Array:
        """Return the drifted weights each decision started from, shape (D, n)."""
        return self.books.current

    @property
    def turnover(self) -> Array:
        """Return traded notional per equity at each fill, shape (D,)."""
        return self.books.turnover

    @property
    def costs(self) -> Array:
        """Return costs at each fill, quote currency, shape (D,)."""
        return self.books.costs


def backtest(
    session: DecisionSession,
    inputs: Mapping[str, Input],
    reader: BulkReader,
    study: Study,
    period: Period,
    *,
    panel: Panel | None = None,
) -> Backtest:
    """Run the graph once per decision date and keep exact books.

    Args:
        session: the runtime's session over the strategy's graph.
        inputs: what the strategy declares.
        reader: point-in-time face of the store.
        study: universe, schedule, price feature, costs and sizing.
        period: decisions and fills happen inside it.
        panel: what is shared with other trials of the same study and period; read if absent.

    Returns:
        Daily returns from the first fill on, and every decision.

    Raises:
        EvaluationUnrecorded: called in a kernel by anybody but who has recorded the trial.
        HistoryMissing, HoldoutSealed: the reader refuses a date.
        DecisionInvalid: the graph refuses its inputs or gives unusable weights.
        StrategyInvalid: the portfolio lost everything.
    """
    require_record("backtest")
    shared = Panel(reader, study, period) if panel is None else panel
    gathered = shared.bulk(inputs)
    carried = [name for name, declared in inputs.items() if isinstance(declared, CurrentWeights)]
    shape = (len(shared.decided_at), len(shared.symbols))
    scores, weights, hashes = np.empty(shape), np.empty(shape), []
    sure: list[Array] = []

    def decide(index: int, current: Array) -> Array:
        seen = {name: values[index] for name, values in gathered.items()}
        seen.update(dict.fromkeys(carried, current))
        decided = session.run(seen)
        scores[index], weights[index] = decided.score, decided.weight
        if decided.confidence is not None:
            sure.append(decided.confidence)
        hashes.append(shared.digest(inputs, index, current))
        return decided.weight

    books = keep_books(shared.prices, shared.decision_rows, decide, study.sizing)
    return Backtest(
        study=study.name,
        symbols=shared.symbols,
        dates=shared.days[1:],
        decided_at=shared.decided_at,
        fill_rows=shared.decision_rows,
        inputs_hash=tuple(hashes),
        scores=scores,
        weights=weights,
        confidences=np.array(sure) if sure else None,
        opening=shared.prices[0],
        prices=shared.prices[1:],
        books=books,
        benchmark_books=shared.benchmark,
    )
