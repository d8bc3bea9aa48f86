"""An honest study in a ledger of its own, and short words for what may be recorded beside it."""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from pipelines.ledger import Lease, Ledger, TrialClosed, TrialOpened, open_ledger
from pipelines.shape import shape_hash
from runtime.clock import ReplayClock
from tests.fakes.notebooks import STRATEGY

DAYS = [date(2001, 1, 1) + timedelta(days=i) for i in range(60)]
STUDY = {
    "name": "honest",
    "universe": "us_large_caps",
    "price_feature": "us_equities.close",
    "research": ["2001-01-02", "2002-12-31"],
    "owner": "ann",
    "search_space": {"lookback": [1, 2, 3, 4, 5]},
}
TRIED = 5


@dataclass
class Scene:
    """An honest study with five complete trials, and the files around it."""

    folder: Path

    def open(self, day: int = 5) -> Ledger:
        return open_ledger(
            f"sqlite:///{self.folder / 'research.db'}",
            clock=ReplayClock(datetime(2026, 1, day, tzinfo=UTC)),
            anchor=self.folder / "ledger.head",
        )

    def sql(self, statement: str) -> None:
        with sqlite3.connect(self.folder / "research.db") as connection:
            connection.execute(statement)
        connection.close()


def opened(lookback: int, *, source: str = STRATEGY, study: str = "honest", **changes: object):
    return TrialOpened(
        study=study,
        parameters={"lookback": lookback},
        code_hash=f"hash of {source}",
        snapshot_hash="5a",
        shape_hash=shape_hash(source),
        **{"notebook": "honest.ipynb", **changes},  # type: ignore[arg-type]
    )


def complete(seed: int, days: list[date] = DAYS) -> TrialClosed:
    net = 0.01 * np.random.default_rng(seed).normal(size=len(days))
    return TrialClosed(status="complete", dates=days, net=net, benchmark=np.zeros(len(days)))


def honest_scene(folder: Path) -> Scene:
    """Return a ledger with one honest study of five complete trials."""
    made = Scene(folder)
    ledger = made.open()
    ledger.declare_study(STUDY)
    for lookback in range(1, TRIED + 1):
        key = ledger.open_trial(opened(lookback))
        ledger.close_trial(key, complete(lookback))
    return made


def renamed(ledger: Ledger, trials: int = 1, *, seed: int = 100, **kwargs: object) -> str:
    """Ask again under another name, with as few trials as possible; return that name."""
    declared = STUDY | {"name": "fresh"} | dict(kwargs.pop("declared", {}))  # type: ignore[call-overload]
    ledger.declare_study(declared)
    for number in range(trials):
        key = ledger.open_trial(opened(seed + number, study="fresh", **kwargs))  # type: ignore[arg-type]
        ledger.close_trial(key, complete(seed + number))
    return "fresh"


def lease(study: str = "honest", **changes: object) -> Lease:
    described: dict[str, object] = {
        "study": study,
        "view": "us_equities",
        "version": 1,
        "snapshot_hash": "5a",
        "columns": ("close",),
        "first": None,
        "last": None,
        "rows": 9,
        "sealed_from": None,
        "run": None,
        "notebook": "scratch.ipynb",
        "by": "ann",
    }
    return Lease(**described | changes)  # type: ignore[arg-type]


def nameless(**changes: object) -> Lease:
    """Return a look at the honest study's prices by a kernel that named no study."""
    window = {"first": "1990-01-02T21:00:00+00:00", "last": "2002-12-30T21:00:00+00:00"}
    return lease("", **{"run": "scratch", "notebook": "", **window, **changes})
