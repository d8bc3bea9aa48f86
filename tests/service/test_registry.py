"""The registry as an operator uses it: over the command line, over REST, and under load."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import pi

import msgspec
import pytest
from litestar.testing import TestClient
from typer.testing import CliRunner

from runtime.bundles.bundle import load_bundle
from runtime.bundles.contract import canonical
from runtime.bundles.signing import load_signer, load_trusted
from runtime.database import open_database
from runtime.joint.shadow_log import ShadowBook, ShadowDay, ShadowLog
from runtime.joint.shares import MemberDay
from runtime.registry import CHALLENGER, Comparison, Promoted, Registry
from service.app import create_app
from service.cli import app
from service.operator.arms import arms_of, standing_of
from service.operator.seats import CompareAnswer, HistoryAnswer, RegistryAnswer, RolledBack
from service.settings import read_settings
from service.trading.proof import prove_here
from service.web.answers import BundlesAnswer, Problem
from service.wiring import open_live
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest
from tests.fakes.trading import FEATURE, SYMBOLS, promoted_workspace
from tests.servers import free_port
from tests.service.test_light import served, wait_for

TOKEN = "correct horse battery staple"
SHOWN = {"authorization": f"Bearer {TOKEN}"}
FACTS = {"by": "ada", "why": "a reason"}


@pytest.fixture
def settings(tmp_path):
    """A workspace whose champion is version 1 of study tilt."""
    return promoted_workspace(tmp_path / "ws")


def add_bundle(settings, study="tilt", trials=73, version=1) -> str:
    """Write another bundle on the champion's universe; nobody has seated it yet."""
    signer = load_signer(settings.workspace / "keys" / "signing.key")
    manifest = msgspec.structs.replace(
        tilt_manifest(SYMBOLS, feature=FEATURE), study=study, trials=trials, decide_cell=0
    )
    cell = {"cell_type": "code", "metadata": {}, "source": "def decide(xp, inputs): ..."}
    files = tilt_files(SYMBOLS) | {"notebook.ipynb": msgspec.json.encode({"cells": [cell]})}
    folder = tilt_bundle(settings.bundles, signer, manifest=manifest, files=files, version=version)
    return folder.name


@pytest.fixture
def sluice(settings):
    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(
            app,
            ["registry", *words, "-w", str(settings.workspace)],
            env={"COLUMNS": "300"},
        )
        assert done.exit_code == status, done.output
        return done.output

    return run


def facts(by="ada", why="a reason") -> tuple[str, ...]:
    return ("--by", by, "--why", why)


def registry_of(settings) -> Registry:
    return Registry(open_database(settings.database_url))


def test_a_promotion_signs_the_same_bytes_anew_and_says_its_stop_bands(sluice, settings):
    before = registry_of(settings).active()
    said = sluice("promote", before.bundle[:10], *facts(), "--max-drawdown", "0.1")
    assert "activate  champion     tilt version 2" in said
    after = registry_of(settings).active()
    assert (after.bundle, after.version) == (before.bundle, 2)
    trusted = load_trusted(settings.trusted_keys)
    signed = load_bundle(settings.bundles / after.bundle, trusted).signature
    assert signed == after.promotion
    assert (signed.by, signed.why, signed.bands.max_drawdown) == ("ada", "a reason", "0.1")
    shown = sluice("show")
    assert "stop band max drawdown: 0.1" in shown
    assert "100% of the capital" in shown


def test_what_is_not_allowed_is_refused_with_a_reason(sluice, settings):
    bundle = add_bundle(settings)
    assert "0 bundles" in sluice("promote", "ffff", *facts(), status=2)
    refused = sluice("promote", bundle[:9], *facts(), "--stage", "production", status=1)
    assert "allows production, the gates allowed staging" in refused
    assert "is no stage" in sluice("promote", bundle[:9], *facts(), "--stage", "live", status=2)
    assert "no seat is called" in sluice(
        "promote", bundle[:9], *facts(), "--role", "boss", status=1
    )
    assert "must be a fraction" in sluice(
        "promote", bundle[:9], *facts(), "--max-drawdown", "12", status=2
    )
    assert "no earlier bundle" in sluice("rollback", *facts(), status=1)
    assert "must say who does it and why" in sluice("retire", *facts(why=" "), status=1)
    assert len(registry_of(settings).history()) == 1


def test_rolling_back_restores_the_signature_that_allowed_the_earlier_version(sluice, settings):
    first = registry_of(settings).active()
    sluice("promote", add_bundle(settings)[:10], *facts())
    said = sluice("rollback", *facts(why="loses since Monday"))
    assert "rollback  champion     tilt version 1" in said
    assert registry_of(settings).active().bundle == first.bundle
    history = json.loads(sluice("history", "--json"))["items"]
    assert [one["action"] for one in history] == ["rollback", "activate", "activate"]
    past = json.loads(sluice("show", "--at", "2017-01-01", "--json"))
    assert [one["version"] for one in past["seats"]] == [1]
    assert json.loads(sluice("show", "--at", "2016-12-31", "--json"))["seats"] == []


def test_capital_is_shared_among_seats_and_given_back(sluice, settings):
    bundle = add_bundle(settings, study="other")
    sluice("promote", bundle[:10], *facts(), "--role", "arm.b")
    assert "seat arm.c is empty" in sluice("allocate", "arm.c=0.2", *facts(), status=1)
    assert "is no share" in sluice("allocate", "arm.b", *facts(), status=2)
    said = sluice("allocate", "champion=0.7", "arm.b=0.2", *facts(), "--max-turnover", "0.25")
    assert "70% of the capital" in said
    assert "20% of the capital" in said
    assert "at most 25.0% of equity" in said
    assert "arm.b has 0.2 of the capital" in sluice("retire", "--role", "arm.b", *facts(), status=1)
    assert "one bundle trades the account" in sluice("shares")
    sluice("allocate", *facts())
    sluice("retire", "--role", "arm.b", *facts())
    assert "allocate" in sluice("history")
    assert set(registry_of(settings).seats()) == {"champion"}


def seated(settings, role: str, bundle: str = "") -> None:
    """Put a bundle of a study named after the seat into it, without proving or signing it."""
    promoted = Promoted(study=role, bundle=bundle or role[-1] * 64, version=1, stage="staging")
    registry_of(settings).activate(
        promoted, role=role, at=datetime(2017, 6, 1, tzinfo=UTC), **FACTS
    )


def test_capital_that_is_shared_is_an_a_b_test_with_terms_fixed_before(sluice, settings):
    for role in ("arm.b", "arm.c"):
        seated(settings, role)
    shared = ("allocate", "champion=0.7", "arm.b=0.2")
    assert "there is nothing to compare" in sluice(
        "allocate", "champion=0.7", "--alpha", "0.1", *facts(), status=1
    )
    assert "no arms are judged" in sluice("arms")
    sluice(*shared, *facts(), "--alpha", "0.01")
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())  # goes on, with the same alpha
    assert "judged against champion at alpha 0.01, bound 0.02" in sluice("history")
    first = json.loads(sluice("arms", "--json"))
    assert first["since"] < registry_of(settings).allocations()[-1].at
    assert [one["needed"] for one in first["arms"]] == [pytest.approx(200.0 * pi**2 / 6)]
    assert "arm.b undecided after 0 sessions, evidence 1.00 of 329" in sluice("arms")
    sluice("allocate", "arm.c=0.5", "arm.b=0.5", *facts(), "--control", "arm.c")
    assert [one["control_role"] for one in json.loads(sluice("arms", "--json"))["arms"]] == [
        "arm.c"
    ]
    sluice("allocate", *facts())
    assert "say which of arm.b, arm.c is the control" in sluice(
        "allocate", "arm.c=0.5", "arm.b=0.5", *facts(), status=1
    )
    sluice(*shared, *facts(), "--alpha", "0.01")
    assert json.loads(sluice("arms", "--json"))["arms"][0]["asked"] == 2
    assert "; begun 2 times" in sluice("arms")


@pytest.mark.parametrize("anew", [("--alpha", "0.0501"), ("--bound", "0.021"), ("elsewhere",)])
def test_a_test_begun_anew_on_other_terms_or_in_another_seat_needs_more(sluice, settings, anew):
    seated(settings, "arm.b")
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())
    if anew == ("elsewhere",):
        seated(settings, "arm.x", "b" * 64)
        sluice("allocate", "champion=0.5", "arm.x=0.5", *facts())
    else:
        sluice("allocate", "champion=0.5", "arm.b=0.5", *facts(), *anew)
    (found,) = json.loads(sluice("arms", "--json"))["arms"]
    assert found["asked"] == 2
    assert found["needed"] == pytest.approx(2 / found["alpha"] * pi**2 / 6 * 4)


def earned(registry, edge: float, count: int = 120) -> list[MemberDay]:
    """Return sessions after today on which arm.b makes `edge` more than the champion."""
    days = []
    for number in range(count):
        for role in ("arm.b", "champion"):
            noise = 0.0 if role == "champion" else edge + (0.002 if number % 2 else -0.002)
            days.append(
                MemberDay(
                    day=datetime.now(UTC).date() + timedelta(days=number + 1),
                    role=role,
                    bundle=registry.active(role).bundle,
                    equity=Decimal(100),
                    cash=Decimal(0),
                    given=Decimal(100),
                    fees=Decimal(0),
                    profit=Decimal(0),
                    returned=0.001 + noise,
                )
            )
    return days


def test_an_arm_is_called_better_or_worse_once_the_evidence_suffices(sluice, settings):
    seated(settings, "arm.b")
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())
    registry = registry_of(settings)
    for edge, better in ((0.002, "arm.b"), (-0.002, "champion")):
        (found,) = arms_of("live", registry, earned(registry, edge)).arms
        assert (found.decision, found.days, found.needed) == (
            better,
            118,
            pytest.approx(40.0 * pi**2 / 6),
        )
        assert found.words.startswith(f"{better} is better, decided on {found.decided_on}")
        assert found.first < found.decided_on < found.last
        assert found.mean == pytest.approx(edge)
        assert found.low < edge < found.high
        assert (found.low > 0) == (edge > 0)


@pytest.mark.parametrize("then", ["running", "ended", "retired", "emptied", "control"])
def test_an_arm_becomes_champion_only_if_the_test_is_for_it_or_with_a_reason(
    sluice, settings, then
):
    bundle = add_bundle(settings, study="other")
    seated(settings, "arm.b", bundle)
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())
    if then == "control":
        sluice("allocate", "champion=0.5", "arm.b=0.5", *facts(), "--control", "arm.b")
    if then in ("ended", "retired"):
        sluice("allocate", "champion=1", *facts())
    if then == "emptied":
        sluice("allocate", *facts())
        sluice("retire", "--role", "champion", *facts())
    if then == "retired":
        sluice("retire", "--role", "arm.b", *facts())
    refused = sluice("promote", bundle[:10], *facts(), status=1)
    assert "arm.b is not shown to be better: undecided after 0 sessions" in refused
    sluice("promote", bundle[:10], *facts(), "--despite", "the vendor closes")
    assert "promoted despite that: the vendor closes" in registry_of(settings).active().why


def test_a_test_that_was_ended_still_says_what_it_had_found(sluice, settings):
    seated(settings, "arm.b")
    registry = registry_of(settings)
    assert standing_of("b" * 64, registry, ()) is None
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())
    days = {edge: earned(registry, edge) for edge in (0.002, -0.002)}
    sluice("allocate", "champion=1", *facts())
    for edge, better in ((0.002, True), (-0.002, False)):
        shown, role, words = standing_of("b" * 64, registry, days[edge])
        assert (shown, role) == (better, "arm.b")
        assert words.startswith("arm.b is better" if better else "champion is better")
    assert standing_of(registry.active().bundle, registry, ()) is None


def test_an_arm_that_was_not_compared_with_the_champion_is_not_shown_to_beat_it(sluice, settings):
    for role in ("arm.b", "arm.c"):
        seated(settings, role)
    shared = ("allocate", "champion=0.4", "arm.b=0.3", "arm.c=0.3")
    sluice(*shared, *facts(), "--control", "arm.c")
    registry = registry_of(settings)
    assert standing_of("b" * 64, registry, earned(registry, 0.002)) == (
        False,
        "arm.b",
        "it was compared with arm.c, not with the champion",
    )


def shadow_days(settings, challenger: str, edge: float, days: int = 120) -> None:
    """Write a record in which the challenger makes `edge` more on each of many days."""
    registry = registry_of(settings)
    seat = registry.active(CHALLENGER)
    record = ShadowLog(open_database(settings.database_url))
    books = {seat.comparison.against: ShadowBook(), challenger: ShadowBook()}
    for number in range(days):
        day = seat.since.date() + timedelta(days=number + 1)
        noise = 0.002 if number % 2 else -0.002
        returns = {seat.comparison.against: 0.0, challenger: edge + noise}
        record.record(
            ShadowDay(account="live", day=day.isoformat(), books=books, returns=returns),
            (),
            datetime(2030, 1, 1, tzinfo=UTC),
        )


def test_a_challenger_is_promoted_once_the_test_has_decided_for_it(sluice, settings):
    bundle = add_bundle(settings)
    sluice("challenge", bundle[:10], *facts(), "--bound", "0.02")
    seat = registry_of(settings).active(CHALLENGER)
    champion = registry_of(settings).active().bundle
    assert seat.comparison == Comparison(against=champion, alpha=0.05, bound=0.02)
    assert "undecided after 0 days" in sluice("compare")
    refused = sluice("promote", bundle[:10], *facts(), status=1)
    assert "challenger is not shown to be better" in refused
    shadow_days(settings, bundle, edge=0.002)
    found = msgspec.json.decode(sluice("compare", "--json").encode(), type=CompareAnswer)
    assert found.decision == "challenger"
    assert found.better >= found.needed == pytest.approx(20.0)
    assert found.mean == pytest.approx(0.002)
    assert 0 < found.low < found.mean < found.high
    assert found.first < found.decided_on < found.last
    said = sluice("promote", bundle[:10], *facts())
    assert "the challenger is better, decided on" in said
    assert registry_of(settings).active().bundle == bundle
    assert registry_of(settings).active(CHALLENGER) is None  # its seat is free


def test_a_challenger_that_is_not_better_needs_a_reason_that_stays_on_record(sluice, settings):
    bundle = add_bundle(settings)
    sluice("challenge", bundle[:10], *facts())
    shadow_days(settings, bundle, edge=-0.002)
    assert "the champion is better, decided on" in sluice("compare")
    assert "not shown to be better" in sluice("promote", bundle[:10], *facts(), status=1)
    sluice("promote", bundle[:10], *facts(), "--despite", "the champion's vendor closes")
    assert "promoted despite that: the champion's vendor closes" in (
        registry_of(settings).active().why
    )


def test_the_champion_does_not_challenge_itself_nor_a_bundle_of_other_names(sluice, settings):
    champion = registry_of(settings).active().bundle
    assert "is the champion itself" in sluice("challenge", champion[:10], *facts(), status=1)
    signer = load_signer(settings.workspace / "keys" / "signing.key")
    other = tilt_bundle(settings.bundles, signer, manifest=tilt_manifest(feature=FEATURE))
    refused = sluice("challenge", other.name[:10], *facts(), status=1)
    assert "trades AAA, BBB, CCC, DDD, which the champion does not" in refused


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


def test_a_promotion_with_other_words_than_the_registry_s_does_not_decide(settings):
    """Somebody who can write the database still cannot seat what nobody signed."""
    registry = registry_of(settings)
    trusted = load_trusted(settings.trusted_keys)
    first = registry.active().bundle
    signed = load_bundle(settings.bundles / first, trusted).signature
    forged = msgspec.structs.replace(signed, version=2, stage="production")
    registry.activate(
        Promoted(study="tilt", bundle=first, version=2, stage="production", promotion=forged),
        at=datetime(2017, 6, 1, tzinfo=UTC),
        **FACTS,
    )
    live = open_live(settings, monotonic=lambda: 0.0, prove=prove_here)
    live.health.look()
    assert "was not made by 'alice' over these facts" in live.seat.refused
    assert canonical(forged) != canonical(signed)
