"""Served values against the offline truth: every cause is told from the others; PSI, KS, alerts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from prometheus_client import CollectorRegistry, generate_latest
from scipy import stats
from scipy.special import kolmogorov

from featurestore.drift import drift, kolmogorov_smirnov, population_stability_index
from featurestore.errors import ContractBroken, HoldoutSealed
from featurestore.lake import Lake
from featurestore.online import materialize
from featurestore.skew import CAUSES, replay, served_values
from featurestore.skew_metrics import (
    METRICS,
    SkewMetrics,
    firing,
    load_rules,
    prometheus_rules,
)
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

T0 = datetime(2020, 1, 6, 21, tzinfo=UTC)
DAY = timedelta(days=1)
LEVEL = "rates.level"


def rates(description: str = "made up") -> FeatureView:
    return FeatureView(
        name="rates",
        entity="symbol",
        fields=(Field(name="level", unit="percent"),),
        freshness=5 * DAY,
        owner="tests",
        description=description,
        source="made up",
    )


def rows(*observed: tuple[str, datetime, datetime, int, float]) -> pl.DataFrame:
    columns = ["entity", "event_time", "known_at", "revision", "level"]
    return pl.DataFrame(list(observed), schema=columns, orient="row")


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    made = FeatureStore(Lake(str(tmp_path / "lake")))
    made.apply(rates())
    made.ingest("rates", rows(("A", T0, T0, 0, 1.0), ("B", T0, T0, 0, 2.0)))
    return made


def reader(store: FeatureStore):
    return store.reader(store.snapshot())


def served(store: FeatureStore, now: datetime = T0 + 2 * DAY):
    """What was served at `now` from a materialization an hour after T0."""
    online = materialize(reader(store), [LEVEL], ["A", "B"], at=T0 + timedelta(hours=1))
    return served_values(online.get_online_features([LEVEL], ["A", "B"], now=now))


def causes(report) -> list[tuple[str, str]]:
    return [(each.served.symbol, each.cause) for each in report.differences]


def test_values_that_the_lake_confirms_are_no_difference(store):
    report = replay(served(store), reader(store))
    assert (report.differences, report.compared) == ((), {LEVEL: 2})
    assert report.share(LEVEL) == 0.0


def test_a_newer_event_that_was_known_when_served_is_late_data(store):
    before = served(store)
    store.ingest("rates", rows(("A", T0 + DAY, T0 + DAY, 0, 1.5)))
    report = replay(before, reader(store))
    assert causes(report) == [("A", "late data")]
    assert "1.0, offline 1.5; served about 2020-01-06" in report.differences[0].detail
    assert report.share(LEVEL) == 0.5


def test_a_newer_event_that_was_not_known_yet_is_no_difference(store):
    before = served(store)
    store.ingest("rates", rows(("A", T0 + DAY, T0 + 3 * DAY, 0, 1.5)))
    assert replay(before, reader(store)).differences == ()


def test_a_restatement_of_the_same_event_is_a_revision_even_if_the_value_is_equal(store):
    before = served(store)
    store.ingest("rates", rows(("A", T0, T0 + DAY, 1, 1.1), ("B", T0, T0 + DAY, 1, 2.0)))
    report = replay(before, reader(store))
    assert causes(report) == [("A", "revision"), ("B", "revision")]
    assert "revised offline at 2020-01-07" in report.differences[0].detail


def test_fewer_bars_than_needed_or_no_number_is_a_warm_up(store):
    first, second = served(store)
    short = [replace(first, value=0.9, bars=3), replace(second, value=float("nan"))]
    report = replay(short, reader(store), required={LEVEL: 20})
    assert causes(report) == [("A", "warm-up"), ("B", "warm-up")]
    assert "computed from 3 bars, needs 20" in report.differences[0].detail


def test_rounding_on_the_same_inputs_is_float_order_and_more_is_code(store):
    first, second = served(store)
    odd = [replace(first, value=float(np.nextafter(1.0, 2.0))), replace(second, value=2.001)]
    report = replay(odd, reader(store), required={LEVEL: 1})
    assert causes(report) == [("A", "float order"), ("B", "code")]


def test_summing_in_another_order_is_really_found_as_float_order(store):
    random = np.random.default_rng(3).normal(size=1000)
    forward, backward = float(sum(random)), float(sum(random[::-1]))
    assert forward != backward
    latest = reader(store).latest(LEVEL, ["A"], at=T0 + DAY)
    truth = replace(latest, values=np.array([forward]))
    one = replace(served(store)[0], value=backward)
    report = replay([one], reader(store), latest=lambda *_: truth)
    assert causes(report) == [("A", "float order")]


def test_another_definition_is_code_before_anything_else_is_asked(store):
    before = [replace(each, value=7.0) for each in served(store)]
    store.apply(rates("reworded, and computed anew"))
    report = replay(before, reader(store))
    assert causes(report) == [("A", "code"), ("B", "code")]
    assert "served under definition" in report.differences[0].detail


def test_what_offline_did_not_know_is_early(store):
    first, second = served(store)
    ahead = [
        replace(first, event_time=first.event_time + 1),
        replace(second, symbol="UNHEARD"),
        replace(second, at=T0 - DAY),
    ]
    assert {cause for _, cause in causes(replay(ahead, reader(store)))} == {"early"}


def test_the_seal_holds_for_a_replay_too(store):
    sealed = store.reader(store.snapshot(), sealed_from=T0 + DAY)
    with pytest.raises(HoldoutSealed):
        replay(served(store), sealed)


def test_real_served_values_of_a_year_replay_without_a_difference(market):
    names, feature = ["NASDAQ", "SP500"], "us_index_bars.close"
    kept = []
    for week in range(52):
        at = datetime(2017, 1, 6, 22, tzinfo=UTC) + week * 7 * DAY
        online = materialize(market, [feature], names, at=at)
        kept += served_values(online.get_online_features([feature], names, now=at, stale="allow"))
    report = replay(kept, market)
    assert (report.compared, report.differences) == ({feature: 104}, ())
    assert report.drifts[feature].psi == report.drifts[feature].ks == 0.0


samples = hnp.arrays(
    np.float64,
    st.integers(5, 60),
    elements=st.floats(-5, 5).map(lambda x: round(x, 1)),  # ties are ordinary
)


@given(samples, samples)
def test_ks_is_scipys(first, second):
    d, p = kolmogorov_smirnov(first, second)
    assert d == pytest.approx(stats.ks_2samp(first, second, method="asymp").statistic, abs=1e-15)
    n, m = first.size, second.size
    assert p == pytest.approx(kolmogorov(d * np.sqrt(n * m / (n + m))), abs=1e-10)


def test_ks_meets_smirnovs_table():
    """Smirnov (1948): the limit's 5 % and 1 % points are 1.36 and 1.63."""
    n = 100_000
    grid = (np.arange(n) + 0.5) / n
    for point, level in ((1.36, 0.05), (1.63, 0.01)):
        shift = point * np.sqrt(2 / n)
        d, p = kolmogorov_smirnov(grid, grid + shift)
        assert d == pytest.approx(shift, abs=2 / n)
        assert p == pytest.approx(level, rel=0.03)


@given(samples, samples, st.integers(2, 12))
def test_psi_is_the_sum_of_both_divergences_of_scipy(first, second, bins):
    got = population_stability_index(first, second, bins=bins)
    inner = np.unique(np.quantile(first, np.linspace(0, 1, bins + 1)[1:-1]))
    edges = np.concatenate([[-np.inf], np.nextafter(inner, np.inf), [np.inf]])
    shares = [
        np.maximum(np.histogram(each, edges)[0] / each.size, 1e-4) for each in (first, second)
    ]
    both = stats.entropy(shares[1], shares[0]) + stats.entropy(shares[0], shares[1])
    assert got == pytest.approx(both, abs=1e-12)


def test_psi_of_a_worked_example_by_hand():
    """Halves become a fifth and four fifths: 0.3 ln(0.8/0.5) - 0.3 ln(0.2/0.5) = 0.4159."""
    expected = np.array([1.0, 1.0, 2.0, 2.0])
    actual = np.array([1.0, 2.0, 2.0, 2.0, 2.0])
    assert population_stability_index(expected, actual, bins=2) == pytest.approx(0.4159, abs=1e-4)


def test_drift_is_nothing_for_equal_samples_and_large_for_shifted_ones():
    random = np.random.default_rng(5)
    base = random.normal(size=4000)
    same, shifted = drift(base, random.normal(size=4000)), drift(base, base + 1)
    assert same.psi < 0.02 < 0.25 < shifted.psi
    assert shifted.p_value < 1e-9 < 0.01 < same.p_value
    with_holes = drift(np.append(base, [np.nan, np.inf]), base)
    assert (with_holes.psi, with_holes.expected) == (0.0, 4000)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: drift(np.array([np.nan]), np.ones(3)),
        lambda: drift(np.ones(3), np.array([])),
        lambda: population_stability_index(np.ones(3), np.ones(3), bins=1),
    ],
)
def test_samples_that_say_nothing_are_refused(ask):
    with pytest.raises(ContractBroken):
        ask()


def test_metrics_and_alerts_tell_what_the_replay_found(store):
    registry, metrics = CollectorRegistry(), SkewMetrics()
    registry.register(metrics)
    rules = load_rules()
    assert firing(metrics, rules) == ()
    metrics.observe(replay(served(store), reader(store)))
    assert firing(metrics, rules) == ()
    before = served(store)
    store.ingest("rates", rows(("A", T0 + DAY, T0 + DAY, 0, 1.5)))
    metrics.observe(replay(before, reader(store)))
    text = generate_latest(registry).decode()
    assert 'sluice_skew_differences{cause="late data",feature="rates.level"} 1.0' in text
    assert 'sluice_skew_share{feature="rates.level"} 0.5' in text
    assert text.count('feature="rates.level"} ') >= len(CAUSES)
    (alert,) = (each for each in firing(metrics, rules) if each.rule.name == "FeatureSkew")
    assert (alert.value, alert.labels) == (0.5, {"feature": LEVEL})


def test_drift_and_age_fire_their_rules(store):
    metrics, base = SkewMetrics(), np.random.default_rng(1).normal(size=500)
    metrics.observe_drift({LEVEL: drift(base, base + 2)})
    online = materialize(reader(store), [LEVEL], ["A", "B"], at=T0 + DAY)
    late = online.get_online_features([LEVEL], ["A"], now=T0 + 6 * DAY, stale="allow")
    metrics.observe_ages(late)
    alerts = {alert.rule.name: alert.value for alert in firing(metrics, load_rules())}
    assert alerts.keys() == {"FeatureDriftPsi", "FeatureDriftKs", "FeatureStale"}
    assert alerts["FeatureStale"] == pytest.approx(6 / 5)


def test_alert_rules_are_data_and_become_a_prometheus_group(tmp_path):
    rules = load_rules()
    assert {rule.metric for rule in rules} <= set(METRICS)
    (group,) = prometheus_rules(rules)["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [rule.name for rule in rules]
    assert group["rules"][1]["expr"] == "sluice_drift_psi > 0.25"
    path = tmp_path / "alerts.toml"
    for content in ("", "[[rule]]\nname = 'x'", "nonsense ="):
        path.write_text(content)
        with pytest.raises(ContractBroken, match=r"alerts\.toml cannot be read"):
            load_rules(path)
    one = {"name": "x", "for_minutes": 0, "severity": "page", "summary": "s"}
    lines = [f"{name} = {value!r}" for name, value in (one | {"metric": "no_such"}).items()]
    path.write_text("[[rule]]\nabove = 1.0\n" + "\n".join(lines))
    with pytest.raises(ContractBroken, match="not no_such"):
        load_rules(path)
