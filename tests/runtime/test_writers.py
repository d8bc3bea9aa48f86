"""A writer's connection rests between two uses, carries nothing over and is closed in the end."""

import gc
from pathlib import Path
from threading import Barrier, Thread

import pytest

from runtime import database
from runtime.database import open_database, reading, transaction


@pytest.fixture
def engine(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'one.db'}")
    with transaction(opened) as connection:
        connection.exec_driver_sql("CREATE TABLE things (name TEXT)")
    yield opened
    opened.dispose()


def put(engine, name: str) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("INSERT INTO things VALUES (?)", (name,))


def names(engine) -> list[str]:
    with reading(engine) as connection:
        found = connection.exec_driver_sql("SELECT name FROM things ORDER BY name").fetchall()
    return [row[0] for row in found]


def still_open(folder: Path) -> list[str]:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    targets = [str(link.readlink()) for link in links]
    return [target for target in targets if target.startswith(str(folder))]


def test_one_writer_after_the_other_takes_the_same_connection(engine, monkeypatch):
    monkeypatch.setattr("runtime.database.FRESH", 60.0)
    taken = []
    for _ in range(3):
        with transaction(engine) as connection:
            taken.append(connection)
    assert taken[0] is taken[1] is taken[2]


def test_what_a_writer_left_half_done_is_not_carried_over_to_the_next(engine):
    def fail() -> None:
        with transaction(engine) as connection:
            connection.exec_driver_sql("INSERT INTO things VALUES ('half')")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    put(engine, "whole")
    assert names(engine) == ["whole"]


def test_a_reader_beside_a_resting_writer_holds_nobody_up(engine):
    put(engine, "a")
    with reading(engine) as connection:
        connection.exec_driver_sql("SELECT name FROM things").fetchall()
        put(engine, "b")
    assert names(engine) == ["a", "b"]


def test_writers_at_once_do_not_share_one(engine):
    together = Barrier(4)

    def write(name: str) -> None:
        together.wait()
        for number in range(5):
            put(engine, f"{name}{number}")

    writers = [Thread(target=write, args=(name,)) for name in "abcd"]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert names(engine) == [f"{name}{number}" for name in "abcd" for number in range(5)]


def test_a_database_that_is_let_go_of_is_closed_and_may_be_used_again(engine, tmp_path):
    put(engine, "before")
    assert still_open(tmp_path)
    engine.dispose()
    assert not still_open(tmp_path)
    assert not (tmp_path / "one.db-wal").exists()  # the last to close it copies and removes it
    put(engine, "after")
    assert names(engine) == ["after", "before"]


def test_of_many_databases_that_nobody_let_go_of_the_latest_alone_stay_open(tmp_path):
    paths = [tmp_path / f"{number}.db" for number in range(30)]
    for path in paths:
        opened = open_database(f"sqlite:///{path}")
        with transaction(opened) as connection:
            connection.exec_driver_sql("CREATE TABLE things (name TEXT)")
        put(opened, path.stem)
        assert names(opened) == [path.stem]
    del opened, connection
    gc.collect()
    kept = {target.removesuffix("-wal").removesuffix("-shm") for target in still_open(tmp_path)}
    assert kept <= {str(path) for path in paths[-database._RESTING :]}


def test_an_engine_whose_connections_were_closed_for_others_goes_on(engine, tmp_path):
    for number in range(database._RESTING + 1):
        other = open_database(f"sqlite:///{tmp_path / f'other {number}.db'}")
        with transaction(other) as connection:
            connection.exec_driver_sql("CREATE TABLE things (name TEXT)")
    put(engine, "after")
    assert names(engine) == ["after"]


def test_a_level_that_one_reader_asked_for_is_not_the_next_ones(postgres_server, monkeypatch):
    """Who proves a journal reads one state throughout; whoever reads next sees what is new."""
    monkeypatch.setattr("runtime.database.FRESH", 60.0)
    with postgres_server.lent() as url:
        opened = open_database(url)
        with transaction(opened) as connection:
            connection.exec_driver_sql("CREATE TABLE things (name TEXT)")
        with reading(opened) as connection:
            again = connection.execution_options(isolation_level="REPEATABLE READ")
            assert again.exec_driver_sql("SELECT name FROM things").fetchall() == []
        with reading(opened) as connection:
            assert connection.exec_driver_sql("SELECT name FROM things").fetchall() == []
            with transaction(opened) as writing:
                writing.exec_driver_sql("INSERT INTO things VALUES (%s)", ("new",))
            assert connection.exec_driver_sql("SELECT name FROM things").fetchall() == [("new",)]
        opened.dispose()
