"""Promoting, rolling back and sharing capital over the command line, and what is not allowed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec

from runtime.bundles.bundle import load_bundle
from runtime.bundles.contract import canonical
from runtime.bundles.signing import load_trusted
from runtime.registry import Promoted
from service.trading.proof import prove_here
from service.wiring import open_live
from tests.service.registry.seats import FACTS, add_bundle, facts, registry_of


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
