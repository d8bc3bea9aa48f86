"""Who trades the live account, read from the registry: alone, together, stopped, in shadow."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import prod

import msgspec
import pytest
from litestar.testing import TestClient
from typer.testing import CliRunner

from featurestore.calendars import load_calendar
from runtime.bundles.bundle import promote_bundle
from runtime.bundles.contract import StopBands
from runtime.bundles.signing import load_signer, load_trusted
from runtime.chain import HeadAnchor
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.engine import Engine, fund
from runtime.errors import BundleStopped
from runtime.joint.identity import JointLog
from runtime.joint.shadow_log import ShadowLog
from runtime.joint.shares import Shares
from runtime.journal.records import CashFlow
from runtime.journal.store import Journal
from runtime.registry import CHAMPION, ArmTest, Comparison, Promoted, Registry
from runtime.replay import CAPITAL
from runtime.scheduling.live import LiveDriver
from service.app import create_app
from service.books.accounts import LIVE
from service.cli import app
from service.operator.seats import ArmsAnswer
from service.settings import read_settings
from service.trading.bands import BY
from service.trading.crew import live_crew
from service.trading.engines import open_desk
from service.trading.proof import prove_here
from service.wiring import open_live
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest
from tests.fakes.trading import FEATURE, SYMBOLS, promoted_workspace, walk_reader

XNYS = load_calendar("XNYS")
START = date(2017, 1, 3)
SEATED = datetime(2017, 1, 1, 12, tzinfo=UTC)
READER = walk_reader(START, date(2017, 6, 30))


class World:
    """A workspace, its registry and a clock that only goes forward."""

    def __init__(self, folder) -> None:
        self.settings = promoted_workspace(folder / "ws", schedule="week_end")
        self.registry = Registry(open_database(self.settings.database_url))
        self.clock = ReplayClock(XNYS.session(START).open)

    def seat(self, study, role=CHAMPION, *, bands=None, trials=3, schedule="week_end", **facts):
        """Write a bundle of a study, sign it with bands and seat it."""
        signer = load_signer(self.settings.workspace / "keys" / "signing.key")
        manifest = msgspec.structs.replace(
            tilt_manifest(SYMBOLS, schedule=schedule, feature=FEATURE), study=study, trials=trials
        )
        version = self.registry.newest_version(study) + 1
        folder = tilt_bundle(
            self.settings.bundles,
            signer,
            manifest=manifest,
            files=tilt_files(SYMBOLS),
            version=version,
        )
        signed = promote_bundle(
            folder,
            load_trusted(self.settings.trusted_keys),
            signer,
            signed_at=SEATED,
            version=version,
            stage="staging",
            by="ada",
            why="w",
            bands=bands,
        )
        return self.registry.activate(
            Promoted(
                study=study,
                bundle=folder.name,
                version=version,
                stage="staging",
                promotion=signed,
            ),
            role=role,
            by="ada",
            why="w",
            at=SEATED + timedelta(hours=version),
            **facts,
        )

    def engine(self) -> Engine:
        """Open everything anew, as live trading does for each session."""
        crew = live_crew(self.settings)
        desk = open_desk(self.settings, crew.bundle, READER, account=LIVE, clock=self.clock)
        desk = crew.man(desk, clock=self.clock, freshness={})
        if desk.journal.book().flows == 0:
            fund(desk.journal, CAPITAL, self.clock.now())
        return Engine(desk)

    def run(self, first: date, last: date, *, final: bool = False):
        engine = self.engine()
        for session in XNYS.sessions(first, last):
            self.clock.advance(session.close)
            outcome = engine.run_session(session, final=final)
        return outcome

    @property
    def journal(self) -> Journal:
        return Journal(open_database(self.settings.database_url), LIVE)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_champion_alone_trades_as_a_single_bundle(world):
    champion = world.registry.active()
    crew = live_crew(world.settings)
    assert (crew.bundle.hash, crew.members, crew.challengers) == (champion.bundle, (), ())
    assert crew.words.startswith("tilt (")
    world.run(START, date(2017, 1, 9))
    assert {one.record.bundle for one in world.journal.decisions()} == {champion.bundle}


def test_capital_shared_in_the_registry_is_traded_together_and_adds_up(world):
    world.seat("other", "arm.b", trials=9)
    world.registry.allocate(
        {"champion": "0.6", "arm.b": "0.3"}, by="ada", why="A/B", at=SEATED + timedelta(days=1)
    )
    crew = live_crew(world.settings)
    assert crew.words == "arm.b other 30%, champion tilt 60%"
    world.run(START, date(2017, 1, 20))
    engine = world.engine()
    shares = engine.desk.shares.follow()
    last = world.journal.last_session()
    assert set(shares.books) == {"champion", "arm.b", "reserve"}
    assert sum(book.equity(last.marks) for book in shares.books.values()) == last.equity
    assert world.journal.counts()["fills"] > 0
    assert engine.desk.approved() == engine.desk.bundle.hash


def test_arms_are_judged_by_what_their_own_books_earned_after_costs(world):
    champion, arm = world.registry.active(), world.seat("other", "arm.b", trials=9)
    test = ArmTest(control=CHAMPION, alpha=0.05, bound=0.02)
    world.registry.allocate(
        {"champion": "0.6", "arm.b": "0.3"},
        test=test,
        by="ada",
        why="A/B",
        at=SEATED + timedelta(days=1),
    )
    world.run(START, date(2017, 2, 3))
    named = read_settings({"SLUICE_ACCOUNT": LIVE}, workspace=world.settings.workspace)
    live = open_live(named, monotonic=lambda: 0.0, prove=prove_here)
    with TestClient(create_app(live)) as client:
        shown = msgspec.json.decode(client.get("/registry/arms").content, type=ArmsAnswer)
    (found,) = shown.arms
    assert (found.bundle, found.control) == (arm.bundle, champion.bundle)
    closes = [point.day for point in world.journal.equity_curve()]
    assert found.first > closes[2]  # both have traded what they first decided
    assert (found.last, found.decision) == (closes[-1], "undecided")
    books = {}
    for one in Shares(world.journal, JointLog(open_database(named.database_url))).follow().days:
        if one.day >= found.first:
            books.setdefault(one.role, []).append(1.0 + one.returned)
    assert len(books["arm.b"]) == found.days == len([day for day in closes if day >= found.first])
    assert found.arm_return == pytest.approx(prod(books["arm.b"]) - 1.0)
    assert found.control_return == pytest.approx(prod(books["champion"]) - 1.0)
    assert found.arm_return != 0.0
    words = CliRunner().invoke(
        app,
        ["registry", "arms", "-w", str(named.workspace)],
        env={"COLUMNS": "300"},
    )
    assert f"arm.b undecided after {found.days} sessions, evidence" in words.output


def test_another_share_in_the_registry_is_another_approval_at_once(world):
    world.seat("other", "arm.b", trials=9)
    facts = {"by": "ada", "why": "A/B"}
    world.registry.allocate(
        {"champion": "0.6", "arm.b": "0.3"}, at=SEATED + timedelta(days=1), **facts
    )
    engine = world.engine()
    world.registry.allocate(
        {"champion": "0.5", "arm.b": "0.5"}, at=SEATED + timedelta(days=1), **facts
    )
    assert engine.desk.approved() != engine.desk.bundle.hash
    for session in XNYS.sessions(START, date(2017, 1, 6)):
        world.clock.advance(session.close)
        outcome = engine.run_session(session)
    assert outcome.decision.plan
    assert outcome.denied == len(outcome.decision.plan)


def first_loss(world, limit: float) -> date:
    """Run until a session loses more than the limit; the engine then stops itself."""
    engine = world.engine()
    for session in XNYS.sessions(START, date(2017, 3, 31)):
        world.clock.advance(session.close)
        try:
            engine.run_session(session, final=False)
        except BundleStopped:
            return session.day
    pytest.fail("no session lost enough")


def test_who_leaves_his_bands_makes_way_before_he_decides_again(world):
    first = world.registry.active()
    second = world.seat("tilt", bands=StopBands(max_daily_loss="0.003"), trials=9)
    day = first_loss(world, 0.003)
    change = world.registry.active()
    assert (change.action, change.version, change.bundle) == ("rollback", 1, first.bundle)
    assert change.by == BY
    assert "beyond the 0.30% that were fixed at promotion" in change.why
    assert world.journal.last_session().day < day  # the session was not closed
    outcome = world.engine().run_session(XNYS.session(day), final=False)
    assert outcome.decision.bundle == first.bundle  # at once, whatever the schedule
    assert outcome.decision.bundle != second.bundle
    assert world.journal.last_session().day == day
    (nothing, *_) = [world.run(XNYS.next(day).day, XNYS.next(day).day)]
    assert nothing.decision is None or nothing.decision.bundle == first.bundle


def test_with_nobody_before_him_who_leaves_his_bands_is_sold(world):
    world.registry.retire(by="ada", why="alone", at=SEATED)
    sole = world.seat("sole", bands=StopBands(max_daily_loss="0.003"), trials=9)
    day = first_loss(world, 0.003)
    change = world.registry.active()
    assert (change.action, change.bundle) == ("stop", sole.bundle)
    assert live_crew(world.settings).words == "champion sole 100% (stopped)"
    assert world.journal.book().quantities()
    engine = world.engine()
    for session in XNYS.sessions(day, XNYS.next(XNYS.next(day).day).day):
        world.clock.advance(session.close)
        engine.run_session(session, final=False)
    assert world.journal.book().quantities() == {}
    assert world.registry.active().action == "stop"  # it takes a new signature to come back


def test_a_last_attempt_goes_on_and_refuses_the_orders_of_who_was_taken_out(world):
    world.seat("tilt", bands=StopBands(max_drawdown="0.001"), trials=9, schedule="daily")
    engine = world.engine()
    for session in XNYS.sessions(START, date(2017, 3, 31)):
        world.clock.advance(session.close)
        outcome = engine.run_session(session, final=True)
        if world.registry.active().action == "rollback":
            break
    assert outcome.equity is not None
    assert outcome.denied == len(outcome.decision.plan)
    assert world.journal.last_session().day == session.day


def test_an_arm_that_leaves_its_bands_is_stopped_and_the_champion_goes_on(world):
    world.seat("other", "arm.b", trials=9, bands=StopBands(max_daily_loss="0.003"))
    world.registry.allocate(
        {"champion": "0.5", "arm.b": "0.5"}, by="ada", why="A/B", at=SEATED + timedelta(days=1)
    )
    day = first_loss(world, 0.003)
    seats = world.registry.seats()
    assert (seats["arm.b"].stopped, seats["champion"].stopped) == (True, False)
    world.run(day, XNYS.next(XNYS.next(day).day).day)
    books = world.engine().desk.shares.follow().books
    assert books["arm.b"].units == {}
    assert books["champion"].units


def test_money_paid_out_is_no_loss(world):
    """A tenth of the account leaves on a Saturday; a band of five percent holds."""
    world.seat("tilt", bands=StopBands(max_daily_loss="0.05"), trials=9)
    world.run(START, date(2017, 1, 13))
    world.journal.record_flow(
        CashFlow(
            flow_id="dividend",
            amount=Decimal("-100000.00"),
            at=datetime(2017, 1, 14, 12, tzinfo=UTC),
        )
    )
    world.run(date(2017, 1, 17), date(2017, 1, 20))
    assert world.registry.active().version == 2


def test_a_challenger_of_the_registry_decides_in_shadow(world):
    champion = world.registry.active()
    test = Comparison(against=champion.bundle, alpha=0.05, bound=0.02)
    rival = world.seat("rival", "challenger", trials=9, schedule="daily", comparison=test)
    world.run(START, date(2017, 1, 13))
    record = ShadowLog(open_database(world.settings.database_url))
    assert len(record.decisions(LIVE, rival.bundle)) == 9
    kept = HeadAnchor(world.settings.workspace / "shadows.head").heads()
    assert (len(kept), kept[-1]) == (9, record.verify())  # after each session
    assert record.compare(LIVE, rival.bundle, test, rival.since).evidence.days == 8
    assert {one.record.bundle for one in world.journal.decisions()} == {champion.bundle}
    # what does not verify is left out, and the champion trades on
    (world.settings.bundles / rival.bundle / "card.md").write_text("another")
    assert live_crew(world.settings).challengers == ()


def test_an_order_of_several_leads_back_to_each_of_them(world):
    world.seat("other", "arm.b", trials=9)
    world.registry.allocate(
        {"champion": "0.6", "arm.b": "0.3"}, by="ada", why="A/B", at=SEATED + timedelta(days=1)
    )
    world.run(START, date(2017, 1, 13))
    named = read_settings({"SLUICE_ACCOUNT": LIVE}, workspace=world.settings.workspace)
    live = open_live(named, monotonic=lambda: 0.0, prove=prove_here)
    (kept,) = HeadAnchor(world.settings.workspace / "joints.head").heads()
    assert kept == JointLog(world.journal.engine).verify()
    orders = world.journal.orders()
    asked = {(one.order.tick, one.order.symbol): Decimal(0) for one in orders}
    for one in orders:
        asked[one.order.tick, one.order.symbol] += one.order.quantity * one.order.side.sign
    seen = set()
    for one in orders:
        origin = live.origins.of(one.order.order_id)
        parts = {member.role: member.units for member in origin.members}
        assert parts.keys() == {"champion", "arm.b"}
        assert sum(parts.values()) == float(asked[one.order.tick, one.order.symbol])
        most = max(parts, key=lambda role: (abs(parts[role]), role == "champion"))
        seen.add(most)
        (member,) = [member for member in origin.members if member.role == most]
        assert origin.bundle.hash == member.bundle
        assert "def decide" in origin.cell.source
    assert "champion" in seen
    origin = live.origins.of(orders[0].decision_id)
    assert origin.study == "tilt"
    shares = live.registrar.shares(2)
    by_day = {}
    for one in shares.days:
        by_day[one.day] = by_day.get(one.day, Decimal(0)) + one.equity
    assert by_day == {point.day: point.equity for point in world.journal.equity_curve()[-2:]}


def test_what_several_decided_is_decided_again_by_the_command_line(world):
    world.seat("other", "arm.b", trials=9)
    world.registry.allocate(
        {"champion": "0.6", "arm.b": "0.3"}, by="ada", why="A/B", at=SEATED + timedelta(days=1)
    )
    world.run(START, date(2017, 1, 13))
    words = ["redecide", "--account", LIVE, "--json"]
    done = CliRunner().invoke(app, [*words, "-w", str(world.settings.workspace)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["decisions"], found["differences"]) == (2, [])


def test_live_trading_runs_the_session_again_with_who_took_over(world):
    first = world.registry.active()
    world.seat("tilt", bands=StopBands(max_daily_loss="0.003"), trials=9)
    driver = LiveDriver(
        open_engine=world.engine,
        calendar=XNYS,
        clock=world.clock,
        delay=timedelta(0),
        patience=timedelta(hours=1),
        wait=lambda seconds: False,
    )
    for session in XNYS.sessions(START, date(2017, 3, 31)):
        world.clock.advance(session.close)
        driver.run_due()
        if world.registry.active().action == "rollback":
            break
    newest = world.journal.decisions(limit=1)[0].record
    assert (newest.bundle, newest.tick) == (first.bundle, session.day.isoformat())
    assert world.journal.last_session().day == session.day
