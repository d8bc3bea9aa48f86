"""A decision asks how old everything is that its features are computed from."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from featurestore.features import library as f
from featurestore.universes import US_LARGE_CAPS
from runtime.bundles.inputs import CurrentWeights, Latest, SharedReads, Window
from runtime.joint.proposal import feature_ages

CLOSE = "us_equities.close"


def test_the_age_of_a_computed_feature_is_that_of_each_source(market):
    oil = f.exposure(CLOSE, "us_index.close[SP500]", "wti.price[WTI]", lag=9)
    inputs = {
        "prices": Window(feature=CLOSE, length=5),
        "oil": Latest(feature=oil.name),
        "strength": Latest(feature=f.rank(f.momentum(CLOSE)).name),
        "held": CurrentWeights(),
    }
    bundle = SimpleNamespace(manifest=SimpleNamespace(symbols=US_LARGE_CAPS.symbols), inputs=inputs)
    allowed = {"wti": timedelta(days=21)}
    at = datetime(2016, 12, 30, 21, tzinfo=UTC)
    ages = feature_ages(bundle, SharedReads(market, at), allowed, at)
    assert set(ages) == {CLOSE, "us_index.close[SP500]", "wti.price[WTI]"}
    assert ages[CLOSE].known_at == datetime(2016, 12, 30, 21, tzinfo=UTC)
    assert ages[CLOSE].allowed is None
    assert ages["wti.price[WTI]"].known_at == datetime(2016, 12, 30, tzinfo=UTC)
    assert ages["wti.price[WTI]"].allowed == 21 * 86_400
