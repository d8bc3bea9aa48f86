"""Accounts that several bundles trade: replayed, decided again and explained by command."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from runtime.database import open_database
from runtime.joint.identity import JointLog
from runtime.journal.store import Journal
from runtime.registry import Registry
from service.cli import app
from service.settings import Settings
from tests.conftest_market import MarketLake
from tests.fakes.trading import promote_over_lake, promoted_workspace

RANGE = ("--from", "2017-01-03", "--to", "2017-01-31")


@pytest.fixture(scope="module")
def settings(market_lake: MarketLake, tmp_path_factory) -> Settings:
    """A workspace whose registry shares capital between a champion and an arm."""
    made = promoted_workspace(tmp_path_factory.mktemp("several") / "ws")
    promote_over_lake(made, market_lake, version=2)
    promote_over_lake(
        made, market_lake, version=1, study="daily", schedule="daily", role="arm.daily"
    )
    Registry(open_database(made.database_url)).allocate(
        {"champion": "0.6", "arm.daily": "0.3"},
        by="ada",
        why="A/B",
        at=datetime(2017, 2, 2, tzinfo=UTC),
    )
    return made


@pytest.fixture(scope="module")
def replayed(settings) -> dict[str, object]:
    return told(settings, "replay", *RANGE)


def told(settings: Settings, *words: str):
    done = CliRunner().invoke(app, [*words, "-w", str(settings.workspace), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_several_bundles_are_replayed_in_one_account_of_their_own(settings, replayed):
    assert (replayed["study"], replayed["sessions"], replayed["breaks"]) == ("daily+tilt", 20, 0)
    assert replayed["decisions"] == 20  # the arm decides daily
    assert replayed["fills"] > 20
    assert str(replayed["account"]).startswith("replay-")
    again = told(settings, "replay", *RANGE)
    assert (again["ran"], again["journal_head"]) == (0, replayed["journal_head"])
    joints = JointLog(open_database(settings.database_url))
    journal = Journal(joints._log.engine, str(replayed["account"]))
    assert {one.record.bundle for one in journal.decisions()} == {replayed["bundle"]}
    joint = joints.find(str(replayed["bundle"]))
    assert joint is not None
    assert [seat.role for seat in joint.seats] == ["arm.daily", "champion"]


def test_what_they_decided_is_reached_again_whole(settings, replayed):
    found = told(settings, "redecide", "--account", str(replayed["account"]))
    assert (found["decisions"], found["whole"], found["differences"]) == (20, 20, [])


def test_a_decision_of_several_is_explained_by_each_one_s_inputs(settings, replayed):
    journal = Journal(open_database(settings.database_url), str(replayed["account"]))
    ids = {one.record.tick: one.record.decision_id for one in journal.decisions()}
    friday = told(settings, "explain", ids["2017-01-20"])
    assert friday["inputs"] == []
    assert [one["role"] for one in friday["members"]] == ["arm.daily", "champion"]
    for member in friday["members"]:
        assert {one["input"] for one in member["inputs"]} == {"prices", "current"}
        assert member["inputs"][0]["moved"] > 0
    shares = [one["share"] for one in friday["members"]]
    assert sum(shares) == pytest.approx(0.9, abs=0.02)
    thursday = told(settings, "explain", ids["2017-01-19"])
    assert thursday["members"][1]["share"] is None  # the champion decides on Fridays
    shown = CliRunner().invoke(app, ["explain", ids["2017-01-19"], "-w", str(settings.workspace)])
    words = " ".join(shown.stdout.split())
    assert "champion tilt" in words
    assert "decided nothing at this tick" in words
