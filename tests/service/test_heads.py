"""What an audit holds against a record: heads of its own database, and whom it is bound to."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.database import open_database
from runtime.registry import Promoted
from service.cli import app
from service.records import anchor, open_registry
from service.settings import read_settings
from tests.fakes.trading import promoted_workspace, traded_workspace

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 11, 20, 14, tzinfo=UTC)


def audited(workspace, url: str = "") -> tuple[int, str]:
    env = {"SLUICE_DATABASE_URL": url} if url else {}
    done = CliRunner().invoke(app, ["audit", "-w", str(workspace)], env=env)
    return done.exit_code, " ".join(done.output.split())


def test_a_workspace_that_moves_to_a_server_holds_no_file_s_heads_against_it(
    postgres_server, tmp_path
):
    here = promoted_workspace(tmp_path)
    assert anchor(here, "registry").path.name == "registry.head"
    with postgres_server.database() as url:
        there = read_settings({"SLUICE_DATABASE_URL": url}, workspace=tmp_path)
        engine = open_database(url)
        seated = Promoted(study="other", bundle="b" * 64, version=7, stage="staging")
        open_registry(there, engine).activate(seated, by="ada", why="moved", at=AT)
        assert audited(tmp_path)[0] == 0, "the file's chain and heads are as they were"
        code, said = audited(tmp_path, url)
        assert (code, "registry 1 entries, 1 heads" in said) == (0, True), said
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM registry")
        engine.dispose()
        code, said = audited(tmp_path, url)
    assert (code, "the log ends at 0" in said) == (1, True), said


def test_a_server_s_database_is_the_same_whoever_logs_in_and_another_one_is_not(tmp_path):
    def head(url: str) -> str:
        settings = read_settings({"SLUICE_DATABASE_URL": url}, workspace=tmp_path)
        return anchor(settings, "journal").path.name

    same = {
        head("postgresql://desk@db.example.org/books"),
        head("postgresql://ada:secret@DB.example.org:5432/books"),
    }
    assert len(same) == 1
    others = ("desk@db.example.org/other", "desk@db.example.org:5433/books", "desk@away/books")
    names = {head(f"postgresql://{one}") for one in others}
    assert len(names | same) == 4


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE journal_modes SET simulated = 0", "money"),
        ("DELETE FROM journal_modes", "nothing"),
    ],
)
def test_an_account_that_traded_on_paper_stays_bound_to_paper(tmp_path, statement, kind):
    settings, _ = traded_workspace(tmp_path / "ws", end=date(2017, 1, 31))
    assert audited(settings.workspace)[0] == 0
    with sqlite3.connect(settings.workspace / "runtime.db") as database:
        database.execute(statement)
    database.close()
    code, said = audited(settings.workspace)
    assert (code, f"to {kind}, and it traded at the paper venues" in said) == (1, True), said


@pytest.mark.parametrize(
    "words",
    [
        ("trade",),
        ("attribution",),
        ("books", "charge", "tax", "1.00", "", "--on", "2017-02-01", "--id", "x"),
    ],
)
def test_over_an_older_copy_of_the_database_nobody_trades_or_books(tmp_path, words):
    """It traded on, and what was written since the copy lay under what was written then."""
    settings, _ = traded_workspace(tmp_path / "ws", end=date(2017, 1, 13))
    (settings.workspace / "workspace.json").write_text("{}")

    def run() -> tuple[int, str]:
        done = CliRunner().invoke(app, [*words, "-w", str(settings.workspace)])
        return done.exit_code, " ".join(done.output.split())

    with sqlite3.connect(settings.workspace / "runtime.db") as database:
        database.execute("DELETE FROM journal WHERE seq > (SELECT MAX(seq) - 1 FROM journal)")
    database.close()
    heads = {path: path.read_bytes() for path in settings.workspace.glob("*.head")}
    code, said = run()
    assert (code, "an older copy of the database" in said) == (1, True), said
    assert heads == {path: path.read_bytes() for path in settings.workspace.glob("*.head")}
    if words != ("trade",):  # which would go on
        (settings.workspace / "journal.head").unlink()  # somebody vouches for what there is
        assert "an older copy" not in run()[1]


def test_whatever_the_page_on_audits_promises_is_shown_by_a_test_that_is_there():
    page = (ROOT / "docs" / "audit.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page)
    assert len(named) >= 10
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"
