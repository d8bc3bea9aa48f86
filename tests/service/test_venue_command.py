"""`sluice venue`: an account traded against it has the fills of an embedded one, to the cent."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from featurestore.calendars import load_calendar
from runtime.clock import ReplayClock
from runtime.engine import Engine, fund
from runtime.errors import OrderInvalid, VenueRefused, VenuesInvalid
from runtime.feeds import LakeFeed
from runtime.market.recorded import HaltMessage
from runtime.replay import CAPITAL
from service.books.accounts import LIVE
from service.cli import app
from service.operator.control import EngageRequest
from service.operator.killing import open_killing
from service.settings import SettingsInvalid, read_settings
from service.trading.engines import active_bundle, market_reader, open_desk
from service.trading.halts import told_halts
from service.trading.paper import remote_venues
from service.trading.venue import open_floor
from tests.fakes.trading import promote_over_lake, promoted_workspace

TOKEN = "a-token-of-the-tests"
FIRST, LAST = date(2017, 1, 3), date(2017, 1, 11)


@pytest.fixture
def settings(tmp_path, market_lake):
    """A workspace whose live account trades at a venue process, which runs."""
    made = promoted_workspace(tmp_path / "ws")
    promote_over_lake(made, market_lake, version=2, schedule="daily")
    environ = {"SLUICE_VENUE_URL": f"unix://{tmp_path}/venue.sock", "SLUICE_VENUE_TOKEN": TOKEN}
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("sluice"),
            "venue",
            "serve",
            "--json",
            "-w",
            tmp_path / "ws",
        ],
        stdout=subprocess.PIPE,
        env=os.environ | environ,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"{\n", "it says what it serves once it listens"
        yield read_settings(environ, workspace=tmp_path / "ws")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def traded(settings, account: str):
    """Let the seated bundle trade two weeks for an account."""
    calendar, bundle = load_calendar("XNYS"), active_bundle(settings)
    clock = ReplayClock(calendar.session(FIRST).open)
    reader = market_reader(settings, bundle, newest=True)
    desk = open_desk(settings, bundle, reader, account=account, clock=clock)
    fund(desk.journal, CAPITAL, clock.now())
    engine = Engine(desk)
    for session in calendar.sessions(FIRST, LAST):
        clock.advance(session.close)
        assert engine.run_session(session).breaks == ()
    return desk


HERE_ONLY = {"SLUICE_VENUE_URL": "", "SLUICE_VENUE_TOKEN": ""}


def there_too(settings) -> dict[str, str]:
    """Return what names the venue process to a command."""
    return {"SLUICE_VENUE_URL": settings.venue_url, "SLUICE_VENUE_TOKEN": TOKEN}


def venue(settings, *words: str, env: dict[str, str] = HERE_ONLY) -> tuple[int, str]:
    """Run a command of `sluice venue`; return its status and what it printed."""
    done = CliRunner().invoke(app, ["venue", *words, "-w", str(settings.workspace)], env=env)
    return done.exit_code, done.output


def venue_json(settings, *words: str, status: int = 0):
    """Run a command of `sluice venue` that knows the venue process; return its document."""
    found, output = venue(settings, *words, "--json", env=there_too(settings))
    assert found == status, output
    return json.loads(output)


def told(desk):
    """Return the terms of every execution in a desk's journal."""
    return [
        (one.fill.symbol, one.fill.quantity, one.fill.price, one.fill.fee, one.fill.executed_at)
        for one in desk.journal.fills()
    ]


def test_an_account_at_a_venue_process_trades_as_at_its_own_venues_and_reconciles(settings):
    there, here = traded(settings, LIVE), traded(replace(settings, venue_url=""), "embedded")
    assert len(told(there)) > 10
    assert told(there) == told(here)
    everything_is_proved_and_cancelled(settings, there)
    closes_made_up_are_refused(there)
    a_changed_execution_is_found(settings, told(there)[0][4].date())
    nothing_is_reconciled_with_what_is_not_there(settings)
    an_audit_asks_for_records_that_nobody_keeps(settings)
    strangers_are_refused(settings)


def everything_is_proved_and_cancelled(settings, desk):
    lines = venue_json(settings, "status")
    assert [one["venue"] for one in lines] == ["primary", "alternate"]
    proved = [one for one in venue_json(settings, "verify") if one["account"] == LIVE]
    heads = {(one["venue"], one["head"]) for one in lines}
    assert {(one["venue"], one["head"]) for one in proved} == heads
    found = venue_json(settings, "reconcile")
    assert (found["sessions"], found["executions"]) == (7, len(told(desk)))
    assert found["differences"] == []
    working = sum(one["working"] for one in lines)
    assert working > 0
    asked = EngageRequest(scope="all", reason="drill", by="ada")
    done = open_killing(settings, desk.clock).engage(asked)
    assert (done.found, done.cancelled, done.complete) == (working, working, True)


def closes_made_up_are_refused(desk):
    bars = desk.feed.bars(("AAPL", "MSFT"), desk.clock.now())
    wrong = replace(bars[1], close=bars[1].close + Decimal("0.01"))
    with pytest.raises(OrderInvalid, match=r"MSFT: told .* but us_equities.close has"):
        desk.brokers[0].on_bars([bars[0], wrong], desk.clock.now())


def a_changed_execution_is_found(settings, first):
    with sqlite3.connect(settings.workspace / "venues" / LIVE / "primary.db") as database:
        database.execute("UPDATE executions SET price = '1.000000' WHERE number = 1")
    database.close()
    (day,) = {one["day"] for one in venue_json(settings, "reconcile", status=1)["differences"]}
    assert day == first.isoformat()
    status, words = venue(settings, "verify")
    assert status == 1
    assert "executions or actions are not those of its chain" in words


def nothing_is_reconciled_with_what_is_not_there(settings):
    reconciling = ("reconcile", "--account")
    status, words = venue(settings, *reconciling, "embedded")
    assert status == 0, words
    record = settings.workspace / "venues" / "embedded" / "primary.db"
    record.rename(record.with_suffix(".away"))
    status, words = venue(settings, *reconciling, "embedded")
    assert (status, "has executions of primary" in words) == (2, True), words
    status, words = venue(settings, *reconciling, "embedded", "--from", "2030-01-01")
    assert (status, "no session of embedded" in words) == (2, True), words
    status, words = venue(settings, *reconciling, "embeded")
    assert (status, "nothing was ever traded" in words) == (2, True), words


def an_audit_asks_for_records_that_nobody_keeps(settings):
    def audited(env: dict[str, str]) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["audit", "-w", str(settings.workspace)], env=env)
        return done.exit_code, " ".join(done.output.split())

    for record in (settings.workspace / "venues" / LIVE).glob("*.db"):
        record.rename(record.with_suffix(".there"))  # as where its process is another host's
    status, words = audited(there_too(settings))
    assert (status, "account embedded has executions" in words) == (1, True), words
    away = settings.workspace / "venues" / "embedded" / "primary.away"
    away.rename(away.with_suffix(".db"))
    assert audited(there_too(settings))[0] == 0, "what is not here is kept there"
    assert audited(HERE_ONLY)[0] == 1, "nobody is named who could keep it"


def strangers_are_refused(settings):
    stranger = remote_venues(replace(settings, venue_token="another-token-16"), ["primary"], LIVE)
    with pytest.raises(VenueRefused, match="token is another one"):
        stranger[0].working()
    (unknown,) = remote_venues(settings, ["nasdaq"], LIVE)
    with pytest.raises(VenueRefused, match="no venue 'nasdaq' here"):
        unknown.working()


@pytest.mark.parametrize(
    ("price", "said"),
    [("nope.close", "no feature view 'nope'"), ("us_equities.open", "has no field 'open'")],
)
def test_closes_that_the_lake_does_not_know_are_refused_before_anybody_trades(
    tmp_path, market_lake, price, said
):
    made = promoted_workspace(tmp_path / "ws")
    promote_over_lake(made, market_lake, version=2)
    words = ["venue", "serve", "--price", price, "--listen", f"unix://{tmp_path}/venue.sock"]
    done = CliRunner().invoke(
        app, [*words, "-w", str(made.workspace)], env={"SLUICE_VENUE_TOKEN": TOKEN}
    )
    assert (done.exit_code, said in " ".join(done.output.split())) == (2, True), done.output


def test_who_publishes_at_the_same_time_sees_the_halts_of_its_own_bars(tmp_path, market_lake):
    settings = replace(read_settings({}, workspace=tmp_path), lake_url=str(market_lake.path))
    session = load_calendar("XNYS").session(LAST)
    at = session.close + timedelta(hours=1)
    bars = LakeFeed(market_lake.reader(), "us_equities.close").bars(("AAPL", "MSFT"), at)
    halt = HaltMessage(symbol="AAPL", at=session.open, code="T1")
    told_halts(settings).tell(halt, by="ada", reason="news")
    floor = open_floor(settings, "us_equities.close")
    assert floor.check is not None
    assert floor.states is not None

    floor.check(bars[:1], at)
    other = Thread(target=floor.check, args=(bars[1:], at))  # another account's, in between
    other.start()
    other.join()
    assert floor.states(bars[0]).halted


def test_an_address_or_token_that_cannot_be_used_is_named_and_never_shown(tmp_path):
    with pytest.raises(SettingsInvalid, match="SLUICE_VENUE_URL"):
        read_settings({"SLUICE_VENUE_URL": "https://venue"})
    with pytest.raises(SettingsInvalid, match="SLUICE_VENUE_TOKEN") as refused:
        read_settings({"SLUICE_VENUE_TOKEN": "hunter2"})
    assert "hunter2" not in str(refused.value)
    named = read_settings({"SLUICE_VENUE_URL": "tcp://127.0.0.1:8090"}, workspace=tmp_path)
    with pytest.raises(VenueRefused, match="set SLUICE_VENUE_TOKEN"):
        remote_venues(named, ["primary"], LIVE)
    odd = replace(named, venue_url="tcp://127.0.0.1", venue_token=TOKEN)
    with pytest.raises(VenuesInvalid, match="no place of a venue"):
        remote_venues(odd, ["primary"], LIVE)
    assert TOKEN not in repr(odd)
