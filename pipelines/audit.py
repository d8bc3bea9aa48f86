"""The leak audit of a notebook: its decisions and its features, rebuilt in worlds that end early.

1. Decisions: the definition cells run again with the future cut off; inputs, score and weight of
   the date of the cut must stay the same to the bit.
2. Features: cells tagged `feature` run again likewise. Audited are the frames they leave (entity or
   symbol; at, known_at or event_time; values) and the functions they mark with `@feature(view)`.

No return is computed, so an audit is no trial.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from featurestore.audit import AuditReport, Leak, audit_feature, audit_truncation
from featurestore.audit.outcome import outcome
from featurestore.errors import ContractBroken
from featurestore.horizon import world_ends
from featurestore.universes import universe
from pipelines.compile import compile_strategy
from pipelines.definition import DEFINITION_TAGS, TaggedCell, execute_cell, load_definition
from pipelines.errors import NotebookInvalid
from pipelines.gates.lookahead import find_peeks, sampled_times
from pipelines.gates.observe import Difference, Observation, observe
from pipelines.models.training import fitted_only
from pipelines.panel import Panel
from pipelines.rebuild import Rebuilder
from pipelines.runs.parameters import cell_source, declared_parameters, read_notebook, validated
from pipelines.study import Parameter
from pipelines.workspace import Workspace, platform_checks
from runtime.bundles.inference import DecisionSession

FEATURE_TAG = "feature"
_MARK = "__sluice_view__"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def feature(view: str) -> Callable[[_Function], _Function]:
    """Mark a function of a frame as a feature of a view's observations, for the audit."""

    def mark(function: _Function) -> _Function:
        setattr(function, _MARK, view)
        return function

    return mark


def audit_notebook(
    notebook: Path | str,
    workspace: Workspace,
    *,
    parameters: Mapping[str, Parameter] | None = None,
    samples: int = 8,
    seed: int = 0,
) -> tuple[AuditReport, ...]:
    """Audit a notebook's decisions and features.

    Args:
        notebook: path of the .ipynb file.
        workspace: its lake is read up to the study's seal, or to the earliest seal.
        parameters: values that replace the defaults; may be partial.
        samples: instants at which the future is cut off.
        seed: of their draw.

    Returns:
        One report for the decisions, if there are definition cells, and one per audited frame or
        function; leaks carry the notebook and the cell.

    Raises:
        NotebookInvalid: nothing in it can be audited, or a cell fails.
        StrategyInvalid: a declaration asks for the future outright, e.g. by a negative lag.
    """
    path = Path(notebook)
    content = read_notebook(path)
    tags = [set(cell.get("metadata", {}).get("tags", ())) for cell in content["cells"]]
    given = dict(parameters or {})
    reports: list[AuditReport] = []
    if any("strategy" in each for each in tags):
        reports.append(_decisions(path, workspace, given, samples, seed))
    if any(FEATURE_TAG in each for each in tags):
        values = (
            validated(declared_parameters(content, path.name), given, path.name)
            if any("parameters" in each for each in tags)
            else given
        )
        reports += _features(_Cells(path, content, dict(values)), workspace, samples, seed)
    if not reports:
        raise NotebookInvalid(
            f"{path.name}: nothing to audit; tag the cells {', '.join(DEFINITION_TAGS)} of a "
            f"strategy, or the cells that compute features {FEATURE_TAG!r}, in the property "
            "inspector"
        )
    return tuple(reports)


def _decisions(
    path: Path, workspace: Workspace, parameters: Mapping[str, Parameter], samples: int, seed: int
) -> AuditReport:
    """Compare sampled decisions with those of definitions rebuilt without the future."""
    definition = load_definition(path, parameters)
    study, inputs = definition.study, definition.strategy.inputs
    with platform_checks():
        reader = workspace.platform_reader(study)
    times = Panel(reader, study, study.research).decided_at
    symbols = universe(study.universe).symbols
    held = np.full(len(symbols), 1.0 / len(symbols))
    strategy = fitted_only(definition.strategy, reader, study)
    session = DecisionSession(compile_strategy(strategy, len(symbols)))
    rebuild = Rebuilder(definition, strategy, session)

    def full(at: datetime) -> Observation:
        return observe(reader, inputs, symbols, session, at=at, current=held)

    def truncated(at: datetime) -> Observation:
        past = reader.truncated(at)
        declared, graph = rebuild(past, len(symbols))
        return observe(past, declared, symbols, graph, at=at, current=held)

    def peek(at: datetime) -> Difference | None:
        return next(iter(find_peeks([at], full, truncated, symbols)), None)

    chosen = sampled_times(times, samples=samples, seed=seed)
    found = _first_peek(times, chosen, peek)
    leaks: tuple[Leak, ...] = ()
    if found is not None:
        leaks = (
            Leak(
                feature=f"{study.name}: {found.what}",
                kind="value",
                entity=found.symbol,
                at=found.at,
                seen=found.seen,
                cell=definition.decide_cell,
                where=str(path),
            ),
        )
    return AuditReport(
        subject=f"decisions of {study.name}",
        features=(
            *sorted(inputs),
            "score",
            "weight",
            *(["confidence"] if session.confident else []),
        ),
        rows=len(chosen) * len(symbols),
        checked=len(chosen),
        leaks=leaks,
    )


def _first_peek(
    times: Sequence[datetime],
    chosen: Sequence[datetime],
    peek: Callable[[datetime], Difference | None],
) -> Difference | None:
    """Return the first peek: of the sampled dates, then by halves between them; None if clean.

    Args:
        times: every decision, ascending.
        chosen: those that are sampled, ascending.
        peek: looks at one date.
    """
    clean = -1  # the last decision before the first peek that was seen to be clean
    for at in chosen:
        found = peek(at)
        if found is None:
            clean = times.index(at)
            continue
        low, high = clean + 1, times.index(at)
        while low < high:
            middle = (low + high) // 2
            here = peek(times[middle])
            if here is None:
                low = middle + 1
            else:
                high, found = middle, here
        return found
    return None


@dataclass(frozen=True, slots=True)
class _Cells:
    """A notebook's cells up to its features, run anew in every world; each world once."""

    path: Path
    content: Mapping[str, Any]
    parameters: dict[str, Any]
    worlds: dict[datetime | None, dict[tuple[int, str], Any]] = field(default_factory=dict)

    def left(self, end: datetime | None) -> dict[tuple[int, str], Any]:
        """Return what the feature cells leave in a world that ends at `end`: (cell, name)."""
        if end not in self.worlds:
            if end is None:
                self.worlds[end] = self._run()
            else:
                with world_ends(end):
                    self.worlds[end] = self._run()
        return self.worlds[end]

    def _run(self) -> dict[tuple[int, str], Any]:
        namespace: dict[str, Any] = {"__name__": "__notebook__", **self.parameters}
        found: dict[tuple[int, str], Any] = {}
        for index, cell in enumerate(self.content["cells"]):
            tags = cell.get("metadata", {}).get("tags", ())
            if cell.get("cell_type") != "code" or not {"study", FEATURE_TAG} & set(tags):
                continue
            before = dict(namespace)
            tagged = TaggedCell(index=index, source=cell_source(cell))
            execute_cell(tagged, f"{self.path} cell {index}", namespace)
            if FEATURE_TAG in tags:
                fresh = {k: v for k, v in namespace.items() if before.get(k) is not v}
                found |= {(index, k): v for k, v in fresh.items() if _audited(k, v)}
        return found


def _audited(name: str, value: Any) -> bool:
    if name.startswith("_"):
        return False
    if isinstance(value, pl.DataFrame):
        dated = {"at", "known_at", "event_time"} & set(value.columns)
        return bool(dated) and bool({"entity", "symbol"} & set(value.columns))
    return hasattr(value, _MARK)


def _features(cells: _Cells, workspace: Workspace, samples: int, seed: int) -> list[AuditReport]:
    """Audit every frame and marked function that the feature cells leave."""
    left = cells.left(None)
    if not left:
        raise NotebookInvalid(
            f"{cells.path.name}: its cells tagged {FEATURE_TAG!r} leave nothing to audit; leave a "
            "polars frame with symbol, known_at and values, or mark a function with @feature(view)"
        )
    reports = []
    for (cell, name), value in left.items():
        if isinstance(value, pl.DataFrame):

            def compute(end: datetime | None, key: tuple[int, str] = (cell, name)) -> pl.DataFrame:
                frame = cells.left(end).get(key)
                if not isinstance(frame, pl.DataFrame):
                    raise ContractBroken(f"{key[1]} is no frame in a world that ends at {end}")
                return outcome(key[1], frame, frame)

            report = audit_truncation(name, compute, samples=samples, seed=seed)
        else:
            with platform_checks():
                reader = workspace.platform_reader()
            rows = reader.rows(getattr(value, _MARK))
            report = audit_feature(value, rows, name=name, samples=samples, seed=seed)
        named = tuple(replace(leak, cell=cell, where=str(cells.path)) for leak in report.leaks)
        reports.append(replace(report, leaks=named))
    return reports
