"""The hash-chained log keeps its promises on every database it may run on."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import Engine

from runtime.chain import (
    ChainedLog,
    Draft,
    Head,
    HeadAnchor,
    genesis,
    instant,
    link,
    linked,
    micros,
)
from runtime.database import open_database, reading, transaction
from runtime.errors import DatabaseUnavailable, EntryConflict, JournalBroken

AT = datetime(2017, 1, 31, 21, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def engine(database_url: str):
    opened = open_database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def log(engine: Engine) -> ChainedLog:
    return ChainedLog(engine, "journal")


def fill(log: ChainedLog, count: int) -> None:
    with transaction(log.engine) as connection:
        for number in range(count):
            log.append(connection, "note", str(number), AT, f"payload {number}".encode())


def tamper(engine: Engine, statement: str) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql(statement)


def test_the_first_entry_follows_the_genesis_of_its_table(log):
    with transaction(log.engine) as connection:
        entry = log.append(connection, "note", "a", AT, b"x")
    assert (entry.seq, entry.fresh, entry.at) == (1, True, AT)
    assert entry.hash == link(genesis("journal"), 1, micros(AT), "note", "a", b"x").hex()
    assert log.head() == Head(seq=1, hash=entry.hash) == log.verify()


def test_a_published_chain_value_never_moves():
    # Frozen when first written: a change of the encoding would orphan every stored chain.
    assert link(genesis("journal"), 1, micros(AT), "note", "a", b"x").hex() == (
        "c340bdb89d1ff3d8d146d039ddc1b4f0f411545dbeefe6e1f31e363b08269035"
    )


def test_many_at_once_have_the_hashes_that_each_would_have_alone():
    later = AT + timedelta(microseconds=1)
    drafts = [
        Draft(kind, f"{kind}/{number}\N{EURO SIGN}", at, bytes(number))
        for number in range(3)
        for kind, at in (("order", AT), ("fill", AT), ("fill", later), ("\N{OHM SIGN}", later))
    ]
    seq, previous = 41, genesis("journal")
    for row, draft in zip(linked(seq, previous, drafts), drafts, strict=True):
        seq, at = seq + 1, micros(draft.at)
        previous = link(previous, seq, at, draft.kind, draft.key, draft.payload)
        assert row == (seq, draft.kind, draft.key, at, draft.payload, previous)


def test_an_empty_log_verifies_and_its_head_is_the_genesis(log):
    assert log.verify() == log.head() == Head(seq=0, hash=genesis("journal").hex())


def test_repeating_an_append_changes_nothing_and_returns_what_stands(log):
    with transaction(log.engine) as connection:
        first = log.append(connection, "note", "a", AT, b"x")
    with transaction(log.engine) as connection:
        again = log.append(connection, "note", "a", AT + timedelta(days=1), b"x")
    assert (again.seq, again.hash, again.fresh) == (first.seq, first.hash, False)
    assert log.head().seq == 1


def test_other_content_under_a_used_key_is_refused_and_names_the_entry(log):
    fill(log, 3)
    drafts = [
        Draft(kind="note", key="fresh", at=AT, payload=b"lost with the transaction"),
        Draft(kind="note", key="1", at=AT, payload=b"other"),
    ]
    with (
        pytest.raises(EntryConflict, match="entry 2 already holds note 1"),
        transaction(log.engine) as connection,
    ):
        log.append_many(connection, drafts)
    assert log.head().seq == 3


def test_a_batch_with_repeats_appends_only_what_is_missing_and_keeps_the_chain(log):
    fill(log, 3)
    drafts = [
        Draft(kind="note", key=str(n), at=AT, payload=f"payload {n}".encode()) for n in range(5)
    ]
    with transaction(log.engine) as connection:
        entries = log.append_many(connection, [*drafts, drafts[4]])
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5, 5]
    assert [entry.fresh for entry in entries] == [False, False, False, True, True, False]
    assert log.verify().seq == 5


def test_the_same_key_under_another_kind_is_another_entry(log):
    with transaction(log.engine) as connection:
        log.append(connection, "note", "a", AT, b"x")
        assert log.append(connection, "fill", "a", AT, b"y").seq == 2
    found = log.find("fill", "a")
    assert found is not None
    assert found.payload == b"y"
    assert log.find("fill", "b") is None


def test_a_transaction_that_fails_leaves_no_entry_and_no_gap(log):
    fill(log, 2)

    def fail() -> None:
        with transaction(log.engine) as connection:
            log.append(connection, "note", "lost", AT, b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with transaction(log.engine) as connection:
        assert log.append(connection, "note", "kept", AT, b"x").seq == 3
    log.verify()


def test_entries_come_in_order_by_kind_and_after_a_point(log):
    fill(log, 4)
    with transaction(log.engine) as connection:
        log.append(connection, "other", "z", AT, b"z")
    assert [entry.seq for entry in log.entries(after=2)] == [3, 4, 5]
    assert [entry.key for entry in log.entries("other")] == ["z"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE journal SET payload = 'forged' WHERE seq = 3", "entry 3 .* was changed"),
        ("UPDATE journal SET at = at + 1 WHERE seq = 2", "entry 2 .* was changed"),
        ("UPDATE journal SET kind = 'nota' WHERE seq = 4", "entry 4 .* was changed"),
        (
            "UPDATE journal SET hash = (SELECT hash FROM journal WHERE seq = 1) WHERE seq = 5",
            "entry 5 ",
        ),
        ("DELETE FROM journal WHERE seq = 2", "entry 2 is missing, 3 follows"),
        ("DELETE FROM journal WHERE seq = 1", "entry 1 is missing, 2 follows"),
    ],
)
def test_tampering_is_found_and_the_first_bad_entry_named(log, statement, message):
    fill(log, 5)
    tamper(log.engine, statement)
    with pytest.raises(JournalBroken, match=message):
        log.verify()


def test_a_tail_cut_off_is_found_by_the_head_anchored_outside(log, tmp_path: Path):
    anchor = HeadAnchor(tmp_path / "heads")
    fill(log, 3)
    anchor.record(log.head())
    anchor.record(log.head())
    assert anchor.heads() == (log.head(),)
    assert log.verify(anchor.heads()).seq == 3
    tamper(log.engine, "DELETE FROM journal WHERE seq = 3")
    log.verify()  # the shortened chain is whole in itself
    with pytest.raises(JournalBroken, match="entry 3 was anchored outside but the log ends at 2"):
        log.verify(anchor.heads())


def test_a_chain_rewritten_from_scratch_does_not_meet_its_anchor(log, tmp_path: Path):
    anchor = HeadAnchor(tmp_path / "heads")
    fill(log, 2)
    anchor.record(log.head())
    tamper(log.engine, "DELETE FROM journal")
    with transaction(log.engine) as connection:
        for number in range(2):
            log.append(connection, "note", str(number), AT, b"rewritten")
    log.verify()
    with pytest.raises(JournalBroken, match="entry 2 is not the one that was anchored"):
        log.verify(anchor.heads())


def test_an_end_cut_off_and_written_on_does_not_meet_the_head_before_whoever_wrote(log, tmp_path):
    anchor = HeadAnchor(tmp_path / "heads")
    fill(log, 3)
    anchor.record(log.head())
    tamper(log.engine, "DELETE FROM journal WHERE seq = 3")
    with transaction(log.engine) as connection:
        log.append(connection, "note", "2", AT, b"another end")
    anchor.record(log.head())  # as its writer does, who knows of nothing
    assert [head.seq for head in anchor.heads()] == [3, 3]
    with pytest.raises(JournalBroken, match="entry 3 is not the one that was anchored"):
        log.verify(anchor.heads())


def test_an_anchor_line_torn_by_a_crash_is_left_out_and_the_next_is_whole(tmp_path: Path):
    anchor = HeadAnchor(tmp_path / "heads")
    anchor.path.write_text("7 abc")
    anchor.record(Head(seq=8, hash="d" * 64))
    assert anchor.heads() == (Head(seq=8, hash="d" * 64),)


@pytest.mark.parametrize(
    "spoilt", [b"\xff\xfe\x00", b"7 " + b"\xff" * 64, "² ".encode() + b"a" * 64]
)
def test_a_line_of_heads_that_a_disk_has_spoilt_is_left_out_too(tmp_path: Path, spoilt):
    anchor = HeadAnchor(tmp_path / "heads")
    anchor.path.write_bytes(spoilt)
    anchor.record(Head(seq=8, hash="d" * 64))
    assert anchor.heads() == (Head(seq=8, hash="d" * 64),)


def test_writers_in_parallel_leave_one_gap_free_chain(database_url: str):
    engines = [open_database(database_url) for _ in range(4)]
    logs = [ChainedLog(engine, "journal") for engine in engines]

    def work(writer: int) -> None:
        for number in range(15):
            with transaction(engines[writer]) as connection:
                logs[writer].append(connection, "note", f"{writer}-{number}", AT, b"x")
                logs[writer].append(connection, "note", f"shared-{number}", AT, b"y")

    threads = [Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logs[0].verify().seq == 4 * 15 + 15
    for engine in engines:
        engine.dispose()


def test_two_logs_in_one_database_do_not_share_a_chain(engine):
    one, other = ChainedLog(engine, "registry"), ChainedLog(engine, "ledger")
    with transaction(engine) as connection:
        first = one.append(connection, "note", "a", AT, b"x")
        second = other.append(connection, "note", "a", AT, b"x")
    assert (first.seq, second.seq) == (1, 1)
    assert first.hash != second.hash


def test_an_append_outside_a_writing_transaction_is_refused(log):
    with log.engine.connect() as connection, pytest.raises(JournalBroken, match="transaction"):
        log.append(connection, "note", "a", AT, b"x")


def test_times_are_kept_to_the_microsecond_in_utc_and_need_a_zone(log):
    eastern = AT.astimezone(timezone(timedelta(hours=-5)))
    with transaction(log.engine) as connection:
        assert log.append(connection, "note", "a", eastern, b"").at == AT
        with pytest.raises(ValueError, match="time zone"):
            log.append(connection, "note", "b", AT.replace(tzinfo=None), b"")
    assert instant(micros(AT)) == AT
    assert instant(micros(AT)).tzinfo is UTC


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "cannot be read"),
        ("mysql://host/name", "mysql is not supported|mysql"),
        ("sqlite://", "memory only"),
        ("sqlite:///:memory:", "memory only"),
        ("sqlite:////nowhere/at/all/file.db", "does not answer: .*; is its folder there, .* room"),
        (
            "postgresql://someone:secret@127.0.0.1:1/none",
            r"does not answer: .*; does the server run",
        ),
    ],
)
def test_a_database_that_cannot_be_opened_is_refused_without_showing_a_password(url, message):
    with pytest.raises(DatabaseUnavailable, match=message) as refusal:
        open_database(url)
    assert "secret" not in str(refusal.value)


def test_every_connection_waits_for_the_disk_and_for_nothing_else_for_ever(engine):
    def said(statement: str) -> object:
        with reading(engine) as connection:
            return connection.exec_driver_sql(statement).scalar_one()

    if engine.dialect.name == "sqlite":
        assert (said("PRAGMA synchronous"), said("PRAGMA journal_mode")) == (2, "wal")  # 2 = FULL
        return
    assert said("SHOW synchronous_commit") == "on"  # the server of these tests says off
    assert said("SHOW lock_timeout") == "30s"
    assert said("SHOW idle_in_transaction_session_timeout") == "15s"


def test_two_first_openers_of_one_file_do_not_collide(tmp_path):
    for number in range(30):
        start = Barrier(2)

        def first(_, start=start, number=number):
            start.wait()
            return ChainedLog(open_database(f"sqlite:///{tmp_path / f'{number}.db'}"), "log")

        with ThreadPoolExecutor(2) as pool:
            heads = [log.head() for log in pool.map(first, range(2))]
        assert heads[0] == heads[1]


def test_two_processes_that_make_one_table_at_once_do_not_collide(engine, database_url):
    other = open_database(database_url)
    with ThreadPoolExecutor(2) as pool:
        for number in range(12):
            start = Barrier(2)

            def first(opened, start=start, number=number):
                start.wait()
                return ChainedLog(opened, f"log_{number}").head()

            heads = list(pool.map(first, (engine, other)))
            assert heads[0] == heads[1]
    other.dispose()
