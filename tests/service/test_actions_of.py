"""An account books the lake's splits and dividends only where its prices do not carry them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from featurestore.actions import actions_view
from runtime.bundles.inputs import Window
from runtime.errors import BundleRefused
from runtime.journal.actions import Split
from service.trading.actions import actions_of
from tests.fakes.graphs import tilt_manifest
from tests.featurestore.test_actions import RAW, SESSIONS, action, store_of

OTHER = actions_view("spin_offs", owner="tests", description="Others.", source="tests")


def told(reader, manifest):
    """What is known on the last session of a split of its third."""
    found = actions_of(reader, manifest)
    if found is None:
        return None
    asked = {"AAA": SESSIONS[0].open}
    return [
        (one.symbol, one.effective)
        for one in found(
            asked, after=SESSIONS[0].open, until=SESSIONS[9].open, at=SESSIONS[9].close
        )
        if isinstance(one, Split)
    ]


def reads(manifest, feature: str):
    """A manifest whose first input is a window of a feature."""
    first = msgspec.structs.replace(manifest.inputs[0], source=Window(feature=feature, length=2))
    return msgspec.structs.replace(manifest, inputs=(first, *manifest.inputs[1:]))


def test_the_embedded_prices_carry_their_actions_already(market_lake):
    manifest = tilt_manifest(("AAPL",), feature="us_equities.close")
    reader = market_lake.store.reader(market_lake.snapshot)
    assert actions_of(reader, manifest) is None


def test_prices_as_traded_take_the_only_view_or_the_one_that_the_bundle_names(tmp_path):
    store = store_of(tmp_path, {"AAA": [10.0] * 10}, action("AAA", 3, split=2.0))
    manifest = tilt_manifest(("AAA",), feature="raw.close")
    expected = [("AAA", SESSIONS[3].open)]
    assert told(store.reader(store.snapshot()), manifest) == expected
    store.apply(OTHER)
    reader = store.reader(store.snapshot())
    with pytest.raises(BundleRefused, match=r"actions, spin_offs; read raw\.close@VIEW"):
        actions_of(reader, manifest)
    assert told(reader, reads(manifest, "raw.close@actions")) == expected
    assert told(reader, reads(manifest, "raw.close@spin_offs")) is None, "it holds nothing yet"


def test_a_lake_without_actions_and_a_price_that_says_it_is_adjusted_book_nothing(tmp_path):
    adjusted = replace(
        RAW, name="ready", fields=(replace(RAW.fields[0], unit="USD per share, adjusted"),)
    )
    store = store_of(tmp_path, {"AAA": [10.0]}, action("AAA", 3, split=2.0))
    store.apply(adjusted)
    reader = store.reader(store.snapshot())
    assert actions_of(reader, tilt_manifest(("AAA",), feature="ready.close")) is None
    empty = store_of(tmp_path / "empty", {"AAA": [10.0]})
    manifest = tilt_manifest(("AAA",), feature="raw.close")
    assert actions_of(empty.reader(empty.snapshot()), manifest) is None
