"""Accounts: what one bundle replayed, another bundle and live trading neither hide nor take."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from runtime.database import open_database
from runtime.engine import fund
from runtime.journal.records import SessionRecord
from runtime.journal.store import Journal
from service.books.accounts import LIVE, replay_account
from service.faults import QueryInvalid
from service.settings import read_settings
from service.trading.engines import active_bundle, replay_bundle
from service.trading.proof import prove_here
from service.wiring import open_live
from tests.fakes.commands import inside
from tests.fakes.trading import promote_over_lake, promoted_workspace

JANUARY = {"first": date(2019, 1, 2), "last": date(2019, 1, 31)}
SESSIONS = 21  # of XNYS in January 2019


@pytest.fixture
def settings(tmp_path, market_lake):
    settings = promoted_workspace(tmp_path / "ws")
    promote_over_lake(settings, market_lake, version=2)
    return settings


def trade_live(settings, day: date) -> Journal:
    """Close one session of the live account, as `sluice trade` does."""
    journal = Journal(open_database(settings.database_url), LIVE)
    at = datetime(day.year, day.month, day.day, 21, tzinfo=UTC)
    fund(journal, Decimal("500000.00"), at)
    record = SessionRecord(
        account=LIVE,
        day=day,
        closed_at=at,
        marks={},
        positions={},
        cash=Decimal("500000.00"),
        equity=Decimal("500000.00"),
        realised=Decimal("0.00"),
        unrealised=Decimal("0.00"),
        fees=Decimal("0.00"),
        benchmark="equal weight",
        benchmark_return=None,
        breaks=(),
    )
    assert journal.close_session(record)
    return journal


def shown(settings):
    return open_live(settings, monotonic=time.monotonic, prove=prove_here).accounts


def test_a_second_bundle_replays_the_same_days_with_its_own_money(settings, market_lake):
    first = replay_bundle(settings, active_bundle(settings), **JANUARY)
    assert (first.ran, first.result.sessions) == (SESSIONS, SESSIONS)
    later = datetime(2017, 3, 1, tzinfo=UTC)
    promote_over_lake(settings, market_lake, version=1, study="second", at=later)
    second = replay_bundle(settings, active_bundle(settings), **JANUARY)
    assert second.bundle.manifest.study == "second"
    assert (second.ran, second.result.sessions) == (SESSIONS, SESSIONS)
    assert second.result.fills == first.result.fills > 0
    assert second.result.breaks == 0
    assert second.journal.account == replay_account(second.bundle.hash) != first.journal.account
    assert second.journal.book().equity(_marks(second)) == first.journal.book().equity(
        _marks(first)
    )
    second.journal.verify()


def _marks(replayed):
    return replayed.journal.last_session().marks


def test_live_sessions_of_another_year_leave_a_replay_its_days(settings):
    trade_live(settings, date(2026, 1, 2))
    replayed = replay_bundle(settings, active_bundle(settings), **JANUARY)
    assert (replayed.ran, replayed.result.sessions) == (SESSIONS, SESSIONS)
    assert replayed.journal.book().flows == Decimal("1000000.00")


def test_a_bundle_decides_the_same_day_in_replay_and_live_under_ids_of_their_own(settings):
    bundle = active_bundle(settings)
    replayed = replay_bundle(settings, bundle, **JANUARY)
    live = Journal(open_database(settings.database_url), LIVE)
    assert replayed.journal.find_decision(bundle.hash, "2019-01-04") is not None
    assert live.find_decision(bundle.hash, "2019-01-04") is None


def test_totals_are_of_the_days_asked_for_and_nothing_left_is_said_plainly(settings):
    replay_bundle(settings, active_bundle(settings), **JANUARY)
    days = ("--from", "2019-01-07", "--to", "2019-01-11")
    done = inside("replay", "-w", settings.workspace, *days)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "Nothing was left to run" in text
    assert "2019-01-07 to 2019-01-11: 5 sessions, 1 decisions" in text


def test_days_that_were_passed_over_are_refused_and_not_left_out_in_silence(settings):
    bundle = active_bundle(settings)
    replay_bundle(settings, bundle, **JANUARY)
    with pytest.raises(QueryInvalid, match=r"has traded 2019-01-02 to 2019-01-31, and"):
        replay_bundle(settings, bundle, first=date(2018, 12, 3), last=date(2019, 2, 28))
    with pytest.raises(QueryInvalid, match="no session"):
        replay_bundle(settings, bundle, first=date(2019, 1, 5), last=date(2019, 1, 6))
    longer = replay_bundle(settings, bundle, first=date(2019, 1, 2), last=date(2019, 2, 8))
    assert (longer.ran, longer.result.sessions) == (6, SESSIONS + 6)


def test_the_desk_shows_the_active_bundle_s_replay_until_live_trades_or_settings_say(
    settings, market_lake
):
    first = replay_bundle(settings, active_bundle(settings), **JANUARY)
    accounts = shown(settings)
    assert accounts.name() == first.journal.account
    later = datetime(2017, 3, 1, tzinfo=UTC)
    promote_over_lake(settings, market_lake, version=1, study="second", at=later)
    assert accounts.name() == replay_account(active_bundle(settings).hash)
    trade_live(settings, date(2026, 1, 2))
    assert accounts.name() == LIVE
    environ = {"SLUICE_ACCOUNT": first.journal.account}
    named = read_settings(environ, workspace=settings.workspace)
    assert shown(named).name() == first.journal.account


def test_a_decision_of_an_account_that_is_not_shown_is_found_by_its_id(settings):
    replayed = replay_bundle(settings, active_bundle(settings), **JANUARY)
    trade_live(settings, date(2026, 1, 2))
    decision = replayed.journal.decisions(limit=1)[0].record
    accounts = shown(settings)
    assert accounts.name() == LIVE
    books = accounts.holding(decision.decision_id[:12])
    assert books.decision(decision.decision_id).tick == decision.tick
    order = replayed.journal.orders()[0].order
    assert accounts.holding(order.order_id).order(order.order_id).symbol == order.symbol
    assert accounts.holding("zzz").journal.account == LIVE


def test_each_account_has_venue_records_of_its_own(settings):
    replayed = replay_bundle(settings, active_bundle(settings), **JANUARY)
    folder = settings.workspace / "venues"
    names = {str(path.relative_to(folder)) for path in folder.glob("*/*.db")}
    account = replayed.journal.account
    assert names == {f"{account}/primary.db", f"{account}/alternate.db"}


def test_under_json_a_replay_tells_its_account(settings):
    days = ("--from", "2019-01-02", "--to", "2019-01-11")
    done = inside("replay", "-w", settings.workspace, *days, "--json")
    answer = json.loads(done.stdout)
    assert answer["account"] == replay_account(answer["bundle"])
    assert (answer["ran"], answer["sessions"], answer["decisions"]) == (8, 8, 2)
