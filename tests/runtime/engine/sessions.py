"""Two sessions, one that decides and one that fills, and how to run some at their closes."""

from __future__ import annotations

from datetime import date

from runtime.clock import ReplayClock
from runtime.engine import Engine
from tests.fakes.market import XNYS, Bench

FRIDAY, MONDAY = date(2017, 1, 6), date(2017, 1, 9)  # week_end: Friday decides, Monday fills


def run(bench: Bench, *days: date, engine: Engine | None = None):
    """Run sessions at their closes and return the last outcome."""
    engine = engine or bench.engine()
    for day in days:
        session = XNYS.session(day)
        clock = bench.desk.clock
        assert isinstance(clock, ReplayClock)
        clock.advance(session.close)
        outcome = engine.run_session(session)
    return outcome
