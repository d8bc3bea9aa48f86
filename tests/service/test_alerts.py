"""`sluice alerts` and the watch, with notices that really travel over HTTP and mail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_string
from pathlib import Path

import pytest
from litestar.testing import TestClient
from typer.testing import CliRunner

from runtime.clock import ReplayClock, WallClock
from runtime.engine import SessionOutcome
from runtime.journal.reconcile import Break, BreakClass
from runtime.kill.switch import KillSwitch
from runtime.scheduling.fence import Epochs
from service.app import create_app
from service.cli import app
from service.databases import open_runtime
from service.operator.alarms import TRADE, Alarms, Records, heart, open_book, open_watch
from service.operator.watching import Rounds
from service.records import open_slots
from service.secrets.source import Secrets
from service.settings import Settings, read_settings
from service.wiring import open_live
from tests.fakes.receivers import mail_server, webhook
from tests.fakes.trading import promoted_workspace
from tests.fakes.vault import FakeVault, serving

LEVELS = """
[[level]]
after_minutes = 0
to = ["hook", "desk"]
[[level]]
after_minutes = 15
to = ["hook"]
"""


@pytest.fixture
def received():
    with webhook() as (hook, posted), mail_server() as (port, mails):
        yield hook, posted, port, mails


@pytest.fixture
def environ(tmp_path, received):
    hook, _, port, _ = received
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "workspace.json").write_text("{}")
    mail = f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&from=a@example.org&to=desk@example.org"
    file = tmp_path / "alerts.toml"
    file.write_text(
        f'[receivers]\nhook = "secret:alerts#hook"\ndesk = "{mail}&mode=insecure"\n{LEVELS}'
    )
    return {
        "SLUICE_ALERTS": str(file),
        "SLUICE_WORKSPACE": str(tmp_path / "ws"),
        "ALERTS_HOOK": f"json://127.0.0.1:{hook}/hook",
        "COLUMNS": "200",
    }


@pytest.fixture
def settings(environ):
    secrets = Secrets(environ=environ, clock=WallClock())
    return read_settings(secrets.resolved(), secrets=secrets)


@pytest.fixture
def sluice(environ):
    def run(*words: object, status: int = 0) -> str:
        done = CliRunner().invoke(app, [*map(str, words)], env=environ)
        assert done.exit_code == status, done.output
        return done.output

    return run


def outcome(**given) -> SessionOutcome:
    plain = {
        "day": date(2026, 11, 20),
        "decision": None,
        "orders": 0,
        "fills": 0,
        "equity": None,
        "benchmark_return": None,
        "breaks": (),
    }
    return SessionOutcome(**plain | given)


def test_an_alert_reaches_a_webhook_and_a_mailbox_in_one_round(settings, received):
    _, posted, _, mails = received
    alarms = Alarms(open_book(settings), WallClock())
    alarms.session(outcome(unpriced=("AAPL", "MSFT")))
    watch = open_watch(settings, WallClock(), expected=())
    assert watch.round() + watch.settle() == 2
    (hooked,) = posted
    assert hooked["title"] == "[page] 2026-11-20: not closed, no bar for AAPL, MSFT"
    assert "sluice alerts ack" in hooked["message"]
    (mail,) = mails
    assert message_from_string(mail)["Subject"] == hooked["title"]


def test_a_break_is_told_in_words(settings):
    found = Break(
        kind=BreakClass.POSITION,
        venue="primary",
        day=date(2026, 11, 20),
        symbol="GE",
        execution_id="",
        ours="0",
        theirs="412",
    )
    (alert,) = Alarms(open_book(settings), WallClock()).session(outcome(breaks=(found,)))
    assert alert.detail == "position break of 2026-11-20 at primary: GE ours 0, theirs 412"


@pytest.mark.parametrize("words", [("ack", "x.y", "--by", " "), ("resolve", "x.y", "--how", "")])
def test_nobody_takes_an_alert_and_none_ends_without_a_word(sluice, settings, words):
    """An empty name ended with 0 as if somebody had it in hand."""
    raised = open_book(settings).sound("x.y", "it burns", at=WallClock().now())
    assert "x.y is not" in sluice("alerts", *words, status=1)
    assert open_book(settings).open() == (raised,)


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("2026-11-19 23:59", None),
        ("2026-11-20 23:59", None),  # three hours after the close have not passed
        ("2026-11-21 00:01", "session 2026-11-20 did not end: session XNYS"),
        ("2026-11-23 20:00", "session 2026-11-20 did not end: session XNYS"),
        ("2026-11-27 20:59", "4 sessions since 2026-11-19 did not end: session XNYS"),
        ("2026-11-27 21:01", "5 sessions since 2026-11-19 did not end: session XNYS"),
    ],
)
def test_sessions_that_nobody_runs_are_told_though_the_last_process_ended_as_told(
    tmp_path, at, told
):
    settings = promoted_workspace(tmp_path / "promoted")
    begun, engine = datetime(2026, 11, 19, 21, 6, tzinfo=UTC), open_runtime(settings)
    records, now = Records(settings), datetime.fromisoformat(f"{at}+00:00")
    assert list(records.missed(now)) == [], "nobody ever traded"
    slots = open_slots(settings, Epochs(engine).take("live", holder="a", at=begun), "session XNYS")
    slots.end(begun.date(), "done", begun)
    assert [one.title for one in records.missed(now)] == ([told] if told else [])


def test_that_nobody_ran_a_session_is_over_once_somebody_has(tmp_path):
    settings = promoted_workspace(tmp_path / "promoted")
    begun = datetime(2026, 11, 19, 21, 6, tzinfo=UTC)
    clock = ReplayClock(begun)
    slots = open_slots(
        settings,
        Epochs(open_runtime(settings)).take("live", holder="a", at=begun),
        "session XNYS",
    )
    slots.end(begun.date(), "done", begun)
    watch = replace(open_watch(settings, clock, expected=()), glance=60.0)

    def looked(at: str) -> list[str]:
        clock.advance(datetime.fromisoformat(f"{at}+00:00"))
        watch.round()
        return [one.title for one in watch.book.open() if "did not end" in one.title]

    assert looked("2026-11-20 12:00") == []
    assert looked("2026-11-21 12:00") == ["session 2026-11-20 did not end: session XNYS"]
    two = "2 sessions since 2026-11-19 did not end: session XNYS"
    assert looked("2026-11-24 12:00") == [two], "it is told as it stands now"
    slots.end(date(2026, 11, 23), "late", clock.now())
    assert looked("2026-11-24 12:01") == []


def test_of_a_calendar_that_is_traded_by_no_more_nothing_is_missed(tmp_path):
    settings = promoted_workspace(tmp_path / "promoted")
    begun, engine = datetime(2026, 11, 19, 21, 6, tzinfo=UTC), open_runtime(settings)
    records, fence = Records(settings), Epochs(engine).take("live", holder="a", at=begun)
    for name, day in (("XNYS", 19), ("XNSE", 20), ("XNSE", 27)):
        ended = datetime(2026, 11, day, 22, tzinfo=UTC)
        open_slots(settings, fence, f"session {name}").end(ended.date(), "done", ended)
    assert list(records.missed(datetime(2026, 11, 29, tzinfo=UTC))) == []
    (found,) = records.missed(datetime(2026, 12, 1, tzinfo=UTC))
    assert found.title == "session 2026-11-30 did not end: session XNSE"


def test_a_session_that_went_well_raises_nothing(settings):
    assert Alarms(open_book(settings), WallClock()).session(outcome()) == ()


def test_a_split_in_doubt_is_told_with_what_to_run_though_nothing_was_due(settings):
    told = "a/AAPL/split is booked and was called off; take it back: sluice books reverse"
    (alert,) = Alarms(open_book(settings), WallClock()).session(outcome(doubts=(told,)))
    assert (alert.key, alert.severity) == ("trade.actions", "page")
    assert alert.detail == told


def test_a_stopped_scope_is_told_and_over_when_it_is_released(settings, received):
    switch = KillSwitch.create(settings.workspace / "kill")
    switch.engage("symbol.AAPL", "wrong prices", by="ada", at=WallClock().now())
    watch = open_watch(settings, WallClock(), expected=())
    watch.round()
    watch.settle()
    (alert,) = watch.book.open()
    assert (alert.title, alert.detail) == ("symbol.AAPL is stopped by ada", "wrong prices")
    assert len(received[1]) == 1
    (settings.workspace / "kill" / "symbol.AAPL").unlink()
    watch.round()
    assert watch.book.open() == ()


def test_a_person_lists_takes_and_ends_an_alert(sluice, settings):
    assert "no alert is open" in sluice("alerts", "list")
    alert = open_book(settings).sound("trade.breaks", "2 breaks", at=WallClock().now())
    assert "NOT TAKEN" in sluice("alerts", "list", status=1)
    said = sluice("alerts", "ack", "trade.breaks", "--by", "ada", "--note", "asking the venue")
    assert "taken by ada: asking the venue" in said
    found = json.loads(sluice("alerts", "list", "--json"))
    assert [(one["id"], one["acknowledged_by"]) for one in found] == [(alert.id, "ada")]
    sluice("alerts", "resolve", alert.id, "--how", "booked")
    assert "over: booked" in sluice("alerts", "list", "--all")
    assert "no open alert is called" in " ".join(
        sluice("alerts", "resolve", alert.id, "--how", "x", status=1).split()
    )


def test_a_receiver_can_be_tried_and_an_unknown_one_is_named(sluice, received):
    assert "hook was reached" in sluice("alerts", "test", "hook")
    assert received[1][0]["title"].endswith("a test: nothing has happened")
    assert "desk, hook" in sluice("alerts", "test", "boss", status=2)


def test_without_a_session_the_whole_budget_is_left(sluice):
    found = json.loads(sluice("alerts", "budget", "--json"))
    assert (found["sessions"], found["budget_left"]) == (0, 1.0)


def test_a_killed_process_is_missed_by_the_watch_of_another(environ, settings, received):
    _, posted, _, _ = received
    pulse = heart(settings, TRADE, "host:1")
    pulse.beat(WallClock().now() - timedelta(seconds=16))  # and nothing since
    child = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "alerts", "watch"],
        env={k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until = time.monotonic() + 120
        while not posted and time.monotonic() < until:
            time.sleep(0.05)
        assert [one["title"] for one in posted] == ["[page] trade is silent"]
    finally:
        child.send_signal(signal.SIGTERM)
        said, _ = child.communicate(timeout=120)
    assert child.returncode == 0, said
    assert "Watching" in said
    assert (settings.workspace / "hearts" / "watch.beat").is_file()


def test_with_vault_down_the_watch_starts_tells_whom_it_can_and_takes_the_rest_when_it_is_back(
    environ, received
):
    """Settings and a receiver refer to Vault: it is sealed at first, and opened meanwhile."""
    hook, posted, _, mails = received
    vault = FakeVault(clock=WallClock())
    vault.sealed = True
    database = f"sqlite:///{environ['SLUICE_WORKSPACE']}/elsewhere.db"
    with serving(vault) as address:
        variables = environ | {
            "SLUICE_SECRETS": "vault",
            "VAULT_ADDR": address,
            "VAULT_TOKEN": vault.root,
            "SLUICE_DATABASE_URL": "secret:db#url",
        }
        clock = ReplayClock(datetime(2026, 11, 20, 14, tzinfo=UTC))
        secrets = Secrets(environ=variables, clock=clock, patience=timedelta(seconds=0.1))

        def read() -> Settings:
            known, missing = secrets.found()
            return read_settings(known, secrets=secrets, missing=missing)

        rounds = Rounds.begin(read, clock, ())
        assert list(rounds.settings.missing) == ["SLUICE_DATABASE_URL"]
        rounds.watch.glance = 30
        rounds.go()
        rounds.watch.settle()
        titles = {one.title for one in rounds.watch.book.open()}
        assert titles == {
            "SLUICE_DATABASE_URL is not known",
            "the address of receiver hook is not known",
            "books cannot be looked at",
            "feed cannot be looked at",
            "sessions cannot be looked at",
            "policy cannot be looked at",
        }
        assert len(mails) == 6  # the desk's address needs no secret
        assert not posted
        assert not Path(environ["SLUICE_WORKSPACE"], "runtime.db").exists()  # no default stood in

        vault.sealed = False
        admin = Secrets(environ=variables, clock=clock)
        admin.vault.write("db", {"url": database}, expected=0)
        admin.vault.write("alerts", {"hook": f"json://127.0.0.1:{hook}/h"}, expected=0)
        until = time.monotonic() + 120
        while rounds.settings.missing and time.monotonic() < until:
            clock.advance(clock.now() + timedelta(seconds=10))
            rounds.go()
            time.sleep(0.02)
        assert rounds.settings.database_url == database
        rounds.watch.glance = 30
        for _ in range(4):
            clock.advance(clock.now() + timedelta(seconds=31))
            rounds.go()
            rounds.watch.settle()
    assert rounds.watch.book.open() == ()
    assert "[page] SLUICE_DATABASE_URL is not known" in {one["title"] for one in posted}


def test_over_rest_an_alert_is_read_by_anybody_and_taken_by_an_operator(settings):
    token = "an-operator-token-of-the-tests"
    live = open_live(replace(settings, operator_token=token), monotonic=lambda: 0.0)
    live.alerts.sound("trade.breaks", "2 breaks", at=WallClock().now())
    with TestClient(create_app(live)) as client:
        assert [one["title"] for one in client.get("/alerts").json()] == ["2 breaks"]
        took = {"by": "ada", "note": "asking the venue"}
        assert client.post("/alerts/trade.breaks/acknowledge", json=took).status_code == 401
        shown = {"Authorization": f"Bearer {token}"}
        taken = client.post("/alerts/trade.breaks/acknowledge", json=took, headers=shown)
        assert (taken.status_code, taken.json()["acknowledged_by"]) == (200, "ada")
        unknown = client.post("/alerts/nothing/acknowledge", json=took, headers=shown)
        assert unknown.status_code == 404
        assert "trade.breaks" in unknown.json()["detail"]
