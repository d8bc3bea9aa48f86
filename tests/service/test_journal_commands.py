"""The journal's commands: breaks, books, attribution, decay, decisions, exports, proof."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from featurestore.calendars import load_calendar
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from runtime.chain import HeadAnchor
from runtime.database import open_database
from runtime.journal.breaks import Breaks
from runtime.journal.reconcile import Break, BreakClass
from runtime.journal.store import Journal
from service.commands.journal import app
from tests.fakes.trading import traded_workspace
from tests.featurestore.test_actions import ACTIONS

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return traded_workspace(tmp_path_factory.mktemp("journal") / "ws", end=date(2017, 3, 31))[
        0
    ].workspace


@pytest.fixture(scope="module")
def journal(workspace):
    engine = open_database(f"sqlite:///{workspace / 'runtime.db'}")
    account = next(one for one in Journal(engine).accounts() if one.startswith("replay"))
    yield Journal(engine, account)
    engine.dispose()


def sluice(workspace: Path, account: str, *words: object):
    plain = [*map(str, words), "--workspace", str(workspace), "--account", account]
    return RUNNER.invoke(app, plain)


@pytest.fixture
def ask(workspace, journal):
    """Ask for JSON and return it; the command must end with 0."""

    def asked(*words: object):
        done = sluice(workspace, journal.account, *words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return asked


def test_attribution_sums_to_the_change_in_equity(ask, journal):
    told = ask("attribution")
    last = journal.last_session()
    assert Decimal(told["profit"]) == sum(map(Decimal, told["parts"].values()))
    assert Decimal(told["profit"]) == last.equity.quantize(Decimal("0.01")) - 1_000_000
    for one in told["sessions"]:
        assert Decimal(one["profit"]) == sum(map(Decimal, one["parts"].values()))
    assert Decimal(told["parts"]["fees"]) < 0
    assert Decimal(told["parts"]["spread"]) < 0
    month = ask("attribution", "--from", "2017-03-01", "--to", "2017-03-31")
    assert month["sessions"] == [one for one in told["sessions"] if one["day"] >= "2017-03"]


def test_decay_has_a_point_per_delay(ask):
    points = ask("decay", "--delays", 3, "--horizon", 2)
    assert [one["delay"] for one in points] == [0, 1, 2, 3]
    assert points[0]["decisions"] >= points[-1]["decisions"] > 0


def test_decisions_are_found_and_paged(ask, journal):
    page = ask("decisions", "--limit", 2)
    assert [one["tick"] for one in page["items"]] == ["2017-03-31", "2017-02-28"]
    older = ask("decisions", "--limit", 2, "--before", page["next"])
    assert [one["tick"] for one in older["items"]] == ["2017-01-31"]
    symbol = journal.orders()[0].order.symbol
    assert ask("decisions", "--symbol", symbol, "--verdict", "ordered")["items"]
    assert ask("decisions", "--symbol", "nothing")["items"] == []


def test_an_export_names_the_head_it_was_proved_against(ask, journal, tmp_path):
    told = ask("export", "fills", "--out", tmp_path / "fills.parquet")
    assert told["rows"] == pl.read_parquet(told["path"]).height == len(journal.fills())
    assert told["head"].split()[1] == journal.head().hash


def test_every_decision_is_reached_again_to_the_byte(ask, journal):
    told = ask("redecide", "--evaluations", 200, "--threads", 2)
    assert told["decisions"] == len(journal.decisions())
    assert (told["evaluations"], told["differences"]) == (200, [])


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('"plan":[', '"plan":0,"x":[', "cannot be read"),
        ('"signals":[', '"signals":0,"x":[', "signals"),
        ("{", "", "cannot be read"),
    ],
)
def test_what_a_forger_left_unreadable_is_told_in_a_sentence(
    tmp_path, workspace, journal, place, was, now, said
):
    forged = tmp_path / "forged"
    forged.mkdir()
    for name in ("bundles", "keys"):
        (forged / name).symlink_to(workspace / name)
    with (
        closing(sqlite3.connect(workspace / "runtime.db")) as source,
        closing(sqlite3.connect(forged / "runtime.db")) as copy,
    ):
        source.backup(copy)
        seq = journal.decisions(limit=100)[::-1][place].seq
        ((payload,),) = copy.execute("SELECT payload FROM journal WHERE seq = ?", (seq,))
        changed = payload.replace(was.encode(), now.encode(), 1)
        assert changed != payload
        copy.execute("UPDATE journal SET payload = ? WHERE seq = ?", (changed, seq))
        copy.commit()
    done = sluice(forged, journal.account, "redecide", "--evaluations", 50)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert said in done.output


def test_a_break_is_listed_until_somebody_resolves_it(workspace, journal):
    found = Break(
        kind=BreakClass.CASH,
        venue="primary",
        day=date(2017, 3, 31),
        symbol="",
        execution_id="",
        ours="1.00",
        theirs="6.00",
        amount=Decimal("5.00"),
    )
    closed = journal.last_session().closed_at
    Breaks(journal).settle((found,), (found.day,), closed, {})
    listed = sluice(workspace, journal.account, "breaks", "list", "--json")
    assert listed.exit_code == 1
    (one,) = json.loads(listed.stdout)
    assert (one["kind"], one["amount"], one["by"]) == ("cash", "5.00", "")
    assert one["age_days"] > 0
    name = one["break_id"][:8]
    words = ("breaks", "resolve", name, "--by", "ada", "--reason", "interest of March")
    assert sluice(workspace, journal.account, *words).exit_code == 0
    assert sluice(workspace, journal.account, *words).exit_code == 1
    assert sluice(workspace, journal.account, "breaks", "list").exit_code == 0
    shown = sluice(workspace, journal.account, "breaks", "list", "--all", "--json")
    assert json.loads(shown.stdout)[0]["by"] == "ada"
    journal.verify()


def test_actions_and_corrections_are_booked_by_name(ask, workspace, journal):
    symbol, before = next(iter(journal.book().positions())), journal.book()
    units = before.position(symbol)
    told = ask("books", "split", symbol, "2:1", "--on", "2017-04-03", "--id", "s1")
    assert (told["fresh"], Decimal(told["quantity"])) == (True, 2 * units)
    assert Decimal(told["basis"]) == before.positions()[symbol].basis
    again = ask("books", "split", symbol, "2:1", "--on", "2017-04-03", "--id", "s1")
    assert again["fresh"] is False
    paid = ask("books", "dividend", symbol, "0.25", "--on", "2017-04-04", "--id", "d1")
    assert Decimal(paid["cash"]) == before.cash + units / 2
    back = ("books", "reverse", "d1", "--by", "ada", "--reason", "called off")
    assert Decimal(ask(*back)["cash"]) == before.cash
    assert ask(*back)["fresh"] is False
    ask("books", "charge", "borrow", "3.17", symbol, "--on", "2017-04-05", "--id", "b1")
    last = journal.fills(limit=1)[0].fill
    words = ("--by", "ada", "--reason", "off market", "--replaced-by", " new ", "--price", "9.99")
    done = ask("books", "bust", last.venue, last.execution_id, *words)
    assert done["fresh"] is True
    right = journal.fills(limit=1)[0].fill
    assert (right.price, right.execution_id) == (Decimal("9.99"), "new")
    journal.verify()


def test_the_lake_s_actions_are_booked_once(ask, workspace, journal):
    symbol = journal.orders()[0].order.symbol
    store = FeatureStore(Lake(str(workspace / "lake")))
    store.apply(ACTIONS)
    opening = load_calendar("XNYS").session(date(2017, 2, 15)).open
    row = {"entity": symbol, "event_time": opening, "known_at": opening, "revision": 0}
    store.ingest("actions", pl.DataFrame([row | {"split": 1.0, "dividend": 0.5}]))
    before = journal.book()
    told = ask("books", "lake", "actions", "--from", "2017-02-01")
    assert [name.split("/")[1] for name in told["booked"]] == [symbol]
    assert journal.book().dividends > before.dividends
    assert ask("books", "lake", "actions")["booked"] == []
    assert sluice(workspace, journal.account, "books", "lake", "prices").exit_code == 2
    journal.verify()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("books", "split", "AAA", "two", "--on", "2017-04-03", "--id", "x"), 2),
        (("books", "split", "AAA", "2:1", "--on", "2017-04-02", "--id", "x"), 2),  # a Sunday
        (("books", "dividend", "AAA", "much", "--on", "2017-04-03", "--id", "x"), 2),
        (("books", "charge", "bribe", "1.00", "AAA", "--on", "2017-04-03", "--id", "x"), 2),
        (("books", "charge", "tax", "1.001", "AAA", "--on", "2017-04-03", "--id", "x"), 1),
        (("books", "bust", "primary", "none", "--by", "ada", "--reason", "x"), 2),
        (("books", "reverse", "none", "--by", "ada", "--reason", "x"), 1),
        (("attribution", "--from", "soon"), 2),
        (("attribution", "--from", "2030-01-01"), 2),
        (("redecide", "--from", "2030-01-01"), 2),  # nothing is proved by that
        (("decay", "--horizon", "100000"), 2),
        (("decisions", "--from", "2017-02-01", "--to", "2017-01-31"), 2),
        (("export", "fills", "--out", "x", "--from", "2017-02-01", "--to", "2017-01-31"), 2),
        (("export", "secrets", "--out", "x.parquet"), 1),
        (("breaks", "resolve", "ffff", "--by", "ada", "--reason", "x"), 1),
    ],
)
def test_a_mistake_is_one_sentence(workspace, journal, words, status):
    head = journal.head()
    done = sluice(workspace, journal.account, *words)
    assert done.exit_code == status, done.output
    assert len(done.stderr.strip().splitlines()) == 1
    assert journal.head() == head


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dividend", "{held}", "NaN", "--on", "2017-04-03", "--id", "x"), "is not an amount"),
        (("dividend", "{held}", "Infinity", "--on", "2017-04-03", "--id", "x"), "is not an amount"),
        (("dividend", "{held}", "0.24", "--on", "2017-04-03", "--id", " "), "a name of its own"),
        (("dividend", " ", "0.24", "--on", "2017-04-03", "--id", "x"), "needs a symbol"),
        (("dividend", "NONE", "0.24", "--on", "2017-04-03", "--id", "x"), "never traded 'NONE'"),
        (("split", "{held}", "2:1", "--on", "2030-12-30", "--id", "x"), "has not yet"),
        (("charge", "tax", "0.00", "", "--on", "2017-04-03", "--id", "x"), "charge of nothing"),
        (("bust", "{venue}", "{execution}", "--quantity", "5"), "--replaced-by"),
        (("bust", "{venue}", "{execution}", "--replaced-by", "n", "--price", "NaN"), "an amount"),
        (("bust", "{venue}", "{execution}", "--replaced-by", "n", "--fee", "sNaN"), "an amount"),
    ],
)
def test_what_cannot_be_meant_is_not_booked(workspace, journal, words, said):
    """An entry is never taken out again: a bust for a wrong quantity would stand for ever."""
    last, head = journal.fills(limit=1)[0].fill, journal.head()
    named = {"held": last.symbol, "venue": last.venue, "execution": last.execution_id}
    signed = ("--by", "ada", "--reason", "why") if words[0] == "bust" else ()
    plain = [word.format(**named) for word in words]
    done = sluice(workspace, journal.account, "books", *plain, *signed)
    assert (done.exit_code, journal.head()) == (2, head), done.output
    assert said in " ".join(done.stderr.split())


def test_no_account_is_made_by_a_slip_of_the_pen(workspace, journal):
    symbol, head = journal.fills(limit=1)[0].fill.symbol, journal.head()
    words = ("books", "charge", "tax", "1.00", symbol, "--on", "2017-04-03", "--id", "x")
    done = sluice(workspace, "liev", *words)
    assert (done.exit_code, journal.head()) == (2, head)
    assert f"live, {journal.account}" in " ".join(done.stderr.split())


def test_what_a_person_booked_is_remembered_outside_at_once(ask, workspace, journal):
    ask("books", "charge", "tax", "1.00", "", "--on", "2017-04-06", "--id", "kept")
    heads = HeadAnchor(workspace / "journal.head").heads()
    assert heads[-1] == journal.head(), "cut off, it would be missed"
