"""Halts that are told reach desk and venues, stay on until a resume, and are decided on again."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest
from typer.testing import CliRunner

from featurestore.calendars import load_calendar
from runtime.chain import Head, HeadAnchor
from runtime.clock import ReplayClock
from runtime.domain import Bar, Order, OrderType, Side, TimeInForce
from runtime.engine import Engine, fund
from runtime.errors import DatabaseUnavailable, FeedInvalid
from runtime.journal.redecide import redecide
from runtime.market.recorded import HaltMessage
from runtime.replay import CAPITAL
from service.cli import app
from service.settings import read_settings
from service.trading.engines import active_bundle, open_desk
from service.trading.halts import halted_of, told_halts
from tests.fakes.trading import promoted_workspace, walk_reader

FAR = timedelta(days=9_000)  # to when these tests are run: commands tell by the wall clock
SESSIONS = load_calendar("XNYS").sessions(date(2017, 1, 6), date(2017, 1, 13))


def test_a_told_halt_blocks_new_orders_stops_fills_and_ends_by_a_resume_alone(tmp_path):
    settings = promoted_workspace(tmp_path, schedule="daily")
    reader, bundle = walk_reader(date(2017, 1, 3), date(2017, 3, 1)), active_bundle(settings)
    clock = ReplayClock(SESSIONS[0].open)
    halts = told_halts(settings)

    def run(number: int):
        clock.advance(SESSIONS[number].close)
        desk = open_desk(settings, bundle, reader, account="live", clock=clock)
        if number == 0:
            fund(desk.journal, CAPITAL, clock.now())
        return desk, Engine(desk).run_session(SESSIONS[number])

    def denied(outcome) -> dict[str, str]:
        return {
            line.order.symbol: " ".join(one.reason for one in line.verdicts if not one.passed)
            for line in outcome.decision.plan
            if line.denied
        }

    desk, first = run(0)
    waiting = {one.order.symbol for one in desk.journal.open_orders()}
    assert denied(first) == {}
    assert {"ADA", "BELL"} < waiting

    news = HaltMessage(symbol="ADA", at=SESSIONS[1].open, code="T1")
    halts.tell(news, by="ada", reason="news pending")
    halts.tell(
        HaltMessage(symbol="BELL", at=SESSIONS[1].close + timedelta(hours=1), code="T1"),
        by="ada",
        reason="not yet at the close",
    )
    desk, second = run(1)
    filled = {one.fill.symbol for one in desk.journal.fills()}
    assert filled == waiting - {"ADA"}, "no venue fills inside a halt"
    assert all("code T1" in why for name, why in denied(second).items() if name == "ADA")
    assert set(denied(second)) <= {"ADA"}
    words = ["why", second.decision.decision_id, "-w", str(tmp_path)]
    asked = " ".join(CliRunner().invoke(app, words, env={"COLUMNS": "200"}).output.split())
    assert set(denied(second)) == {"ADA"}
    assert "refused 2 market: " in asked
    assert "code T1" in asked
    desk, third = run(2)
    assert set(denied(third)) == {"ADA", "BELL"} & {one.order.symbol for one in third.decision.plan}
    for symbol in ("ADA", "BELL"):
        over = HaltMessage(symbol=symbol, at=SESSIONS[3].open, resumes=True)
        halts.tell(over, by="ada", reason="reopened")
    desk, fourth = run(3)
    assert denied(fourth) == {}
    assert "ADA" in {one.order.symbol for one in fourth.decision.plan}
    found = redecide(desk.journal, lambda _: bundle)
    assert (found.whole, found.differences) == (4, ())

    whole = halts.path.read_bytes()
    halts.path.write_bytes(whole + b"{}\n")
    with pytest.raises(FeedInvalid, match="line 5 is no message of a halt"):
        run(4)
    halts.path.write_bytes(whole)
    _, fifth = run(4)
    assert fifth.refusal is None
    assert fifth.fills > 0, "what waited is executed by then"


def test_halts_are_told_listed_and_resumed_by_command_and_bad_lines_stop_the_desk(tmp_path):
    def sluice(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, ["halts", *words, "-w", str(tmp_path)])
        assert done.exit_code == status, done.output
        return " ".join((done.stdout + done.stderr).split())

    who = ("--by", "ada", "--reason", "as published")
    assert sluice("list") == "nothing is halted"
    assert sluice("tell", "XYZ", "T1", *who) == "XYZ is halted, code T1"
    assert "NEW is halted, code ZZ9" in sluice("tell", "NEW", "ZZ9", *who)
    assert json.loads(sluice("list", "--json", status=1)) == {
        "XYZ": "halted, code T1",
        "NEW": "halted, code ZZ9",
    }
    assert "NEW" in sluice("resume", "XYZ", *who)
    assert sluice("resume", "NEW", *who) == "nothing is halted"
    assert "name one to resume" in sluice("resume", "*", *who, status=1)
    path = tmp_path / "halts.jsonl"
    assert [json.loads(line)["by"] for line in path.read_text().splitlines()] == ["ada"] * 4
    path.write_text(path.read_text() + "{}\n")
    assert "line 5 is no message of a halt" in sluice("list", status=1)


def test_a_halt_of_what_no_bundle_trades_is_kept_and_said_to_be_in_doubt(tmp_path):
    settings = promoted_workspace(tmp_path)

    def tell(symbol: str) -> str:
        asked = ["halts", "tell", symbol, "T1", "--by", "ada", "--reason", "news", "-w"]
        done = CliRunner().invoke(app, [*asked, str(settings.workspace)])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    assert tell("ADA") == "ADA is halted, code T1"
    assert "no bundle here trades ada; did you mean ADA?" in tell("ada")
    assert tell("XYZ").endswith("no bundle here trades XYZ")
    assert "no bundle" not in tell("*")


def test_a_halt_needs_a_name_and_a_reason(tmp_path):
    settings = read_settings({}, workspace=tmp_path)
    message = HaltMessage(symbol="ADA", at=SESSIONS[0].open, code="T1")
    with pytest.raises(FeedInvalid, match="needs a name and a reason"):
        told_halts(settings).tell(message, by=" ", reason="x")


def audited(workspace) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", "-w", str(workspace)])
    return done.exit_code, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("again", [False, True], ids=["one desk", "the next desk"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, whole: path.unlink(), "ends at line 0, but line 2 was told; put the file"),
        (lambda path, whole: path.write_bytes(b""), "it ends at line 0, but line 2 was told"),
        (lambda path, whole: path.write_bytes(whole.splitlines()[0]), "it ends at line 1, but"),
        (
            lambda path, whole: path.write_bytes(whole.replace(b"ADA", b"AXA")),
            "line 1, or one before it, is not as it was told",
        ),
    ],
    ids=["gone", "emptied", "cut off", "changed"],
)
def test_halts_that_were_told_and_are_gone_stop_every_desk_until_the_file_is_back(
    tmp_path, damage, message, again
):
    settings = read_settings({}, workspace=tmp_path)
    halts, at = told_halts(settings), SESSIONS[0].open
    assert halts.messages() == ()
    for symbol in ("ADA", "BELL"):
        halts.tell(HaltMessage(symbol=symbol, at=at, code="T1"), by="ada", reason="news")
    whole = halts.path.read_bytes()
    damage(halts.path, whole)
    desk = halted_of(settings, lambda: ["ADA"]) if again else lambda at: halts.halted(["ADA"], at)
    with pytest.raises(FeedInvalid, match=message):
        desk(at)
    with pytest.raises(FeedInvalid, match="tell again, at once, all that is halted"):
        told_halts(settings).tell(HaltMessage(symbol="X", at=at, code="T1"), by="a", reason="b")
    status, said = audited(tmp_path)
    assert status == 1
    assert message.split(";")[0] in said
    halts.path.write_bytes(whole)
    assert set(desk(at)) == {"ADA"}
    assert audited(tmp_path)[0] == 0


def test_lines_of_which_no_head_is_left_are_refused_until_somebody_vouches_for_them(tmp_path):
    settings = read_settings({}, workspace=tmp_path)
    halts, at = told_halts(settings), SESSIONS[0].open
    halts.tell(HaltMessage(symbol="ADA", at=at, code="T1"), by="ada", reason="news")
    halts.anchor.path.unlink()
    with pytest.raises(FeedInvalid, match=r"halts\.head remembers no head of them"):
        told_halts(settings).messages()
    status, said = audited(tmp_path)
    assert status == 1
    assert "so a cut-off end would not be noticed" in said
    CliRunner().invoke(app, ["audit", "--remember", "-w", str(tmp_path)])
    assert audited(tmp_path)[0] == 0
    assert set(told_halts(settings).halted(["ADA"], at)) == {"ADA"}


def test_a_first_halt_that_was_told_while_the_disk_filled_up_counts(tmp_path, monkeypatch):
    settings = read_settings({}, workspace=tmp_path)
    halts, at = told_halts(settings), SESSIONS[0].open
    write = HeadAnchor.record

    def full(anchor: HeadAnchor, head: Head) -> None:
        if head.seq:
            raise DatabaseUnavailable(f"{anchor.path}: cannot remember the head")
        write(anchor, head)

    with monkeypatch.context() as patched:
        patched.setattr(HeadAnchor, "record", full)
        with pytest.raises(DatabaseUnavailable):
            halts.tell(HaltMessage(symbol="ADA", at=at, code="T1"), by="ada", reason="news")
    assert set(told_halts(settings).halted(["ADA", "BELL"], at)) == {"ADA"}
    assert [head.seq for head in halts.anchor.heads()] == [0, 1]


@pytest.mark.parametrize("which", ["jsonl", "head"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_halt_that_a_full_disk_does_not_take_is_not_told_and_leaves_nothing(
    tmp_path, monkeypatch, which, begun
):
    """A part of a line would stop the desk, and its teller was shown how our code looks inside."""
    settings = read_settings({}, workspace=tmp_path)
    halts, at, write, folder = told_halts(settings), SESSIONS[0].open, os.write, os.readlink
    if begun:
        halts.tell(HaltMessage(symbol="BELL", at=at, code="T1"), by="ada", reason="news")
    before = halts.path.read_bytes() if begun else None

    def full(descriptor: int, data: bytes) -> int:
        if folder(f"/proc/self/fd/{descriptor}").endswith(f"halts.{which}"):
            return write(descriptor, bytes(data[:7]))
        return write(descriptor, data)

    words = ["halts", "tell", "ADA", "T1", "--by", "ada", "--reason", "x", "-w", str(tmp_path)]
    (tmp_path / "workspace.json").write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        done = CliRunner().invoke(app, words)
    if begun and which == "head":  # it is told, and remembered as soon as there is room
        assert (done.exit_code, "what was written stands" in done.output) == (2, True)
        assert set(told_halts(settings).halted(["ADA", "BELL"], at + FAR)) == {"ADA", "BELL"}
        return
    assert (done.exit_code, "NOT told" in done.output) == (1, True), done.output
    assert "sluice kill on symbol.ADA" in done.output
    assert (halts.path.read_bytes() if halts.path.exists() else b"") == (before or b"")
    assert set(told_halts(settings).halted(["ADA", "BELL"], at)) == ({"BELL"} if begun else set())
    assert CliRunner().invoke(app, words).exit_code == 0, "with room again it is told"


def test_a_halt_is_said_not_to_be_told_if_what_a_feed_told_before_cannot_be_remembered(
    tmp_path, monkeypatch
):
    halts, at = told_halts(read_settings({}, workspace=tmp_path)), SESSIONS[0].open
    bell, ada = (HaltMessage(symbol=name, at=at, code="T1") for name in ("BELL", "ADA"))
    halts.tell(bell, by="ada", reason="news")
    fed = halts.path.read_bytes() * 2
    halts.path.write_bytes(fed)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(HeadAnchor, "_append", full)
        with pytest.raises(FeedInvalid, match=r"NOT told, .*No space left on device"):
            halts.tell(ada, by="ada", reason="news")
    assert halts.path.read_bytes() == fed
    halts.tell(ada, by="ada", reason="news")
    assert set(halts.halted(["ADA", "BELL"], at)) == {"ADA", "BELL"}


def test_a_line_that_a_reader_of_a_feed_appended_is_remembered_once_a_desk_has_read_it(tmp_path):
    settings = read_settings({}, workspace=tmp_path)
    halts, at = told_halts(settings), SESSIONS[0].open
    halts.tell(HaltMessage(symbol="ADA", at=at, code="T1"), by="ada", reason="news")
    whole = halts.path.read_bytes()
    line = {"symbol": "BELL", "at": at.isoformat(), "code": "T12"}
    halts.path.write_bytes(whole + json.dumps(line).encode() + b"\n")
    assert set(told_halts(settings).halted(["ADA", "BELL"], at)) == {"ADA", "BELL"}
    halts.path.write_bytes(whole)
    with pytest.raises(FeedInvalid, match="it ends at line 1, but line 2 was told"):
        told_halts(settings).messages()


def test_a_halt_is_told_on_a_line_of_its_own_even_if_the_last_one_was_left_open(tmp_path):
    halts, at = told_halts(read_settings({}, workspace=tmp_path)), SESSIONS[0].open
    halts.tell(HaltMessage(symbol="ADA", at=at, code="T1"), by="ada", reason="news")
    halts.path.write_bytes(halts.path.read_bytes().rstrip())  # as some editors leave it
    halts.tell(HaltMessage(symbol="BELL", at=at, code="T1"), by="ada", reason="news")
    assert [one.symbol for one in halts.messages()] == ["ADA", "BELL"]


def test_what_is_held_beside_the_universe_is_not_sold_inside_a_halt_either(tmp_path):
    settings = promoted_workspace(tmp_path, schedule="daily")
    reader, bundle = walk_reader(date(2017, 1, 3), date(2017, 3, 1)), active_bundle(settings)
    clock = ReplayClock(SESSIONS[0].close)

    def opened(bundle=bundle):
        return open_desk(settings, bundle, reader, account="live", clock=clock)

    fund(opened().journal, CAPITAL, clock.now())
    for session in SESSIONS[:2]:
        clock.advance(session.close)
        desk = opened()
        Engine(desk).run_session(session)
    held, at = desk.journal.book().quantities(), SESSIONS[2].close
    assert held["ADA"] > 0
    fewer = msgspec.structs.replace(bundle.manifest, symbols=bundle.manifest.symbols[1:])
    over = HaltMessage(symbol="*", at=SESSIONS[2].open, code="MWC3")
    told_halts(settings).tell(over, by="ada", reason="news")
    venue = opened(replace(bundle, manifest=fewer)).brokers[0]
    sale = Order(
        order_id="sale",
        bundle=bundle.hash,
        tick="t",
        symbol="ADA",
        leg=0,
        venue=venue.name,
        side=Side.SELL,
        quantity=Decimal(1),
        order_type=OrderType.LIMIT,
        limit_price=Decimal(1),
        time_in_force=TimeInForce.GTC,
        created_at=clock.now(),
    )
    venue.submit(sale)
    close = Bar(symbol="ADA", close=Decimal(100), event_time=at, known_at=at)
    last = max((number for number, _ in venue.executions(0)), default=0)
    venue.on_bars([close], at)
    assert venue.executions(last) == []
    reopened = HaltMessage(symbol="ADA", at=SESSIONS[3].open, resumes=True)
    told_halts(settings).tell(reopened, by="ada", reason="reopened")
    again = replace(close, event_time=SESSIONS[3].close, known_at=SESSIONS[3].close)
    venue.on_bars([again], SESSIONS[3].close)
    assert {fill.symbol for _, fill in venue.executions(last)} == {"ADA"}
