"""A reader's connection rests between two uses, and each use sees what is there then."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest

from runtime.database import open_database, reading, transaction
from runtime.statements import answer

COUNT = "SELECT count(*) FROM things"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'one.db'}"


@pytest.fixture
def engine(url):
    opened = open_database(url)
    with transaction(opened) as connection:
        connection.exec_driver_sql("CREATE TABLE things (name TEXT)")
    yield opened
    opened.dispose()


def put(engine, name: str) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("INSERT INTO things VALUES (?)", (name,))


def test_one_reader_after_the_other_takes_the_same_connection(engine):
    taken = []
    for _ in range(3):
        with reading(engine) as connection:
            taken.append(connection)
    assert taken[0] is taken[1] is taken[2]


def test_a_reader_sees_what_another_process_committed_since_the_last_one(engine, url):
    other = open_database(url)
    for number in range(3):
        with reading(engine) as connection:
            began = connection.exec_driver_sql(COUNT).scalar_one()
            put(other, str(number))
            # One use, one state: its transaction began before that was committed.
            assert connection.exec_driver_sql(COUNT).scalar_one() == began == number
        with reading(engine) as connection:
            assert answer(connection, COUNT) == [(number + 1,)]
    other.dispose()


def test_what_fails_in_a_reader_is_not_left_to_the_next(engine):
    def fail() -> None:
        with reading(engine) as connection:
            connection.exec_driver_sql(COUNT)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    put(engine, "whole")
    with reading(engine) as connection:
        assert not connection.in_transaction()
        assert connection.exec_driver_sql(COUNT).scalar_one() == 1


def test_readers_at_once_do_not_share_one(engine):
    put(engine, "a")
    together, seen = Barrier(4), list[object]()

    def read() -> None:
        with reading(engine) as connection:
            together.wait(10)
            assert connection.exec_driver_sql(COUNT).scalar_one() == 1
            seen.append(connection)
            together.wait(10)

    readers = [Thread(target=read) for _ in range(4)]
    for one in readers:
        one.start()
    for one in readers:
        one.join()
    assert len(set(map(id, seen))) == 4
