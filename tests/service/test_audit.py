"""The records: a cut-off tail, an older copy and a changed entry are found, and named."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from pipelines.ledger import Lease, open_ledger
from runtime.chain import Head, HeadAnchor
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.engine import fund
from runtime.errors import DatabaseUnavailable, JournalBroken
from runtime.joint.identity import Joint, JointSeat
from runtime.joint.shadow_log import ShadowDay
from runtime.journal.actions import Dividend
from runtime.journal.adjustments import Adjustments
from runtime.registry import Promoted
from runtime.scheduling.fence import Epochs
from service.books.accounts import LIVE
from service.cli import app
from service.operator.policies import open_policies
from service.records import (
    open_joints,
    open_journal,
    open_registry,
    open_shadows,
    open_slots,
)
from service.settings import read_settings
from service.trading.proof import prove_here
from service.wiring import open_live
from tests.fakes.trading import traded_workspace


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return traded_workspace(tmp_path_factory.mktemp("audit") / "ws", end=date(2017, 2, 28))[0]


@pytest.fixture
def settings(once, tmp_path):
    shutil.copytree(once.workspace, tmp_path / "ws")
    return read_settings({}, workspace=tmp_path / "ws")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def audit(settings, *options: str, **env: str) -> Done:
    env |= {"COLUMNS": "400"}  # paths of tests may be long
    done = CliRunner().invoke(app, ["audit", "-w", str(settings.workspace), *options], env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def change(settings, statement: str, database: str = "runtime.db") -> None:
    with sqlite3.connect(settings.workspace / database) as connection:
        connection.execute(statement)
    connection.close()


def read_twice(settings) -> None:
    """Leave the leases of two reads of research data."""
    clock = ReplayClock(datetime(2017, 3, 1, tzinfo=UTC))
    ledger = open_ledger(
        settings.ledger_url, clock=clock, anchor=settings.workspace / "ledger.head"
    )
    for view in ("us_equities", "vix"):
        ledger.reads.take(
            Lease(
                study="s", view=view, version=0, snapshot_hash="00", columns=("close",), first=None,
                last=None, rows=0, sealed_from=None, run=None, notebook="n.ipynb", by="ada",
            )
        )  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT 1", "2 entries, 2 heads remembered outside are met"),
        ("UPDATE ledger_leases SET key = 'x' WHERE seq = 1", "ledger_leases: entry 1 (lease x)"),
        ("DELETE FROM ledger_leases WHERE seq = 2", "ledger_leases: entry 2 was anchored outside"),
    ],
)
def test_the_leases_of_reads_are_proved_as_well(settings, statement, message):
    read_twice(settings)
    change(settings, statement, "research.db")
    done = audit(settings)
    assert done.returncode == (0 if statement == "SELECT 1" else 1)
    assert message in " ".join(done.stdout.split())


def test_an_untouched_workspace_passes_and_each_chain_is_told(settings):
    done = audit(settings, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["verified"]) == (0, True)
    names = [chain["name"] for chain in answer["chains"]]
    assert names[:4] == ["journal", "registry", "ledger", "leases"]
    assert [name.rpartition("/")[2] for name in names[4:]] == ["alternate", "primary"]
    journal, registry, _, _, venue, _ = answer["chains"]
    assert journal["anchored"] == 39  # one head per session of January and February 2017
    assert (registry["entries"], registry["anchored"]) == (1, 1)
    assert venue["entries"] > 0
    assert venue["anchored"] is None  # it is part of the process that trades
    assert answer["unproved"] == []
    assert "39 heads remembered outside are met" in " ".join(audit(settings).stdout.split())


@pytest.mark.parametrize(
    ("statement", "database", "message"),
    [
        ("UPDATE journal SET payload = x'00' WHERE seq = 7", "runtime.db", "journal: entry 7 "),
        ("DELETE FROM journal_fills", "runtime.db", "journal_fills lacks"),
        ("UPDATE registry SET at = 0", "runtime.db", "registry: entry 1 "),
        ("DELETE FROM ledger WHERE seq = 2", "research.db", "ledger: entry 2 is missing"),
    ],
)
def test_a_changed_record_ends_with_1_and_names_the_first_break(
    settings, statement, database, message
):
    change(settings, statement, database)
    done = audit(settings)
    assert done.returncode == 1, done.stdout
    assert message in " ".join(done.stdout.split())
    assert "refused" in done.stdout


def test_a_tail_that_was_cut_off_is_missed_by_the_file_outside(settings):
    engine = open_database(settings.database_url)
    seq = open_journal(settings, engine, LIVE).head().seq
    engine.dispose()
    change(settings, f"DELETE FROM journal WHERE seq = {seq}")
    done = audit(settings)
    assert done.returncode == 1
    assert f"entry {seq} was anchored outside but the log ends at {seq - 1}" in " ".join(
        done.stdout.split()
    )
    live = open_live(settings, monotonic=time.monotonic, prove=prove_here)
    live.health.prove()
    checks = {check.name: check for check in live.health.look().checks}
    assert not checks["journal"].passed
    assert "anchored outside" in checks["journal"].reason


def test_a_database_that_was_put_back_to_nothing_is_missed_too(settings):
    for path in settings.workspace.glob("runtime.db*"):
        path.unlink()
    done = audit(settings)
    assert done.returncode == 1
    assert "runtime.db is gone, though journal.head, registry.head" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "words",
    [
        ("audit",),
        ("trade",),
        ("breaks", "list"),
        ("schedule",),
        ("policy", "show"),
        ("policy", "reload", "--by", "ada", "--why", "x"),
        ("registry", "show"),
        ("books", "charge", "tax", "1.00", "", "--on", "2017-02-01", "--id", "x"),
    ],
)
def test_without_its_database_nothing_is_answered_nor_written_anew(settings, words):
    """An empty file would say that no break is open, and spoil the heads kept of the real one."""
    away, kept = settings.workspace / "away.db", settings.workspace.glob("*.head")
    before = {path: path.read_bytes() for path in kept}
    (settings.workspace / "workspace.json").write_text("{}")
    (settings.workspace / "runtime.db").rename(away)
    done = CliRunner().invoke(app, [*words, "-w", str(settings.workspace)], env={"COLUMNS": "400"})
    assert done.exit_code == (1 if words == ("audit",) else 2), done.output
    assert "runtime.db is gone" in done.output
    assert not (settings.workspace / "runtime.db").exists()
    assert {path: path.read_bytes() for path in settings.workspace.glob("*.head")} == before
    away.rename(settings.workspace / "runtime.db")
    assert audit(settings).returncode == 0


def test_a_promotion_by_the_service_is_anchored(settings):
    registry = open_registry(settings, open_database(settings.database_url))
    promoted = Promoted(study="tilt", bundle="a" * 64, version=9, stage="staging")
    at = datetime(2018, 1, 1, tzinfo=UTC)
    for _ in range(2):  # the same again changes nothing
        registry.activate(promoted, by="alice", why="newer", at=at)
    heads = HeadAnchor(settings.workspace / "registry.head").heads()
    assert heads[1:] == (registry.head(),)  # the first one is of the workspace
    change(settings, "DELETE FROM registry WHERE seq = 2")
    with pytest.raises(JournalBroken, match="registry: entry 2 was anchored outside"):
        registry.verify()


def test_a_head_that_cannot_be_remembered_is_said_in_words(tmp_path):
    with pytest.raises(DatabaseUnavailable, match="cannot remember the head"):
        HeadAnchor(tmp_path / "none" / "journal.head").record(Head(seq=1, hash="a" * 64))


def test_a_folder_without_records_is_a_mistake(tmp_path):
    done = audit(read_settings({}, workspace=tmp_path))
    assert done.returncode == 2
    assert "holds no record" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_heads_that_is_gone_has_not_passed_until_somebody_remembers_them(settings):
    for name in ("journal", "registry", "ledger"):
        (settings.workspace / f"{name}.head").unlink()
    answer = json.loads(audit(settings, "--json").stdout)
    assert not answer["verified"]
    told = {one["name"]: one["problem"] for one in answer["chains"] if not one["verified"]}
    assert list(told) == ["journal", "registry", "ledger"]
    assert "journal.head remembers no head of them" in told["journal"]
    assert "sluice audit --remember" in told["journal"]
    assert audit(settings, "--remember").returncode == 0
    change(settings, "DELETE FROM registry WHERE seq = 1")
    done = audit(settings)
    assert done.returncode == 1
    assert "registry: entry 1 was anchored outside" in " ".join(done.stdout.split())


def test_policies_and_who_approved_an_override_are_proved_too(settings):
    policies = open_policies(settings)
    policies.begin()
    asked = policies.log.ask(
        "loss.max_drawdown", "0.6", seconds=60, by="ada", why="month end", at=policies.clock.now()
    )
    policies.approve(asked.id, by="bob")
    heads = HeadAnchor(settings.workspace / "policies.head").heads()
    assert heads[-1] == policies.log.verify()
    assert len(heads) == 3
    chains = json.loads(audit(settings, "--json").stdout)["chains"]
    assert [one["entries"] for one in chains if one["name"] == "policies"] == [3]
    change(settings, "DELETE FROM policies WHERE seq = 3")
    done = audit(settings)
    assert done.returncode == 1
    assert "policies: entry 3 was anchored outside" in " ".join(done.stdout.split())


def test_what_a_person_booked_after_the_last_close_is_not_cut_off_unseen(settings):
    run = partial(CliRunner().invoke, app)
    (account,) = [path.name for path in (settings.workspace / "venues").iterdir()]
    where = ("--account", account, "-w", str(settings.workspace))
    who = ("--by", "ada", "--reason", "called off")
    journal = open_journal(settings, open_database(settings.database_url), account)
    anchor, closed = HeadAnchor(settings.workspace / "journal.head"), journal.head()
    assert anchor.heads()[-1] == closed
    paid = Dividend(
        action_id="d",
        symbol=journal.fills()[0].fill.symbol,
        effective=AT,
        per_unit=Decimal("0.10"),
    )
    assert Adjustments(journal).record_action(paid)
    done = run(["books", "reverse", "d", *who, *where])
    assert done.exit_code == 0, done.output
    assert [head.seq for head in anchor.heads()[-3:]] == [closed.seq + n for n in range(3)]
    journal.engine.dispose()
    change(settings, f"DELETE FROM journal WHERE seq = {closed.seq + 2}")
    assert "was anchored outside but the log ends at" in " ".join(audit(settings).stdout.split())


AT = datetime(2017, 3, 1, tzinfo=UTC)


def slot_claimed(settings, engine) -> None:
    fence = Epochs(engine).take(LIVE, holder="a", at=AT)
    assert open_slots(settings, fence, "session XNYS").claim(AT.date(), AT)


def two_traded_as_one(settings, engine) -> None:
    seat = JointSeat(role="champion", study="tilt", bundle="b" * 64, version=1, fraction="1")
    open_joints(settings, engine).record(Joint(seats=(seat,)), AT)


def challenger_decided(settings, engine) -> None:
    day = ShadowDay(account=LIVE, day="2017-03-01", books={}, returns={})
    open_shadows(settings, engine).record(day, (), AT)


def paid_in(settings, engine) -> None:
    journal = open_journal(settings, engine, LIVE)
    fund(journal, Decimal(100), AT)
    journal.remember()


TOLD = [
    ("schedule", slot_claimed),
    ("joints", two_traded_as_one),
    ("shadows", challenger_decided),
]


@pytest.mark.parametrize(("name", "happen"), TOLD)
def test_no_end_of_schedule_joints_or_shadows_is_cut_off_unseen(settings, name, happen):
    engine = open_database(settings.database_url)
    happen(settings, engine)
    engine.dispose()

    def told() -> dict[str, object]:
        chains = json.loads(audit(settings, "--json").stdout)["chains"]
        return next(one for one in chains if one["name"] == name)

    assert (told()["verified"], told()["entries"], told()["anchored"]) == (True, 1, 1)
    kept = settings.workspace / f"{name}.head"
    kept.rename(kept.with_suffix(".away"))
    assert "a cut-off end would not be noticed" in told()["problem"]
    kept.with_suffix(".away").rename(kept)
    change(settings, f"DELETE FROM {name}")
    assert f"{name}: entry 1 was anchored outside but the log ends at 0" in told()["problem"]
    change(settings, f"DROP TABLE {name}")
    assert "was anchored outside but the log ends at 0" in told()["problem"]


@pytest.mark.parametrize(("name", "happen"), [*TOLD, ("journal", paid_in)])
def test_what_is_cut_off_on_a_server_is_missed_by_the_host_that_wrote_it(
    postgres_server, tmp_path, name, happen
):
    with postgres_server.database() as url:
        where = tmp_path / "ws"
        where.mkdir()
        settings = read_settings({"SLUICE_DATABASE_URL": url}, workspace=where)
        engine = open_database(url)
        happen(settings, engine)
        assert audit(settings, SLUICE_DATABASE_URL=url).returncode == 0
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DELETE FROM {name}")
        engine.dispose()
        done = audit(settings, SLUICE_DATABASE_URL=url)
    assert done.returncode == 1
    assert "was anchored outside but the log ends at 0" in " ".join(done.stdout.split())


def test_the_records_of_venues_are_proved_and_those_that_are_not_here_named(settings, tmp_path):
    first, second = sorted((settings.workspace / "venues").glob("*/*.db"))
    shutil.copy(first, tmp_path / "kept.db")
    with sqlite3.connect(first) as record:
        record.execute("UPDATE positions SET quantity = '1'")
    record.close()
    for beside in second.parent.glob(f"{second.name}*"):
        beside.unlink()
    answer = json.loads(audit(settings, "--json").stdout)
    (wrong,) = [one for one in answer["chains"] if not one["verified"]]
    assert wrong["name"] == f"venue {first.parent.name}/{first.stem}"
    assert "positions are not those of its chain" in wrong["problem"]
    (told,) = answer["unproved"]
    assert told.startswith(f"venue {second.stem}, at which account {second.parent.name}")
    shutil.copy(tmp_path / "kept.db", first)
    for somebody in ({}, {"SLUICE_VENUE_URL": "tcp://127.0.0.1:8090"}):
        assert audit(settings, **somebody).returncode == 1, "nobody else serves a replay's venues"
    first.write_bytes(first.read_bytes()[:100] + b"\xff" * 4000)
    done = audit(settings)
    assert done.returncode == 1
    assert f"refused venue {first.parent.name}" in done.stdout
