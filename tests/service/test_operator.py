"""What an operator may do over REST: stop and release trading, reload and override the policy."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import msgspec
import pytest
from litestar.testing import TestClient

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.errors import DatabaseUnavailable
from runtime.kill.switch import KillSwitch
from runtime.policies.policy import policy_text
from service.app import create_app
from service.operator.control import (
    DiffAnswer,
    EngagedAnswer,
    KillAnswer,
    OverrideAnswer,
    PolicyAnswer,
)
from service.operator.policies import open_policies
from service.settings import SettingsInvalid, read_settings
from service.trading.proof import prove_here
from service.web.answers import Problem
from service.web.hangup import reload_policy
from service.wiring import open_live
from tests.runtime.test_kill import order

TOKEN = "correct horse battery staple"
DEFAULT = policy_text(None)
TIGHT = DEFAULT.replace("max_drawdown = 0.50", "max_drawdown = 0.30")
SHOWN = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(DEFAULT)
    return path


@pytest.fixture
def settings(tmp_path, file):
    environ = {"SLUICE_OPERATOR_TOKEN": TOKEN, "SLUICE_POLICY": str(file)}
    return read_settings(environ, workspace=tmp_path / "ws")


@pytest.fixture
def live(settings):
    return open_live(settings, monotonic=time.monotonic, prove=prove_here)


@pytest.fixture
def client(live):
    with TestClient(create_app(live)) as found:
        yield found


def post(client, path, kind, status=200, **body):
    reply = client.post(path, json=body, headers=SHOWN)
    assert reply.status_code == status, reply.text
    return msgspec.json.decode(reply.content, type=kind)


def get(client, path, kind):
    reply = client.get(path)
    assert reply.status_code == 200, reply.text
    return msgspec.json.decode(reply.content, type=kind)


def engage(client, scope="all", status=200, kind=EngagedAnswer):
    return post(client, "/kill-switch", kind, status, scope=scope, reason="drill", by="ada")


WRITES = [
    ("/kill-switch", {"reason": "x", "by": "ada"}),
    ("/kill-switch/release", {"scope": "all", "reason": "x", "by": "ada", "second": "ben"}),
    ("/policy/reload", {"by": "ada", "why": "x"}),
    ("/policy/rollback", {"number": 1, "by": "ada", "why": "x"}),
    ("/policy/review", {"number": 1, "by": "ada", "why": "x"}),
    ("/policy/diff", {}),
    ("/policy/overrides", {"limit": "a", "value": "1", "seconds": 1, "by": "a", "why": "x"}),
    ("/policy/overrides/x/approve", {"by": "ada"}),
    ("/policy/overrides/x/revoke", {"by": "ada"}),
]


@pytest.mark.parametrize(("path", "body"), WRITES)
def test_without_the_operator_s_token_nothing_is_written(client, path, body):
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        reply = client.post(path, json=body, headers=headers)
        assert reply.status_code == 401
        assert "SLUICE_OPERATOR_TOKEN" in msgspec.json.decode(reply.content, type=Problem).remedy
    assert not get(client, "/kill-switch", KillAnswer).engaged
    assert len(get(client, "/policy", PolicyAnswer).history) == 1


@pytest.mark.parametrize(("path", "body"), WRITES)
def test_a_service_without_a_token_takes_no_writes_and_says_what_to_set(tmp_path, path, body):
    live = open_live(
        read_settings({}, workspace=tmp_path / "ws"), monotonic=time.monotonic, prove=prove_here
    )
    with TestClient(create_app(live)) as client:
        reply = client.post(path, json=body, headers={"authorization": "Bearer "})
        assert reply.status_code == 403
        problem = msgspec.json.decode(reply.content, type=Problem)
        assert "SLUICE_OPERATOR_TOKEN" in problem.remedy
        assert client.get("/kill-switch").status_code == 200
        assert client.get("/policy").status_code == 200


def test_a_short_token_is_refused_and_no_token_is_ever_shown(settings):
    with pytest.raises(SettingsInvalid, match="SLUICE_OPERATOR_TOKEN") as refused:
        read_settings({"SLUICE_OPERATOR_TOKEN": "hunter2"})
    assert "hunter2" not in str(refused.value)
    assert TOKEN not in repr(settings)


def test_a_kill_cancels_what_works_and_stays_on_over_restarts(client, settings):
    folder = settings.workspace / "venues" / "live"
    folder.mkdir(parents=True)
    venue = PaperVenue(folder / "primary.db", PRIMARY)
    for number in range(3):
        venue.submit(order(number))
    done = engage(client)
    assert (done.found, done.cancelled, done.still_open, done.complete) == (3, 3, (), True)
    assert venue.working() == ()
    venue.close()
    (stop,) = get(client, "/kill-switch", KillAnswer).stops
    assert (stop.scope, stop.reason, stop.by) == ("all", "drill", "ada")
    assert KillSwitch(settings.workspace / "kill").engaged() == {"all": "drill"}
    again = open_live(settings, monotonic=time.monotonic, prove=prove_here)
    assert again.killing.state().engaged


def test_a_release_needs_a_second_person(client):
    engage(client, "symbol.AAA")
    body = {"scope": "symbol.AAA", "reason": "checked", "by": "ada", "second": "Ada"}
    refused = post(client, "/kill-switch/release", Problem, 409, **body)
    assert "second person" in refused.detail
    body["second"] = "ben"
    assert not post(client, "/kill-switch/release", KillAnswer, **body).engaged


def test_a_scope_that_stops_nothing_and_a_request_with_unknown_names_are_refused(client):
    engage(client, "everything", 400, Problem)
    body = {"reason": "x", "by": "ada", "force": True}
    assert client.post("/kill-switch", json=body, headers=SHOWN).status_code == 400
    assert client.post("/kill-switch", json={"by": "ada"}, headers=SHOWN).status_code == 400
    assert not get(client, "/kill-switch", KillAnswer).engaged


def test_the_kill_switch_works_while_the_database_is_down(live, monkeypatch):
    def gone(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("runtime.db does not answer")

    monkeypatch.setattr("runtime.chain.ChainedLog.head", gone)
    monkeypatch.setattr("runtime.chain.reading", gone)
    monkeypatch.setattr("runtime.database.transaction", gone)
    with TestClient(create_app(live)) as client:
        assert client.get("/policy").status_code == 503
        assert engage(client).complete
        assert get(client, "/kill-switch", KillAnswer).engaged


def test_the_kill_switch_answers_at_once_while_every_question_hangs_on_a_frozen_database(live):
    hanging = threading.Event()
    live.snapshots.head = lambda: hanging.wait(120)
    with TestClient(create_app(live)) as client, ThreadPoolExecutor(60) as threads:
        asked = [threads.submit(client.get, f"/equity?from=2017-01-{n:02}") for n in range(1, 31)]
        while len(live.snapshots._looking) < min(32, (os.cpu_count() or 1) + 4):
            time.sleep(0.01)  # until they hold every thread that the framework has
        try:
            for path, body in (
                ("/kill-switch", {"by": "ada", "reason": "frozen"}),
                ("/alerts", None),
            ):
                ask = partial(client.post, json=body) if body else client.get
                done = threads.submit(ask, path, headers=SHOWN).result(timeout=60)
                assert done.status_code == 200, done.text
            assert live.killing.state().engaged
            assert not any(one.done() for one in asked)
        finally:
            hanging.set()


def test_a_full_disk_is_told_with_what_to_do_by_hand(client, live):
    folder = live.killing.switch.folder
    folder.rmdir()
    problem = engage(client, "all", 500, Problem)
    assert "this process only" in problem.detail
    assert str(folder / "all") in problem.remedy
    assert get(client, "/kill-switch", KillAnswer).engaged


def test_a_policy_is_diffed_reloaded_and_rolled_back(client, file):
    first = get(client, "/policy", PolicyAnswer)
    assert (first.active.number, first.text, first.refused) == (1, DEFAULT, "")
    assert first.in_force == first.active.hash
    file.write_text(TIGHT)
    dry = post(client, "/policy/diff", DiffAnswer)
    assert [(c.limit, c.before, c.after, c.effect) for c in dry.changes] == [
        ("loss.max_drawdown", "0.50", "0.30", "tighter")
    ]
    assert get(client, "/policy", PolicyAnswer) == first  # a dry run
    second = post(client, "/policy/reload", PolicyAnswer, by="ada", why="limits reviewed")
    assert (second.changed, second.active.number, second.active.hash) == (True, 2, dry.after)
    third = post(client, "/policy/rollback", PolicyAnswer, number=1, by="ben", why="too tight")
    assert (third.active.hash, third.active.origin) == (first.active.hash, "rollback")
    assert [one.by for one in third.history] == ["ben", "ada", "start"]
    assert post(client, "/policy/diff", DiffAnswer, text=DEFAULT).changes == ()
    post(client, "/policy/rollback", Problem, 409, number=9, by="ben", why="x")
    assert third.review.at is None
    seen = post(client, "/policy/review", PolicyAnswer, number=3, by="cyd", why="yearly").review
    assert (seen.number, seen.by, seen.due - seen.at) == (3, "cyd", timedelta(days=365))
    post(client, "/policy/review", Problem, 409, number=1, by="cyd", why="yearly")


def test_an_invalid_policy_keeps_the_previous_one_and_says_why(client, file):
    file.write_text("name = ")
    problem = post(client, "/policy/diff", Problem, 422)
    assert "stays in force" in problem.remedy
    after = post(client, "/policy/reload", PolicyAnswer, by="ada", why="x")
    assert (after.changed, after.active.number) == (False, 1)
    assert "Invalid" in after.refused
    file.unlink()
    after = post(client, "/policy/reload", PolicyAnswer, by="ada", why="x")
    assert "cannot be read" in after.refused


def test_an_override_goes_through_two_persons(client):
    asked = {"limit": "loss.max_drawdown", "value": "0.6", "seconds": 600, "by": "ada", "why": "x"}
    one = post(client, "/policy/overrides", OverrideAnswer, 201, **asked)
    path = f"/policy/overrides/{one.id}"
    post(client, f"{path}/approve", Problem, 409, by="ada")
    assert not get(client, "/policy", PolicyAnswer).overrides[0].in_force
    assert post(client, f"{path}/approve", OverrideAnswer, by="ben").in_force
    shown = get(client, "/policy", PolicyAnswer)
    assert shown.in_force != shown.active.hash
    post(client, f"{path}/revoke", OverrideAnswer, by="cyd")
    assert get(client, "/policy", PolicyAnswer).in_force == shown.active.hash


def test_a_hangup_reads_the_file_again_and_an_invalid_one_does_no_harm(live, file):
    assert "unchanged" in reload_policy(live.policies)
    file.write_text(TIGHT)
    assert "policy 2" in reload_policy(live.policies)
    file.write_text("name = ")
    assert "stays in force" in reload_policy(live.policies)
    assert live.policies.log.active().number == 2


def test_a_service_starts_with_an_invalid_policy_and_says_so(settings, file):
    file.write_text("name = ")
    live = open_live(settings, monotonic=time.monotonic, prove=prove_here)
    with TestClient(create_app(live)) as client:
        problem = msgspec.json.decode(client.get("/policy").content, type=Problem)
        assert problem.status == 404
        assert "Invalid" in problem.detail
        file.write_text(DEFAULT)
        assert post(client, "/policy/reload", PolicyAnswer, by="ada", why="x").changed


def test_trading_starts_with_the_file_and_keeps_what_was_in_force_if_it_is_invalid(settings, file):
    settings.workspace.mkdir()
    assert open_policies(settings).start().hash
    file.write_text("name = ")
    policies = open_policies(settings)
    assert policies.start().name == "paper default"
    assert "Invalid" in policies.refused


def test_every_write_is_described_with_its_answer(client):
    paths = json.loads(client.get("/schema/openapi.json").content)["paths"]
    assert all(path.replace("/x/", "/{override_id}/") in paths for path, _ in WRITES)


def test_the_default_text_has_the_limit_these_tests_change():
    assert TIGHT != DEFAULT
