"""`sluice policy` and `sluice kill` as an operator types them, and SIGHUP to a running service."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.clock import ReplayClock, WallClock
from runtime.policies.policy import policy_text
from service.cli import app
from service.operator.alarms import Records, open_watch
from service.operator.policies import open_policies
from service.settings import read_settings
from tests.runtime.test_kill import order
from tests.servers import free_port
from tests.service.test_light import served

DEFAULT = policy_text(None)
LOOSE = DEFAULT.replace("max_drawdown = 0.50", "max_drawdown = 0.60")
TIGHT = DEFAULT.replace("max_drawdown = 0.50", "max_drawdown = 0.30")


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "ws"
    folder.mkdir()
    (folder / "workspace.json").write_text("{}")
    (tmp_path / "policy.toml").write_text(DEFAULT)
    return folder


@pytest.fixture
def sluice(workspace, tmp_path):
    def run(*arguments: object, status: int = 0):
        environ = {"SLUICE_POLICY": str(tmp_path / "policy.toml"), "COLUMNS": "200"}
        words = [*map(str, arguments), "-w", str(workspace)]
        done = CliRunner().invoke(app, words, env=environ)
        assert done.exit_code == status, done.output
        return done.output

    return run


def test_a_dry_run_names_each_limit_and_ends_with_1_if_one_lets_more_through(sluice, tmp_path):
    new = tmp_path / "new.toml"
    new.write_text(LOOSE)
    said = sluice("policy", "diff", new, status=1)
    assert "looser  loss.max_drawdown: 0.50 -> 0.60" in said
    new.write_text(TIGHT)
    found = json.loads(sluice("policy", "diff", new, "--json"))
    assert [one["effect"] for one in found["changes"]] == ["tighter"]
    new.write_text(DEFAULT)
    assert "no limit differs" in sluice("policy", "diff", new)
    new.write_text("name = ")
    assert f"{new}: Invalid" in "".join(sluice("policy", "diff", new, status=2).splitlines())


def test_the_policy_is_shown_reloaded_and_rolled_back(sluice, tmp_path):
    assert "Policy 1" in sluice("policy", "show")
    assert "max_drawdown = 0.50" in sluice("policy", "show", "--text")
    (tmp_path / "policy.toml").write_text(TIGHT)
    assert "Policy 2" in sluice("policy", "reload", "--by", "ada", "--why", "review")
    said = sluice("policy", "rollback", 1, "--by", "ben", "--why", "too tight")
    assert "Policy 3" in said
    assert "rollback, by ben: too tight" in said
    said = sluice("policy", "reload", "--by", "ada", "--why", "again", status=1)
    assert "rolled back" in " ".join(said.split())
    history = json.loads(sluice("policy", "show", "--json"))["history"]
    assert [one["number"] for one in history] == [3, 2, 1]


def test_who_reviewed_the_limits_is_on_record_and_warned_of_once_a_year_is_over(sluice, workspace):
    clock = ReplayClock(datetime(2025, 1, 1, tzinfo=UTC))
    settings = read_settings({}, workspace=workspace)
    open_policies(settings, clock=clock).begin()  # and nobody looked since
    said = " ".join(sluice("policy", "show").split())
    assert "since 2026-01-01 that is overdue, it was done never" in said
    (finding,) = Records(settings).unreviewed(WallClock().now())
    assert (finding.key, finding.severity) == ("policy.review", "ticket")
    assert "sluice policy review" in finding.detail
    names = {one.name for one in open_watch(settings, WallClock(), expected=()).conditions}
    assert finding.key.partition(".")[0] in names, "the watch looks"
    who = ("--by", "ada", "--why", "yearly; nothing to change")
    assert "policy 2 is not in force, 1 is" in sluice("policy", "review", 2, *who, status=1)
    said = " ".join(sluice("policy", "review", 1, *who).split())
    assert "by ada: yearly; nothing to change; next by" in said
    assert "overdue" not in said
    assert list(Records(settings).unreviewed(WallClock().now())) == []
    review = json.loads(sluice("policy", "show", "--json"))["review"]
    assert (review["number"], review["by"], review["overdue"]) == (1, "ada", "")


def test_a_folder_that_is_no_workspace_is_refused_and_left_as_it_was(sluice, workspace):
    (workspace / "workspace.json").unlink()
    assert "is not a workspace" in " ".join(sluice("policy", "show", status=2).split())
    assert not list(workspace.iterdir())


def test_an_override_is_asked_approved_and_revoked(sluice):
    asked = ("--minutes", 30, "--by", "ada", "--why", "month end", "--json")
    one = json.loads(sluice("policy", "override", "loss.max_drawdown", "0.6", *asked))
    assert "second person" in sluice("policy", "approve", one["id"], "--by", "ada", status=1)
    assert "in force" in sluice("policy", "approve", one["id"], "--by", "ben")
    assert "approved by ben" in sluice("policy", "show")
    assert "revoked by cyd" in sluice("policy", "revoke", one["id"], "--by", "cyd")


def test_the_kill_switch_is_turned_by_hand_without_any_database(sluice, workspace):
    folder = workspace / "venues" / "live"
    folder.mkdir(parents=True)
    venue = PaperVenue(folder / "primary.db", PRIMARY)
    venue.submit(order(1))
    assert "nothing is stopped" in sluice("kill", "show")
    assert "1 cancelled" in sluice("kill", "on", "--by", "ada", "--reason", "drill")
    assert venue.working() == ()
    venue.close()
    assert "all is stopped: drill, by ada" in sluice("kill", "show", status=1)
    alone = ("kill", "off", "all", "--by", "ada", "--second", "ada", "--reason", "ok")
    assert "second person" in sluice(*alone, status=1)
    both = ("kill", "off", "all", "--by", "ada", "--second", "ben", "--reason", "ok")
    assert "nothing is stopped" in sluice(*both)
    assert not (workspace / "runtime.db").exists()


def test_a_running_service_reads_the_policy_again_on_sighup(workspace, tmp_path, monkeypatch):
    file = tmp_path / "policy.toml"
    monkeypatch.setenv("SLUICE_POLICY", str(file))
    (workspace / "workspace.json").write_text("{}")  # what a folder is recognised by
    with served(workspace, free_port()) as child:
        settings = read_settings(os.environ, workspace=workspace)
        assert "The desk is at" in child.stdout.readline()
        log = open_policies(settings).log
        file.write_text(TIGHT)
        deadline = time.monotonic() + 60
        child.send_signal(signal.SIGHUP)
        while time.monotonic() < deadline and len(log.history()) < 2:
            time.sleep(0.05)
        assert [one.by for one in log.history()] == ["start", "SIGHUP"]
        assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
