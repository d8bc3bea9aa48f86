"""A challenger beside the champion: compared day by day, promoted once the test is for it."""

from __future__ import annotations

import msgspec
import pytest

from runtime.bundles.signing import load_signer
from runtime.registry import CHALLENGER, Comparison
from service.operator.seats import CompareAnswer
from tests.fakes.graphs import tilt_bundle, tilt_manifest
from tests.fakes.trading import FEATURE
from tests.service.registry.seats import add_bundle, facts, registry_of, shadow_days


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
