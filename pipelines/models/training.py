"""Training declared models: point-in-time features, labels known in time, one fit, one export.

1. the training window must end before the study's first decision; so do all labels
2. at every training date: gather the declared inputs as the runtime would, and call `features`
3. label each symbol by its return after the fill; weigh dates whose labels overlap less
4. fit, export, and refuse a graph that differs from its model (`pipelines.models.fitting`)
"""

import hashlib
import threading
from collections.abc import Mapping
from datetime import datetime

import numpy as np

from featurestore.calendars import load_calendar
from featurestore.universes import universe
from pipelines.errors import ModelInvalid, StrategyInvalid
from pipelines.models.declared import Barriers, Trained
from pipelines.models.export import ExportFinding
from pipelines.models.fitted import Fitted
from pipelines.models.fitting import fit_rows
from pipelines.models.rows import TrainingSet
from pipelines.models.targets import labelled
from pipelines.splits import LabelSpans
from pipelines.strategy import Model, Strategy
from pipelines.study import Study
from runtime.bundles.inputs import Array, CurrentWeights, PointInTime, gather
from runtime.scheduling.schedule import decision_sessions

KEPT = 16  # fitted models that a process remembers
_FITTED: dict[bytes, tuple[Fitted, ExportFinding]] = {}
_GUARD = threading.Lock()


def training_set(name: str, strategy: Strategy, reader: PointInTime, study: Study) -> TrainingSet:
    """Collect features and targets of one declared model.

    Args:
        name: of the model.
        strategy: declares it.
        reader: point-in-time face of the store.
        study: universe, calendar, price feature, and the first decision.

    Raises:
        StrategyInvalid: the window reaches into the study's decisions, or holds no complete label.
        ModelInvalid: features are misshapen or not finite; the text names date and symbol.
        HistoryMissing: a window asks for bars before the lake begins.
    """
    declared = strategy.models[name]
    if not isinstance(declared, Trained):
        raise ModelInvalid(f"model {name!r} is fitted already")
    calendar, target, window = load_calendar(study.calendar), declared.target, declared.window
    if window.end >= study.research.start:
        raise StrategyInvalid(
            f"model {name!r} learns until {window.end}, the study decides from "
            f"{study.research.start} on; end the window before, or the model has seen the answers"
        )
    sessions = calendar.sessions(window.start, window.end)
    rows = {session.day: row for row, session in enumerate(sessions)}
    reach = target.delay + target.horizon
    dates = [
        session
        for session in decision_sessions(
            declared.schedule or study.schedule, calendar, window.start, window.end
        )
        if rows[session.day] + reach < len(sessions)
    ]
    if not dates:
        raise StrategyInvalid(
            f"model {name!r}: no label of {reach} sessions is complete within {window.start} to "
            f"{window.end}; make the window longer"
        )
    symbols = universe(study.universe).symbols
    features = np.concatenate(
        [_features(name, declared, strategy, reader, symbols, at=s.close) for s in dates]
    )
    lead = target.span if isinstance(target, Barriers) else 0  # bars before the window
    closes = reader.window(
        study.price_feature, symbols, length=lead + len(sessions), at=sessions[-1].close
    )
    starts = np.array([rows[session.day] for session in dates], dtype=np.int64)
    labels = labelled(target, np.ascontiguousarray(closes.T), starts + lead)
    return TrainingSet(
        X=features,
        y=labels.y.ravel(),
        returns=labels.returns.ravel(),
        weights=labels.weights.ravel(),
        spans=LabelSpans(np.repeat(starts, len(symbols)), labels.ends.ravel() - lead),
        days=tuple(session.day for session in dates),
        symbols=symbols,
    )


def train(
    strategy: Strategy, reader: PointInTime, study: Study
) -> tuple[Strategy, Mapping[str, ExportFinding]]:
    """Fit and export every declared model of a strategy.

    Returns:
        The strategy with fitted models, and by name how far each graph is from its model.
        Models that are fitted already stay as they are.

    Raises:
        ExportDiffers: a graph does not say what its model says.
        StrategyInvalid, ModelInvalid, HistoryMissing: see `training_set`.
    """
    fitted: dict[str, Model] = {}
    findings: dict[str, ExportFinding] = {}
    for name, declared in strategy.models.items():
        if isinstance(declared, Trained):
            rows = training_set(name, strategy, reader, study)
            fitted[name], findings[name] = fit(declared, rows)
    return (strategy.with_models(fitted) if fitted else strategy), findings


def fit(declared: Trained, rows: TrainingSet) -> tuple[Fitted, ExportFinding]:
    """Fit a declared model on given rows and export it.

    A fit is a function of learner and rows alone, so equal ones are fitted once per process: the
    rows themselves are collected anew in every world that the look-ahead gate makes.
    """
    judged = (declared.calibrated, declared.covered)
    key = hashlib.sha256(f"{declared.learner.described} {judged} {rows.X.shape}".encode())
    for part in (rows.X, rows.y, rows.weights, rows.returns, rows.spans.starts, rows.spans.ends):
        key.update(part.tobytes())
    with _GUARD:
        if key.digest() not in _FITTED:
            while len(_FITTED) >= KEPT:
                _FITTED.pop(next(iter(_FITTED)))
            _FITTED[key.digest()] = fit_rows(declared, rows)
        return _FITTED[key.digest()]


def forget() -> None:
    """Forget every fit of this process: the next one is made from the rows, as the first was."""
    with _GUARD:
        _FITTED.clear()


def fitted_only(strategy: Strategy, reader: PointInTime, study: Study) -> Strategy:
    """Return the strategy ready to be compiled: trained if it declares models."""
    return train(strategy, reader, study)[0]


def _features(
    name: str,
    declared: Trained,
    strategy: Strategy,
    reader: PointInTime,
    symbols: tuple[str, ...],
    *,
    at: datetime,
) -> Array:
    """Call `features` on what was known at one date; the weights held then are not known here."""
    known = {k: v for k, v in strategy.inputs.items() if not isinstance(v, CurrentWeights)}
    gathered = gather(reader, known, symbols, at=at, current=np.zeros(len(symbols)))
    values = np.asarray(declared.features(np, strategy.record(gathered)), dtype=np.float64)
    if values.ndim != 2 or len(values) != len(symbols):
        raise ModelInvalid(
            f"features of model {name!r} have shape {values.shape} at {at:%Y-%m-%d}; "
            f"they must be ({len(symbols)}, k), one row per symbol"
        )
    if not np.isfinite(values).all():
        row, column = (int(place[0]) for place in np.nonzero(~np.isfinite(values)))
        raise ModelInvalid(
            f"feature {column} of model {name!r} is {values[row, column]} for {symbols[row]} "
            f"at {at:%Y-%m-%d}"
        )
    return values
