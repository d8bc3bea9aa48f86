"""The registry over REST: what it shows, who may roll back, and a roll-back under load."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from datetime import UTC, datetime

import msgspec
import pytest
from litestar.testing import TestClient

from runtime.bundles.bundle import load_bundle
from runtime.bundles.signing import load_trusted
from runtime.registry import Promoted
from service.app import create_app
from service.operator.seats import CompareAnswer, HistoryAnswer, RegistryAnswer, RolledBack
from service.settings import read_settings
from service.trading.proof import prove_here
from service.web.answers import BundlesAnswer, Problem
from service.wiring import open_live
from tests.servers import free_port
from tests.service.registry.seats import (
    FACTS,
    SHOWN,
    TOKEN,
    add_bundle,
    facts,
    registry_of,
    shadow_days,
)
from tests.service.test_light import served, wait_for


@pytest.fixture
def client(settings):
    token = {"SLUICE_OPERATOR_TOKEN": TOKEN}
    named = read_settings(token, workspace=settings.workspace)
    live = open_live(named, monotonic=lambda: 0.0, prove=prove_here)
    with TestClient(create_app(live)) as found:
        yield found


def get(client, path, kind, **query):
    reply = client.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return msgspec.json.decode(reply.content, type=kind)


def test_rest_shows_seats_history_and_comparison(client, sluice, settings):
    bundle = add_bundle(settings)
    sluice("challenge", bundle[:10], *facts())
    shadow_days(settings, bundle, edge=0.002)
    found = get(client, "/registry", RegistryAnswer)
    assert [one.role for one in found.seats] == ["champion", "challenger"]
    assert found.seats[1].comparison.decision == "challenger"
    assert found.seats[1].fraction is None
    assert get(client, "/registry/comparison", CompareAnswer).days == 120
    items = get(client, "/registry/history", HistoryAnswer).items
    assert [one.role for one in items] == ["challenger", "champion"]
    past = get(client, "/registry", RegistryAnswer, day="2017-01-01")
    assert [one.role for one in past.seats] == ["champion"]
    assert client.get("/registry/comparison", params={"role": "challenger.b"}).status_code == 404
    assert client.get("/registry/shares").json() == {"account": "live", "days": []}


def test_only_an_operator_rolls_back_over_rest(client, sluice, settings):
    body = {"by": "ada", "why": "drill"}
    assert client.post("/registry/rollback", json=body).status_code == 401
    reply = client.post("/registry/rollback", json=body, headers=SHOWN)
    assert reply.status_code == 409
    assert "no earlier bundle" in msgspec.json.decode(reply.content, type=Problem).detail
    sluice("promote", add_bundle(settings)[:10], *facts())
    reply = client.post("/registry/rollback", json=body, headers=SHOWN)
    done = msgspec.json.decode(reply.content, type=RolledBack)
    assert (done.change.version, done.refused) == (1, "")
    assert done.running == done.change.bundle


def test_a_roll_back_under_load_fails_no_request_and_holds_once_it_is_answered(settings):
    """A served workspace on loopback, four clients that never pause, one roll-back among them."""
    first = registry_of(settings).active().bundle
    second = add_bundle(settings, version=2)
    signed = load_bundle(settings.bundles / second, load_trusted(settings.trusted_keys)).signature
    registry_of(settings).activate(
        Promoted(study="tilt", bundle=second, version=2, stage="staging", promotion=signed),
        at=datetime(2017, 6, 1, tzinfo=UTC),
        **FACTS,
    )
    port, stop, failed, answered = free_port(), threading.Event(), [], [0] * 4
    os.environ["SLUICE_OPERATOR_TOKEN"] = TOKEN

    def ask(number: int) -> None:
        paths = ("/bundles", "/health", "/registry", "/equity", "/registry/history", "/kill-switch")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while not stop.is_set():
            path = paths[(answered[number] + number) % len(paths)]
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
            if reply.status != 200:
                failed.append((path, reply.status, body))
            answered[number] += 1
        connection.close()

    try:
        with served(settings.workspace, port):
            while not json.loads(wait_for(port, "/health"))["ready"]:
                time.sleep(0.05)
            assert json.loads(wait_for(port, "/bundles"))["running"] == second
            clients = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
            for one in clients:
                one.start()
            while min(answered) < 10:
                time.sleep(0.01)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            connection.request(
                "POST",
                "/registry/rollback",
                body=json.dumps({"by": "ada", "why": "drill"}),
                headers=SHOWN | {"content-type": "application/json"},
            )
            reply = connection.getresponse()
            done = msgspec.json.decode(reply.read(), type=RolledBack)
            before = list(answered)
            while min(now - then for now, then in zip(answered, before, strict=True)) < 10:
                time.sleep(0.01)
            stop.set()
            for one in clients:
                one.join()
            after = msgspec.json.decode(wait_for(port, "/bundles"), type=BundlesAnswer)
    finally:
        stop.set()
        del os.environ["SLUICE_OPERATOR_TOKEN"]
    assert (reply.status, done.running, done.refused) == (200, first, "")
    assert failed == []
    assert (after.running, after.active.bundle, after.active.action) == (first, first, "rollback")
