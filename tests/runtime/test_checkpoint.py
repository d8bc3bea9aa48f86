"""The database's log is emptied between ticks, without waiting for anybody."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import create_engine

from runtime.checkpoint import empty_log
from runtime.database import open_database, reading
from runtime.journal.records import CashFlow
from runtime.journal.store import Journal

AT = datetime(2020, 1, 2, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path):
    journal = Journal(open_database(f"sqlite:///{path}"))
    yield journal
    journal.engine.dispose()


def pay(journal, number):
    flow = CashFlow(flow_id=f"f{number}", amount=Decimal("1.00"), at=AT)
    assert journal.record_flow(flow)


def flows_without_log(path, folder):
    """Count the flows of the database file alone, as if its log were gone."""
    copy = folder / "copy.db"
    shutil.copy(path, copy)
    with sqlite3.connect(copy) as connection:
        return connection.execute("SELECT count(*) FROM journal WHERE kind = 'flow'").fetchone()[0]


def test_what_was_committed_stands_in_the_file_itself_afterwards(journal, path, tmp_path):
    assert empty_log(journal.engine)
    for number in range(5):
        pay(journal, number)
    assert flows_without_log(path, tmp_path) == 0
    assert empty_log(journal.engine)
    assert flows_without_log(path, tmp_path) == 5


def test_a_reader_in_the_way_is_not_waited_for_and_loses_nothing(journal, path):
    with reading(journal.engine) as connection:
        connection.exec_driver_sql("SELECT count(*) FROM journal").fetchone()
        pay(journal, 1)
        assert not empty_log(journal.engine)
    assert empty_log(journal.engine)
    assert journal.book().cash == Decimal("1.00")


def test_a_log_that_cannot_be_emptied_is_left_to_the_next_commit(journal, path):
    pay(journal, 1)
    journal.engine.dispose()
    impatient = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert not empty_log(impatient)
    assert empty_log(impatient)
    impatient.dispose()
