"""Auditing plain feature functions: a frame of observations in, values out."""

import contextlib
import dis
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from types import CellType, CodeType, FunctionType
from typing import Any

import numpy as np
import polars as pl

from featurestore.audit.findings import AuditReport, Leak
from featurestore.audit.outcome import outcome
from featurestore.audit.truncation import audit_truncation
from featurestore.contract import IDENTITY, UTC_TIME
from featurestore.errors import ContractBroken

TARGETED = 8  # cuts just before revisions, and at holes, each
_MANY = 32  # a list this long is data, not a parameter


def audit_feature(
    feature: Callable[[pl.DataFrame], Any],
    rows: pl.DataFrame,
    *,
    name: str | None = None,
    samples: int = 16,
    seed: int = 0,
) -> AuditReport:
    """Audit a feature or label that is a plain function of a frame.

    Args:
        feature: takes observations sorted by known_at, entity and event_time; returns a column as
            long as the frame, or a frame with entity, `at` (from when on the value may be used)
            and its values. A label's `at` is when its outcome is known.
        rows: entity, event_time, known_at (times with zone), optional revision, and fields.
        name: what reports call it; None = the function's own name.
        samples: instants at which the future is cut off.
        seed: of their draw.

    Returns:
        A report; a leak names feature, entity and first date.

    Raises:
        ContractBroken: the rows are not unique, lack a column or a zone; or the answer's form
            does not fit.
    """
    called = name or str(getattr(feature, "__name__", type(feature).__name__))
    rows = checked_rows(called, rows)
    captured = next(outside_data(feature), None)
    if captured is not None:
        leak = Leak(
            feature=called,
            kind="outside",
            entity="",
            at=None,
            seen=f"it reads {captured}, which no audit can cut off",
        )
        return AuditReport(subject=called, features=(called,), rows=0, checked=0, leaks=(leak,))

    def compute(end: datetime | None) -> pl.DataFrame:
        known = rows if end is None else rows.filter(pl.col("known_at") <= end)
        return outcome(called, feature(known.clone()), known)

    return audit_truncation(
        called, compute, instants=worth_cutting(rows), samples=samples, seed=seed
    )


def checked_rows(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return observations in order of knowledge; ContractBroken names the first unfit row."""
    missing = [c for c in ("entity", "event_time", "known_at") if c not in rows.columns]
    if missing:
        raise ContractBroken(
            f"{name}: the rows lack {', '.join(missing)}; an audit asks what was known when"
        )
    if "revision" not in rows.columns:
        rows = rows.with_columns(pl.lit(0, pl.Int64).alias("revision"))
    for column in ("event_time", "known_at"):
        dtype = rows[column].dtype
        if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
            raise ContractBroken(
                f"{name}: {column} is {dtype}; it must be a time with zone, "
                'e.g. .dt.replace_time_zone("UTC")'
            )
        rows = rows.with_columns(pl.col(column).dt.convert_time_zone("UTC").cast(UTC_TIME))
    keys = rows.select(IDENTITY)
    twice = keys.filter(keys.is_duplicated())
    if not twice.is_empty():
        entity, event, revision = twice.row(0)
        raise ContractBroken(
            f"{name}: {entity} has two rows of {event} in revision {revision}; keep one row per "
            "entity, event_time and revision before anything is computed"
        )
    return rows.sort("known_at", "entity", "event_time", "revision")


def worth_cutting(rows: pl.DataFrame) -> list[datetime]:
    """Return knowledge times near which leaks like to hide: just before revisions, and at holes."""
    times = rows["known_at"].unique().sort()
    revised = rows.filter(pl.col("revision") > 0)["known_at"].unique().sort()
    before = times.search_sorted(revised, side="left") - 1 if revised.len() else pl.Series([])
    picked = [times[int(i)] for i in _spread(before.to_list()) if i >= 0]
    fields = [c for c in rows.columns if c not in (*IDENTITY, "known_at", "source")]
    if fields:
        holes = rows.filter(pl.any_horizontal(pl.col(c).is_null() for c in fields))["known_at"]
        picked += _spread(holes.unique().sort().to_list())
    first_last = rows.group_by("entity").agg(
        pl.col("known_at").min().alias("first"), pl.col("known_at").max().alias("last")
    )
    arrivals = {*first_last["first"].to_list(), *first_last["last"].to_list()}
    return sorted({*picked, *_spread(sorted(arrivals))})


def _spread(found: list[Any]) -> list[Any]:
    if len(found) <= TARGETED:
        return found
    return [found[int(i)] for i in np.linspace(0, len(found) - 1, TARGETED).round()]


def outside_data(function: Callable[..., Any]) -> Iterator[str]:
    """Yield, by name, the data that a function reads without being handed it."""
    seen: set[int] = set()
    yield from _outside(function, seen)


def _outside(function: Any, seen: set[int]) -> Iterator[str]:
    while isinstance(function, functools.partial):
        bound = enumerate(function.args)
        for name, value in [*((f"argument {i}", v) for i, v in bound), *function.keywords.items()]:
            if _is_data(value):
                yield f"{name} ({_shape(value)})"
        function = function.func
    function = inspect.unwrap(function)
    if inspect.ismethod(function):
        for name, value in vars(function.__self__).items() if _has_vars(function.__self__) else ():
            if _is_data(value):
                yield f"self.{name} ({_shape(value)})"
        function = function.__func__
    if not isinstance(function, FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    values = dict(_contents(cells))
    for name in _names(function.__code__):
        if name in function.__globals__:
            values.setdefault(name, function.__globals__[name])
    defaults = inspect.signature(function).parameters.values()
    values |= {p.name: p.default for p in defaults if p.default is not p.empty}
    for name, value in values.items():
        if _is_data(value):
            yield f"{name} ({_shape(value)})"
        elif isinstance(value, FunctionType) and value.__module__ == function.__module__:
            yield from _outside(value, seen)


def _contents(cells: Iterable[tuple[str, CellType]]) -> Iterator[tuple[str, Any]]:
    for name, cell in cells:
        with contextlib.suppress(ValueError):  # a cell that is still empty
            yield name, cell.cell_contents


def _names(code: CodeType) -> Iterator[str]:
    """Yield the globals that a function looks up, nested functions included."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _has_vars(value: object) -> bool:
    return hasattr(value, "__dict__")


def _is_data(value: object) -> bool:
    if isinstance(value, pl.DataFrame | pl.LazyFrame | pl.Series | np.ndarray):
        return True
    if isinstance(value, list | tuple | dict | set | frozenset):
        return len(value) > _MANY or any(
            isinstance(v, pl.DataFrame | pl.Series | np.ndarray)
            for v in (value.values() if isinstance(value, dict) else value)
        )
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_numpy")


def _shape(value: Any) -> str:
    size = getattr(value, "shape", None)
    return f"{type(value).__name__} {size}" if size is not None else type(value).__name__
