"""`sluice schedule`: who trades, and what became of each tick."""

from __future__ import annotations

from datetime import UTC, date, datetime

import msgspec
import pytest
from typer.testing import CliRunner

from runtime.database import open_database, transaction
from runtime.scheduling.fence import Epochs
from runtime.scheduling.slots import Slots
from service.cli import app
from service.commands.schedule import ScheduleAnswer
from service.records import open_slots
from tests.fakes.trading import promoted_workspace

AT = datetime(2026, 3, 6, 21, 5, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path):
    return promoted_workspace(tmp_path)


def run(settings, *more: str):
    arguments = ["schedule", "-w", str(settings.workspace), *more]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def test_before_anybody_traded_it_says_so(settings):
    done = run(settings)
    assert done.exit_code == 0, done.output
    assert "nobody has traded this account yet" in done.output


def test_it_tells_who_trades_and_what_became_of_each_tick(settings):
    engine = open_database(settings.database_url)
    fence = Epochs(engine).take("live", holder="host:42", at=AT)
    slots = Slots.open(engine, fence, "session XNYS")
    slots.end(date(2026, 3, 5), "skipped", AT, "no process ran at its time")
    slots.claim(date(2026, 3, 6), AT)
    slots.end(date(2026, 3, 6), "done", AT)
    engine.dispose()
    done = run(settings)
    assert "traded by host:42, epoch 1" in done.output
    assert "no process ran at its time" in done.output
    answer = msgspec.json.decode(
        run(settings, "--json", "--limit", "2").output, type=ScheduleAnswer
    )
    assert [one.outcome for one in answer.entries] == ["done", "claimed"]
    assert answer.since == AT
    assert list(answer.next_close) == ["session XNYS"]
    assert answer.next_close["session XNYS"] > datetime.now(UTC)


def test_the_audit_proves_the_schedules_chain_and_names_what_was_changed(settings):
    engine = open_database(settings.database_url)
    fence = Epochs(engine).take("live", holder="h", at=AT)
    open_slots(settings, fence, "session XNYS").claim(date(2026, 3, 6), AT)
    audit = ["audit", "-w", str(settings.workspace), "--json"]
    whole = CliRunner().invoke(app, audit)
    chains = {one["name"]: one for one in msgspec.json.decode(whole.output)["chains"]}
    assert (chains["schedule"]["verified"], chains["schedule"]["entries"]) == (True, 1)
    with transaction(engine) as connection:
        connection.exec_driver_sql("UPDATE schedule SET key = 'session XNYS/2026-03-05'")
    engine.dispose()
    forged = CliRunner().invoke(app, audit)
    assert forged.exit_code == 1
    chains = {one["name"]: one for one in msgspec.json.decode(forged.output)["chains"]}
    assert "entry 1" in chains["schedule"]["problem"]
