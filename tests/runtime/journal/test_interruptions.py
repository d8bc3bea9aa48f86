"""Whatever is repeated, restarted, killed or refused by the disk, the journal says the same."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from runtime.database import open_database
from runtime.domain import OrderState
from runtime.errors import DatabaseUnavailable
from runtime.journal.records import OrderEvent
from runtime.journal.store import Journal
from tests.runtime.journal.trading import START, make_decision, make_fill, make_order


def steps_of(days: int):
    """What is recorded over some days, as calls that take a journal."""
    for day in range(days):
        at, tick = START + timedelta(days=day), f"day {day}"
        orders = [make_order(10 + day, leg=leg, tick=tick, created_at=at) for leg in range(2)]
        decision = make_decision(orders, tick, decided_at=at)
        events = [
            OrderEvent(order_id=one.order_id, state=OrderState.WORKING, at=at) for one in orders
        ]
        fills = [
            make_fill(5, f"{10 + day}.123457", "0.07", number=10 * day + leg, of=one)
            for leg, one in enumerate(orders)
        ]
        yield lambda j, d=decision, o=orders: j.record_decision(d, o)
        yield lambda j, e=events: j.record_order_states(e)
        yield lambda j, f=fills: j.record_fills(f)


def journal_at(path: Path) -> Journal:
    return Journal(open_database(f"sqlite:///{path}"))


@settings(max_examples=10)
@given(st.lists(st.sampled_from(["again", "restart", "go on"]), min_size=12, max_size=12))
def test_the_head_does_not_know_of_repeats_and_restarts(tmp_path_factory, interruptions):
    folder = tmp_path_factory.mktemp("heads")
    plain, shaken = journal_at(folder / "plain.db"), journal_at(folder / "shaken.db")
    done = []
    for step, interruption in zip(steps_of(4), interruptions, strict=True):
        step(plain)
        step(shaken)
        done.append(step)
        if interruption == "again":
            for earlier in done:
                earlier(shaken)
        if interruption == "restart":
            shaken.engine.dispose()
            shaken = journal_at(folder / "shaken.db")
    assert shaken.head() == plain.head() == shaken.verify()
    assert shaken.book().positions() == plain.book().positions()
    for journal in (plain, shaken):
        journal.engine.dispose()


def test_a_commit_that_fails_leaves_nothing_in_the_tables_and_nothing_in_the_book(tmp_path):
    journal = journal_at(tmp_path / "j.db")
    *earlier, last = steps_of(1)
    for step in earlier:
        step(journal)
    before = journal.head()

    def refuse(connection):
        raise OperationalError("COMMIT", {}, OSError("database or disk is full"))

    event.listen(journal.engine, "commit", refuse)
    with pytest.raises(DatabaseUnavailable, match="disk is full; nothing is known to be written"):
        last(journal)
    event.remove(journal.engine, "commit", refuse)
    assert journal.head() == before
    assert journal.book().positions() == {}
    assert last(journal) == 2
    assert journal.book().position("AAA") == 10
    journal.verify()
    journal.engine.dispose()


_WRITER = """
import sys
from pathlib import Path
from tests.runtime.journal.test_interruptions import journal_at, steps_of
journal = journal_at(Path(sys.argv[1]))
for number, step in enumerate(steps_of(10_000)):
    step(journal)
    print(number, journal.head().hash, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 5, 21])
def test_a_killed_writer_loses_nothing_acknowledged_and_the_next_one_goes_on(
    tmp_path, acknowledged
):
    path, root = tmp_path / "j.db", Path(__file__).parents[3]
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(acknowledged)]
    writer.send_signal(signal.SIGKILL)
    told += [line for line in writer.stdout if line.endswith("\n")]
    writer.wait()
    number, head = told[-1].split()
    journal, plain = journal_at(path), journal_at(tmp_path / "plain.db")
    assert head in {entry.hash for entry in journal.log.entries()}
    days = int(number) // 3 + 2
    for step in steps_of(days):
        step(journal)
        step(plain)
    assert journal.verify() == plain.verify()
    for one in (journal, plain):
        one.engine.dispose()
