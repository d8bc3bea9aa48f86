"""Decisions are taken again to the byte on every database."""

from runtime.journal.redecide import redecide
from tests.runtime.journal.eventful import RESTING, SESSIONS, open_eventful, trade


def test_decisions_are_reached_again_from_whatever_database_holds_them(database_url, tmp_path):
    sessions = SESSIONS[2:14]
    opened = open_eventful(tmp_path, execution=RESTING, database_url=database_url)
    bench = trade(opened, restarts=frozenset([sessions[7].day]), sessions=sessions)
    found = redecide(bench.desk.journal, lambda _: bench.bundle)
    assert (found.whole, found.refusals, found.differences) == (12, 2, ())
    bench.close()
