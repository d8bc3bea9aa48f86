"""Idempotency keys: a repeated POST has one effect and the first one's answer."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from litestar.testing import TestClient
from sqlalchemy import event

from runtime.database import open_database, transaction
from runtime.errors import DatabaseUnavailable, KeyPending
from runtime.once import KEPT, Asked, DatabaseKeys, FileKeys
from runtime.policies.log import PolicyLog
from service.app import create_app
from service.settings import read_settings
from service.trading.proof import prove_here
from service.wiring import open_live
from tests.service.test_operator import DEFAULT, SHOWN, TIGHT, TOKEN

AT = datetime(2026, 3, 6, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(DEFAULT)
    return path


@pytest.fixture
def live(tmp_path, file):
    environ = {"SLUICE_OPERATOR_TOKEN": TOKEN, "SLUICE_POLICY": str(file)}
    settings = read_settings(environ, workspace=tmp_path / "ws")
    return open_live(settings, monotonic=time.monotonic, prove=prove_here)


@pytest.fixture
def client(live):
    with TestClient(create_app(live)) as found:
        yield found


def post(client, path, key, **body):
    return client.post(path, json=body, headers={**SHOWN, "idempotency-key": key})


OVERRIDE = {
    "limit": "loss.max_daily_loss",
    "value": "0.06",
    "seconds": 60,
    "by": "ada",
    "why": "a busy day",
}


def test_a_repeated_post_has_one_effect_and_the_same_answer(client, live):
    first = post(client, "/policy/overrides", "k1", **OVERRIDE)
    again = post(client, "/policy/overrides", "k1", **OVERRIDE)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-content-type-options"] == "nosniff"
    assert len(live.policies.log.overrides()) == 1


def test_without_a_key_or_under_another_the_effect_is_there_twice(client, live):
    for key in ("k1", "k2"):
        assert post(client, "/policy/overrides", key, **OVERRIDE).status_code == 201
    client.post("/policy/overrides", json=OVERRIDE, headers=SHOWN)
    assert len(live.policies.log.overrides()) == 3


@pytest.mark.parametrize("change", [{"value": "0.07"}, {"by": "ben"}])
def test_the_same_key_for_another_request_is_refused(client, live, change):
    post(client, "/policy/overrides", "k1", **OVERRIDE)
    other = post(client, "/policy/overrides", "k1", **(OVERRIDE | change))
    assert other.status_code == 422
    assert "was used for another request" in other.json()["detail"]
    assert post(client, "/policy/reload", "k1", by="ada", why="x").status_code == 422
    assert len(live.policies.log.overrides()) == 1


def test_a_refused_request_does_not_use_its_key_up(client, live, file):
    refused = post(client, "/policy/rollback", "k1", number=7, by="ada", why="x")
    assert refused.status_code == 409
    for number, text in enumerate([TIGHT, DEFAULT], 2):
        file.write_text(text)
        assert post(client, "/policy/reload", f"r{number}", by="ada", why="x").status_code == 200
    done = post(client, "/policy/rollback", "k1", number=2, by="ada", why="x")
    assert done.status_code == 200
    assert len(live.policies.log.history()) == 4
    assert (
        post(client, "/policy/rollback", "k1", number=2, by="ada", why="x").content == done.content
    )
    assert len(live.policies.log.history()) == 4


def test_the_kill_switch_answers_a_repeat_without_a_database(client, live, monkeypatch):
    def down(*_):
        raise DatabaseUnavailable("runtime.db does not answer")

    monkeypatch.setattr(DatabaseKeys, "find", down)
    body = {"scope": "all", "reason": "drill", "by": "ada"}
    first = post(client, "/kill-switch", "k1", **body)
    assert first.status_code == 200
    release = body | {"second": "ben", "reason": "over"}
    assert post(client, "/kill-switch/release", "k2", **release).status_code == 200
    again = post(client, "/kill-switch", "k1", **body)  # a retry that was long on its way
    assert again.content == first.content
    assert live.killing.switch.engaged() == {}
    assert post(client, "/kill-switch", "k1", **(body | {"reason": "other"})).status_code == 422
    assert post(client, "/policy/reload", "k3", by="ada", why="x").status_code == 503


def test_nobody_sees_a_kept_answer_without_the_token(client):
    post(client, "/policy/overrides", "k1", **OVERRIDE)
    for headers in ({}, {"authorization": "Bearer wrong"}):
        headers = headers | {"idempotency-key": "k1"}
        assert client.post("/policy/overrides", json=OVERRIDE, headers=headers).status_code == 401


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_that_is_none_is_refused(client, key):
    reply = post(client, "/policy/reload", key, by="ada", why="x")
    assert reply.status_code == 400
    assert "1 to 200 printable" in reply.json()["detail"]


def test_a_long_body_is_refused_under_a_key_too(client):
    reply = post(client, "/policy/diff", "k1", text="x" * 70_000)
    assert reply.status_code == 413


def test_effect_and_key_are_committed_together_or_not_at_all(database_url):
    """The commit fails: neither is there, and the repeat has the effect."""
    engine = open_database(database_url)
    log, keys = PolicyLog(engine), DatabaseKeys(engine)
    asked = Asked.of("k", "POST", "/policy/reload", b"{}")

    class Died(Exception):
        pass

    def install():
        log.install(DEFAULT, by="ada", why="x", at=AT)

    def die(_connection):
        raise Died

    keys.find("k")
    event.listen(engine, "commit", die)
    with pytest.raises(Died), keys.riding(asked, AT):
        install()
    event.remove(engine, "commit", die)
    assert (log.history(), keys.find("k")) == ((), None)
    with keys.riding(asked, AT):
        install()
    kept = keys.find("k")
    assert kept is not None
    assert (len(log.history()), kept.status) == (1, None)
    keys.keep(asked, 200, b"{}", AT)
    assert keys.find("k").answer == b"{}"
    engine.dispose()


def test_of_two_requests_under_one_key_at_once_one_has_an_effect(database_url):
    engine = open_database(database_url)
    log, keys = PolicyLog(engine), DatabaseKeys(engine)
    log.install(DEFAULT, by="ada", why="x", at=AT)
    keys.find("k")
    together, refused = threading.Barrier(4), []

    def ask(number: int) -> None:
        asked = Asked.of("k", "POST", "/policy/overrides", b"{}")
        together.wait(60)
        try:
            with keys.riding(asked, AT):
                log.ask(
                    "loss.max_daily_loss",
                    "0.06",
                    seconds=60,
                    by=f"ada {number}",
                    why="x",
                    at=AT,
                )
        except KeyPending:
            refused.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    assert len(PolicyLog(engine).overrides()) == 1
    engine.dispose()


def test_a_key_whose_answer_was_lost_says_so_and_has_no_second_effect(client, live):
    keys = DatabaseKeys(live.policies.log.engine)
    body = b'{"by":"ada","why":"x"}'
    keys.find("k1")
    asked = Asked.of("k1", "POST", "/policy/reload", body)
    with keys.riding(asked, AT), transaction(live.policies.log.engine):
        pass  # the effect; then the process died
    headers = {**SHOWN, "idempotency-key": "k1", "content-type": "application/json"}
    reply = client.post("/policy/reload", content=body, headers=headers)
    assert reply.status_code == 409
    assert "its answer is not kept" in reply.json()["detail"]


def test_keys_are_forgotten_after_a_week(database_url):
    engine = open_database(database_url)
    keys = DatabaseKeys(engine)
    old, new = (Asked.of(name, "POST", "/x", b"") for name in ("old", "new"))
    keys.find("old")
    with keys.riding(old, AT), transaction(engine):
        pass
    later = AT + KEPT + timedelta(seconds=1)
    with keys.riding(new, later), transaction(engine):
        pass
    keys.keep(new, 200, b"x", later)
    assert keys.find("old") is None
    assert keys.find("new") is not None
    engine.dispose()


def test_a_key_in_a_file_that_was_torn_counts_as_unknown(tmp_path):
    keys = FileKeys(tmp_path / "keys")
    asked = Asked.of("k", "POST", "/kill-switch", b"")
    keys.keep(asked, 200, b"{}", AT)
    assert keys.find("k").status == 200
    next((tmp_path / "keys").iterdir()).write_text('{"what"')
    assert keys.find("k") is None
