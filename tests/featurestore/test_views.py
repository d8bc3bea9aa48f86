"""A view's declaration is a contract: nonsense is refused, any change of it changes its hash."""

from dataclasses import replace
from datetime import timedelta

import pytest

from featurestore.errors import ContractBroken, ViewUnknown
from featurestore.sources.embedded import EMBEDDED_VIEWS, US_EQUITIES
from featurestore.universes import US_LARGE_CAPS, universe
from featurestore.views import Field, decode_view, split_feature


@pytest.mark.parametrize("view", EMBEDDED_VIEWS, ids=lambda view: view.name)
def test_a_view_survives_being_written_down(view):
    assert decode_view(view.encoded()) == view


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"entity": "isin"},
        {"fields": (Field(name="close", unit="USD"),)},
        {"calendar": None},
        {"availability": timedelta(microseconds=1)},
        {"freshness": timedelta(days=6)},
        {"owner": "someone"},
        {"description": "else"},
        {"source": "elsewhere"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_of_the_declaration_changes_the_version_hash(change):
    assert replace(US_EQUITIES, **change).version_hash != US_EQUITIES.version_hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "US Equities"}, "must be lower case"),
        ({"fields": ()}, "needs fields with distinct names"),
        ({"fields": (Field(name="a", unit="x"),) * 2}, "needs fields with distinct names"),
        ({"availability": timedelta(-1)}, "availability must not be negative"),
        ({"freshness": timedelta(0)}, "freshness positive"),
        ({"calendar": "XMARS"}, "no session table for 'XMARS'; packaged are: XBOM"),
    ],
)
def test_nonsense_in_a_view_is_refused(change, message):
    with pytest.raises(ContractBroken, match=message):
        replace(US_EQUITIES, **change)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "known_at"}, "field name 'known_at' must be"),
        ({"name": "Close"}, "field name 'Close' must be"),
        ({"name": "a", "dtype": "text"}, "dtype 'text' is not float64 or int64"),
        ({"name": "a", "low": 2.0, "high": 1.0}, "low 2.0 exceeds high 1.0"),
    ],
)
def test_nonsense_in_a_field_is_refused(given, message):
    with pytest.raises(ContractBroken, match=message):
        Field(unit="x", **given)


@pytest.mark.parametrize("feature", ["close", ".close", "us_equities.", "a.b.c", ""])
def test_a_feature_is_written_view_dot_field(feature):
    with pytest.raises(ViewUnknown, match=r"must be written view\.field"):
        split_feature(feature)


def test_the_universe_of_large_caps_owns_up_to_being_survivors():
    caps = universe("us_large_caps")
    assert caps is US_LARGE_CAPS
    assert len(set(caps.symbols)) == 20
    assert caps.survivors
    assert "Survivors" in caps.note
    with pytest.raises(ViewUnknown, match="no universe 'mars'; there are: us_large_caps"):
        universe("mars")
