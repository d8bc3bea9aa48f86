"""`sluice streams` and `sluice features online`: what a person reads, and how each command ends."""

import json

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from typer.testing import CliRunner

from runtime.clock import WallClock
from runtime.streams import Consumer, Message, open_stream
from service.books.accounts import replay_account
from service.cli import app
from service.flows.outflow import StreamFlows
from tests.fakes.trading import traded_workspace

NAME, GROUP = "signals.tilt", "desk"


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    return traded_workspace(tmp_path_factory.mktemp("streams") / "ws")[0]


@pytest.fixture
def settings(traded):
    for leftover in traded.workspace.glob("streams.db*"):
        leftover.unlink()
    return traded


def sluice(settings, *arguments, status=0):
    done = CliRunner().invoke(
        app, [*map(str, arguments), "-w", str(settings.workspace)], env={"COLUMNS": "140"}
    )
    assert done.exit_code == status, done.output
    return done


def answer(settings, *arguments, status=0):
    return json.loads(sluice(settings, *arguments, "--json", status=status).stdout)


def test_before_anything_was_announced_the_list_says_what_makes_a_stream(settings):
    assert "first decision" in sluice(settings, "streams", "list").stdout
    assert not (settings.workspace / "streams.db").exists()


def test_a_replay_is_announced_once_by_hand_and_its_readers_are_listed(settings):
    lost = sluice(settings, "streams", "publish", "--account", "nobody", status=2).stderr
    assert "no decision of account 'nobody'" in lost
    (bundle,) = {path.name for path in settings.bundles.iterdir() if len(path.name) == 64}
    account = replay_account(bundle)
    assert answer(settings, "streams", "publish", "--account", account)["published"] == 6
    assert answer(settings, "streams", "publish", "--account", account)["published"] == 0
    assert "nobody reads it" in sluice(settings, "streams", "list").stdout
    stream = open_stream(settings.streams_url, NAME)
    stream.subscribe(GROUP)
    stream.read(GROUP, "a", count=2)
    (row,) = answer(settings, "streams", "list")["streams"]
    (group,) = row["groups"]
    assert (row["stream"], group["group"], group["waiting"], group["pending"]) == (
        NAME,
        GROUP,
        4,
        2,
    )
    assert answer(settings, "streams", "trim")["removed"] == {NAME: 0}
    stream.close()


def test_a_poison_message_is_listed_with_its_reason_and_handed_out_again(settings):
    stream = open_stream(settings.streams_url, NAME)
    stream.subscribe(GROUP)
    stream.publish([Message("bad", b"x"), Message("good", b"y")])

    def handler(found):
        if any(each.key == "bad" for each in found):
            raise ValueError("cannot be read")

    Consumer(stream=stream, group=GROUP, name="a", handler=handler, deliveries=1).step()
    (grave,) = answer(settings, "streams", "buried", NAME, GROUP, status=1)["buried"]
    assert (grave["key"], grave["reason"]) == ("bad", "ValueError: cannot be read")
    assert "1 messages" in sluice(settings, "streams", "revive", NAME, GROUP, grave["id"]).stdout
    assert "nothing of desk" in sluice(settings, "streams", "buried", NAME, GROUP).stdout
    assert (
        "none of these" in sluice(settings, "streams", "revive", NAME, GROUP, "9", status=2).stderr
    )
    assert answer(settings, "streams", "trim")["removed"] == {NAME: 2}
    assert [each.key for each in stream.read(GROUP, "a", count=9)] == ["bad"]
    stream.close()


def test_a_stream_or_group_that_is_not_there_is_named(settings):
    assert "there are: none yet" in sluice(settings, "streams", "buried", "x", "y", status=2).stderr
    open_stream(settings.streams_url, NAME).close()
    error = sluice(settings, "streams", "buried", NAME, "nobody", status=1).stderr
    assert "no such group: nobody" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("online",), "nothing is online; fill it with sluice features materialize"),
        (("online", "--at", "noon"), "write 2022-12-28T21:30Z"),
        (("materialize", "--symbol", "A"), "name the features too"),
        (("materialize", "cpi.index", "--window", "cpi.index"), "write FEATURE=BARS"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake_with_its_remedy(settings, arguments, said):
    text = sluice(settings, "features", *arguments, status=2).stderr
    assert said in " ".join(text.split())


def test_the_thresholds_are_a_rule_file_of_prometheus_and_readable():
    done = CliRunner().invoke(app, ["features", "rules", "--json"])
    (group,) = json.loads(done.stdout)["groups"]
    stale = next(rule for rule in group["rules"] if rule["alert"] == "FeatureStale")
    assert stale["expr"] == "sluice_feature_age_of_limit > 1"
    assert "FeatureStale: sluice_feature" in CliRunner().invoke(app, ["features", "rules"]).stdout


def test_a_scrape_tells_that_the_streams_are_away_and_goes_on(tmp_path):
    registry = CollectorRegistry()
    registry.register(StreamFlows("redis://127.0.0.1:1/0", WallClock()))
    assert b"sluice_streams_up 0.0" in generate_latest(registry)
