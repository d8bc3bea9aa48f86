"""Several statements at once do what one after the other does; transactions stay transactions."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError

from runtime.chain import ChainedLog, Draft
from runtime.database import open_database, reading, transaction
from runtime.errors import DatabaseUnavailable, EntryConflict
from runtime.journal.lookups import keys
from runtime.journal.tables import Sql
from runtime.statements import Insert, Update, run_all, write_all

AT = datetime(2017, 1, 31, 21, tzinfo=UTC)
COLUMNS = "seq, symbol, note, price, stop_price, payload, benchmark_return, line"


@pytest.fixture
def engine(database_url: str):
    opened = open_database(database_url)
    exact, blob = ("NUMERIC", "BYTEA") if opened.dialect.name == "postgresql" else ("TEXT", "BLOB")
    with transaction(opened) as connection:
        connection.exec_driver_sql(
            "CREATE TABLE things (seq BIGINT PRIMARY KEY, symbol TEXT NOT NULL, "
            f"note TEXT NOT NULL, price {exact} NOT NULL, stop_price {exact}, "
            f"payload {blob} NOT NULL, benchmark_return DOUBLE PRECISION, line INTEGER NOT NULL)"
        )
    yield opened
    opened.dispose()


def things(engine, columns: str = COLUMNS):
    with reading(engine) as connection:
        rows = connection.exec_driver_sql(f"SELECT {columns} FROM things ORDER BY seq").fetchall()
    return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows]


def thing(seq: int, symbol: str = "AAA", note: str = "", stop: str | None = None):
    return (seq, symbol, note, "1.50", stop, b"\x00\xff", None, 0)


texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
amounts = st.decimals(-(10**9), 10**9, places=6).map(str)
rows = st.lists(
    st.tuples(
        texts | st.sampled_from(['"', "\\", "{a,b}", "NULL", "%s", "?", "'; --"]),
        texts,
        amounts,
        amounts | st.none(),
        st.binary(max_size=20),
        st.floats(allow_nan=False) | st.none(),
        st.integers(-(2**31), 2**31 - 1),
    ),
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_rows_come_back_as_they_were_written_however_many_and_whatever_they_say(engine, given):
    given = [(2**40 + number, *row) for number, row in enumerate(given)]
    with transaction(engine) as connection:
        connection.exec_driver_sql("DELETE FROM things")
        write_all(connection, [Insert("things", COLUMNS, given)])
    found = [
        (*row[:3], Decimal(row[3]), row[4] if row[4] is None else Decimal(row[4]), *row[5:])
        for row in things(engine)
    ]
    assert found == [
        (*row[:3], Decimal(row[3]), row[4] if row[4] is None else Decimal(row[4]), *row[5:])
        for row in given
    ]


@pytest.mark.parametrize("count", [49, 50, 51, 120])
def test_more_rows_than_share_a_statement_come_back_each_once(engine, count):
    given = [thing(number, f"S{number}") for number in range(count)]
    with transaction(engine) as connection:
        write_all(connection, [Insert("things", COLUMNS, given)])
        write_all(connection, [Insert("things", COLUMNS, given[:1], again=True)])
    assert things(engine, "seq, symbol") == [(row[0], row[1]) for row in given]


@pytest.mark.parametrize("count", [9, 10, 11, 50, 72])
def test_more_changes_than_share_a_statement_are_made_each_once(engine, count):
    with transaction(engine) as connection:
        write_all(connection, [Insert("things", COLUMNS, [thing(n, f"S{n}") for n in range(90)])])
        changes = [(f"x{number}", number) for number in range(count)]
        absent = [("nobody's", number) for number in range(100, 112)]
        write_all(connection, [Update("things", "note", "seq", [*changes, *absent])])
        again = [(f"{number}.5", f"S{number}") for number in range(count)]
        write_all(connection, [Update("things", "stop_price", "symbol", again)])
    found = things(engine, "note, stop_price")
    assert [row[0] for row in found] == [f"x{n}" if n < count else "" for n in range(90)]
    assert [row[1] and Decimal(row[1]) for row in found] == [
        Decimal(f"{n}.5") if n < count else None for n in range(90)
    ]


def test_one_row_of_many_that_is_there_already_keeps_all_of_them_out(engine):
    given = [thing(number) for number in range(120)]
    with pytest.raises(IntegrityError), transaction(engine) as connection:
        write_all(connection, [Insert("things", COLUMNS, [*given, thing(70)])])
    assert things(engine) == []


def test_who_listens_to_statements_hears_every_one_that_writes(engine):
    if engine.dialect.name == "postgresql":
        pytest.skip("goes as one text or one pipeline")
    heard = []
    event.listen(engine, "before_cursor_execute", lambda *given: heard.append(given[2].split()[0]))
    with transaction(engine) as connection:
        write_all(connection, [Insert("things", COLUMNS, [thing(n) for n in range(51)])])
        run_all(connection, [("SELECT 1", ())])
    assert heard == ["BEGIN", "INSERT", "INSERT", "SELECT"]


def end_of(engine, number: int) -> None:
    """End a server's connection, and wait until it is gone."""
    other = open_database(engine.url.render_as_string(hide_password=False))
    with reading(other) as connection:
        ended = "SELECT pg_terminate_backend(%s, 5000)"
        assert connection.exec_driver_sql(ended, (number,)).scalar_one() is True
    other.dispose()


def test_a_connection_that_rested_is_the_next_ones_if_it_was_used_a_moment_ago(engine, monkeypatch):
    if engine.dialect.name == "sqlite":
        pytest.skip("has no server that could be gone")
    me = "SELECT pg_backend_pid()"
    monkeypatch.setattr("runtime.database.FRESH", 60.0)
    numbers = set()
    for _ in range(2):
        with transaction(engine) as connection:
            numbers.add(connection.exec_driver_sql(me).scalar_one())
    assert len(numbers) == 1
    monkeypatch.setattr("runtime.database.FRESH", 0.0)
    monkeypatch.setattr("runtime.postgres.FRESH", 0.0)
    end_of(engine, numbers.pop())
    with transaction(engine) as connection:  # it is asked first, and replaced
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    assert things(engine) == []


def test_updates_change_their_rows_and_no_other(engine):
    with transaction(engine) as connection:
        write_all(
            connection,
            [
                Insert("things", COLUMNS, [thing(n, f"S{n}") for n in range(4)]),
                Update("things", "note, stop_price", "seq", [("x", "2.5", 1), ("y", None, 3)]),
                Update("things", "note", "seq", []),
            ],
        )
        write_all(connection, [Update("things", "note", "symbol", [("z", "S2")])])
    assert things(engine, "note") == [("",), ("x",), ("z",), ("y",)]
    assert [row[0] and Decimal(row[0]) for row in things(engine, "stop_price")] == [
        None,
        Decimal("2.5"),
        None,
        None,
    ]


def test_several_queries_answer_in_order_and_see_what_was_written_before(engine):
    mark = "%s" if engine.dialect.name == "postgresql" else "?"
    with transaction(engine) as connection:
        write_all(connection, [Insert("things", COLUMNS, [thing(1), thing(2, "B'\\B")])])
        asked = f"SELECT seq FROM things WHERE symbol = {mark}"
        answers = run_all(
            connection,
            [(asked, ("B'\\B",)), (asked, ("nobody",)), ("SELECT count(*) FROM things", ())],
        )
    assert [[tuple(row) for row in one] for one in answers] == [[(2,)], [], [(2,)]]


@pytest.mark.parametrize("count", [1, 3])
def test_rows_that_may_come_again_are_left_out_and_the_others_stay(engine, count):
    with transaction(engine) as connection:
        write_all(connection, [Insert("things", COLUMNS, [thing(1, note="first")])])
        again = [thing(n, note="again") for n in range(1, count + 1)]
        write_all(connection, [Insert("things", COLUMNS, again, again=True)])
    assert things(engine, "note") == [("first",)] + [("again",)] * (count - 1)


def fail_after(engine, *work) -> None:
    """Do some work in a transaction that then fails."""
    with transaction(engine) as connection:
        for one in work:
            one(connection)
        raise ZeroDivisionError


def writes(*rows):
    return lambda connection: write_all(connection, [Insert("things", COLUMNS, list(rows))])


ASKED = ("SELECT count(*) FROM things", ())
BEGINNINGS = {
    "write": writes(thing(0)),
    "ask": lambda connection: run_all(connection, [ASKED, ASKED]),
    "statement": lambda connection: connection.exec_driver_sql("SELECT 1"),
}


@pytest.mark.parametrize("first", BEGINNINGS)
def test_what_fails_leaves_nothing_however_its_transaction_began(engine, first):
    with pytest.raises(ZeroDivisionError):
        fail_after(engine, BEGINNINGS[first], writes(thing(1), thing(2)), writes(thing(3)))
    assert things(engine) == []


def test_a_row_that_is_there_already_is_an_integrity_error_and_all_of_its_transaction_is_undone(
    engine,
):
    with transaction(engine) as connection:
        write_all(connection, [Insert("things", COLUMNS, [thing(1)])])
    with pytest.raises(IntegrityError), transaction(engine) as connection:
        write_all(
            connection,
            [
                Insert("things", COLUMNS, [thing(7), thing(8)]),
                Insert("things", COLUMNS, [thing(2), thing(1)]),
            ],
        )
    assert things(engine, "seq") == [(1,)]
    wrong = (DBAPIError, DatabaseUnavailable)  # SQLite says the same of both
    with pytest.raises(wrong), transaction(engine) as connection:
        run_all(connection, [("SELECT 1", ()), ("SELECT nothing", ())])
    with transaction(engine) as connection:
        write_all(connection, [Insert("things", COLUMNS, [thing(2), thing(3)])])
    assert things(engine, "seq") == [(1,), (2,), (3,)]


def test_a_connection_that_read_at_another_level_writes_whole_transactions_again(engine):
    level = "SERIALIZABLE" if engine.dialect.name == "sqlite" else "REPEATABLE READ"
    with reading(engine) as connection:
        connection = connection.execution_options(isolation_level=level)
        connection.exec_driver_sql("SELECT count(*) FROM things")
    with pytest.raises(ZeroDivisionError):
        fail_after(engine, writes(thing(1)))
    assert things(engine) == []


def test_a_log_knows_its_head_after_what_a_savepoint_took_back(engine):
    log, other = ChainedLog(engine, "journal"), ChainedLog(engine, "registry")
    with transaction(engine) as connection:
        log.extend(connection, [Draft("note", "a", AT, b"1")])
        other.extend(connection, [Draft("note", "a", AT, b"1")])
        nested = connection.begin_nested()
        log.extend(connection, [Draft("note", "b", AT, b"2")])
        nested.rollback()
        log.extend(connection, [Draft("note", "c", AT, b"3"), Draft("note", "d", AT, b"4")])
        with pytest.raises(EntryConflict):
            log.append(connection, "note", "a", AT, b"other")
        log.append(connection, "note", "e", AT, b"5")
    assert (log.verify().seq, other.verify().seq) == (4, 1)
    assert [entry.key for entry in log.entries()] == ["a", "c", "d", "e"]


def test_where_a_log_stands_is_not_believed_once_a_savepoint_let_go_of_its_lock(engine):
    log = ChainedLog(engine, "journal")
    with transaction(engine) as connection:
        nested = connection.begin_nested()
        log.lock(connection)
        nested.rollback()  # a PostgreSQL server gives the lock away with it
        assert log.standing(connection) is None
        log.lock(connection)
        assert log.standing(connection) == 0


def test_a_log_follows_what_another_writer_appended_between_its_transactions(engine):
    one, two = ChainedLog(engine, "journal"), ChainedLog(engine, "journal")
    for number in range(6):
        with transaction(engine) as connection:
            writer = (one, two)[number % 2]
            assert writer.standing(connection) is None, "not known before it is locked"
            writer.lock(connection)
            assert writer.standing(connection) == number
            writer.extend(connection, [Draft("note", str(number), AT, b"x")])
            assert writer.standing(connection) == number + 1
    assert one.verify().seq == 6


def test_keys_are_found_however_many_are_asked_for(engine):
    log, sql = ChainedLog(engine, "journal"), Sql(engine.dialect.name)
    names = [f"n{number}" for number in range(1100)]
    with transaction(engine) as connection:
        log.extend(connection, [Draft("note", name, AT, b"x") for name in names[::2]])
        log.extend(connection, [Draft("other", "n1", AT, b"x")])
        assert keys(sql, connection, "note", names) == set(names[::2])
        assert keys(sql, connection, "note", []) == set()
