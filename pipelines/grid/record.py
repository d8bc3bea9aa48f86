"""A sweep whose every column is a trial: opened before it is evaluated, closed before it is seen.

1. the study is declared and all pairs are opened in the ledger, in one transaction
2. the compiled sweep runs on the study's sealed research window
3. daily returns of every pair are written, some hundred at a time; a crash leaves the rest open
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from featurestore.universes import universe
from pipelines.door import answered_for
from pipelines.errors import StudyInvalid
from pipelines.grid.crossover import Crossovers, crossovers
from pipelines.ledger import Ledger
from pipelines.ledger.records import Days, TrialClosed, TrialOpened
from pipelines.performance import SESSIONS_PER_YEAR
from pipelines.study import Study
from pipelines.workspace import Workspace, open_workspace
from runtime.bundles.contract import canonical
from runtime.bundles.inputs import Array

RULE = "moving-average crossover, long or flat, equal capital per name"
VERSION = 1  # raised when the rule's arithmetic changes
SHAPE = hashlib.sha256(RULE.encode()).hexdigest()  # one question, whatever the delay and the names
_CHUNK = 256  # trials per transaction: bounds memory, and what a crash leaves open


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedGrid:
    """A sweep and the ledger's names of its columns; P pairs, T return days."""

    sweep: Crossovers
    keys: tuple[str, ...]  # trial keys, length P, in the order of `sweep.pairs`
    excess_sharpe: Array  # (P,), annualised, in excess of holding the names
    benchmark: Array  # (T,), daily returns of buying and holding the names

    def __repr__(self) -> str:
        return f"{len(self.keys)} trials recorded; {self.sweep!r}"


def submit_crossovers(
    study: Study,
    pairs: Iterable[tuple[int, int]],
    *,
    workspace: Workspace | None = None,
    delay: int = 1,
    symbols: Sequence[str] | None = None,
) -> RecordedGrid:
    """Sweep moving-average pairs over a study's research window, every pair a recorded trial.

    Args:
        study: its search space declares `fast` and `slow`; its costs are the fee.
        pairs: (fast, slow) windows in bars.
        workspace: None = the one this kernel stands in.
        delay: bars from a signal to its fill.
        symbols: names of the universe to trade; None = all. Other names are other trials.

    Raises:
        StudyInvalid: a name outside the universe, or a pair outside the declared search space;
            nothing was recorded.
    """
    place = workspace or open_workspace()
    wanted = tuple((int(fast), int(slow)) for fast, slow in pairs)
    _check(study, wanted)
    members = universe(study.universe).symbols
    chosen = members if symbols is None else tuple(symbols)
    if not chosen or not set(chosen) <= set(members):
        raise StudyInvalid(f"study {study.name}: {chosen} are not all in {study.universe}")
    code = hashlib.sha256(canonical([RULE, VERSION, delay, chosen])).hexdigest()
    keys = _opened(study, wanted, code, place)
    panel = place.research_panel(study)
    columns = [panel.symbols.index(symbol) for symbol in chosen]
    with answered_for():  # every pair is open in the ledger
        sweep = crossovers(panel.prices[:, columns], wanted, fee=study.costs, delay=delay)
    held = (sweep.prices / sweep.prices[:, :1]).mean(axis=0) / (1.0 + study.costs)
    held[0] = 1.0
    benchmark = np.asarray(held[1:] / held[:-1] - 1.0, dtype=np.float64)
    days = np.array(panel.days[1:], dtype="datetime64[D]")
    ratios = _closed(place.ledger(), keys, sweep, days, benchmark)
    return RecordedGrid(sweep=sweep, keys=tuple(keys), excess_sharpe=ratios, benchmark=benchmark)


def _opened(
    study: Study, pairs: tuple[tuple[int, int], ...], code: str, place: Workspace
) -> list[str]:
    """Declare the study and open a trial per pair; return their keys."""
    ledger = place.ledger()
    ledger.declare_study(study.declaration())
    return ledger.open_trials(
        [
            TrialOpened(
                study=study.name,
                parameters={"fast": fast, "slow": slow},
                code_hash=code,
                shape_hash=SHAPE,
                snapshot_hash=place.snapshot.hash,
                notebook=place.notebook,
                run=place.run,
                source="sweep",
            )
            for fast, slow in pairs
        ]
    )


def _closed(
    ledger: Ledger, keys: Sequence[str], sweep: Crossovers, days: Days, benchmark: Array
) -> Array:
    """Close every trial with its returns; return the annualised excess Sharpe ratios, (P,)."""
    ratios = np.empty(len(keys))
    for start in range(0, len(keys), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(keys)))
        net = sweep.returns(part)
        ratios[part] = _sharpe(net - benchmark)
        own = _sharpe(net)
        ledger.close_trials(
            [
                (
                    keys[start + i],
                    TrialClosed(
                        status="complete",
                        dates=days,
                        net=net[i],
                        benchmark=benchmark,
                        figures={"sharpe": own[i], "excess_sharpe": ratios[start + i]},
                    ),
                )
                for i in range(len(net))
            ]
        )
    return ratios


def _check(study: Study, pairs: tuple[tuple[int, int], ...]) -> None:
    """Raise StudyInvalid unless every pair is a point of the declared search space."""
    if set(study.search_space) != {"fast", "slow"}:
        raise StudyInvalid(
            f"study {study.name}: a crossover sweep sets fast and slow, the search space declares "
            f"{sorted(study.search_space)}"
        )
    fast, slow = (set(study.search_space[name]) for name in ("fast", "slow"))
    for pair in pairs:
        if pair[0] not in fast or pair[1] not in slow:
            raise StudyInvalid(
                f"study {study.name}: the pair {pair} is not in the declared search space; a wider "
                f"space is a new study, declared beforehand"
            )


def _sharpe(returns: Array) -> Array:
    """Return the annualised Sharpe ratio of each row, 0 for one that never moves."""
    spread = returns.std(axis=1, ddof=1)
    out = np.zeros(len(returns))
    np.divide(returns.mean(axis=1), spread, out=out, where=spread > 0.0)
    out *= np.sqrt(SESSIONS_PER_YEAR)
    return out
