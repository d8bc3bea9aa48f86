"""Breaks, attribution and found decisions over REST."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from litestar.testing import TestClient

from runtime.database import open_database
from runtime.journal.breaks import Breaks
from runtime.journal.reconcile import Break, BreakClass
from runtime.journal.store import Journal
from service.app import create_app
from service.books.answers import Attributed, BreakLine, BreaksAnswer, DecisionPage
from service.trading.proof import prove_here
from service.wiring import open_live
from tests.fakes.trading import traded_workspace

TOKEN = "a-token-of-thirty-two-characters"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    settings, _ = traded_workspace(tmp_path_factory.mktemp("b") / "ws", end=date(2017, 3, 31))
    engine = open_database(settings.database_url)
    account = next(one for one in Journal(engine).accounts() if one.startswith("replay"))
    yield settings, Journal(engine, account)
    engine.dispose()


@pytest.fixture(scope="module")
def client(journal):
    settings = replace(journal[0], operator_token=TOKEN)
    app = create_app(open_live(settings, monotonic=time.monotonic, prove=prove_here))
    with TestClient(app) as client:
        yield client


def get(client, path, kind, **query):
    reply = client.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return msgspec.json.decode(reply.content, type=kind)


def test_a_break_is_shown_and_resolved_by_who_may(client, journal):
    _, kept = journal
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
    Breaks(kept).settle((found,), (found.day,), kept.last_session().closed_at, {})
    told = get(client, "/breaks", BreaksAnswer)
    assert (told.open, told.items[0].amount) == (1, Decimal("5.00"))
    body = {"break_id": told.items[0].break_id, "by": "ada", "reason": "interest of March"}
    assert client.post("/breaks/resolve", json=body).status_code == 401
    reply = client.post("/breaks/resolve", json=body, headers=SHOWN)
    assert reply.status_code == 200, reply.text
    assert msgspec.json.decode(reply.content, type=BreakLine).by == "ada"
    assert client.post("/breaks/resolve", json=body, headers=SHOWN).status_code == 404
    assert get(client, "/breaks", BreaksAnswer).items == ()
    assert get(client, "/breaks", BreaksAnswer, resolved=True).items[0].by == "ada"


def test_attribution_sums_and_narrows(client):
    whole = get(client, "/attribution", Attributed)
    assert sum(whole.parts.values()) == whole.profit
    march = get(client, "/attribution", Attributed, first="2017-03-01")
    assert march.sessions == tuple(one for one in whole.sessions if one.day >= date(2017, 3, 1))
    assert client.get("/attribution", params={"first": "2030-01-01"}).status_code == 404


def test_decisions_are_found_by_condition(client, journal):
    page = get(client, "/decisions/find", DecisionPage, verdict="ordered", limit=2)
    assert [one.tick for one in page.items] == ["2017-03-31", "2017-02-28"]
    rest = get(client, "/decisions/find", DecisionPage, before=page.next)
    assert [one.tick for one in rest.items] == ["2017-01-31"]
    assert get(client, "/decisions/find", DecisionPage, symbol="nothing").items == ()
    assert client.get("/decisions/find", params={"limit": 0}).status_code == 400
