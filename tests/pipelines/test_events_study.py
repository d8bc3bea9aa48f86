"""Event studies against statsmodels, event by event and cluster by cluster."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.tools.tools import add_constant

from pipelines.errors import EventStudyInvalid
from pipelines.events import Span, clustered_mean, clustered_ols, market_model_study

SPAN, ESTIMATION = Span(first=-3, last=5), Span(first=-120, last=-11)


@pytest.fixture(scope="module")
def market_data():
    """Seven symbols on a common market; four event days are shared by several symbols."""
    generator = np.random.default_rng(11)
    market = generator.normal(0.0003, 0.01, 900)
    betas = generator.uniform(0.5, 1.5, 7)
    returns = 0.0001 + market[:, None] * betas + generator.normal(0, 0.015, (900, 7))
    rows = np.array([200, 200, 200, 321, 400, 400, 555, 640, 640, 641, 801])
    columns = np.array([0, 1, 2, 3, 0, 4, 5, 6, 1, 2, 3])
    returns[rows, columns] += 0.03
    return returns, market, rows, columns


@pytest.fixture(scope="module")
def study(market_data):
    returns, market, rows, columns = market_data
    return market_model_study(
        returns, market, rows, columns=columns, span=SPAN, estimation=ESTIMATION
    )


def test_every_market_model_is_statsmodels(study, market_data):
    returns, market, rows, columns = market_data
    for event, (row, column) in enumerate(zip(rows, columns, strict=True)):
        before = np.arange(row - 120, row - 10)
        during = np.arange(row - 3, row + 6)
        fit = OLS(returns[before, column], add_constant(market[before])).fit()
        found = [study.alpha[event], study.beta[event], study.residual_deviation[event]]
        assert found == pytest.approx([*fit.params, np.sqrt(fit.mse_resid)], rel=1e-10)
        forecast = fit.get_prediction(add_constant(market[during]))
        expected = returns[during, column] - forecast.predicted_mean
        np.testing.assert_allclose(study.abnormal[event], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            study.forecast_deviation[event], forecast.se_obs, rtol=1e-10, atol=0
        )


@pytest.mark.parametrize("by", ["event", "day", "event and day"])
def test_the_clustered_covariance_is_statsmodels(study, by):
    events, days = study.abnormal.shape
    design = np.tile(np.eye(days), (events, 1))
    event = np.repeat(np.arange(events), days)
    day = (study.rows[:, None] + np.arange(-3, 6)).ravel()
    groups = {"event": event, "day": day, "event and day": np.column_stack((event, day))}[by]
    fit = OLS(study.abnormal.ravel(), design).fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = study.regression(by)
    np.testing.assert_allclose(found.coefficients, fit.params, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(found.covariance, fit.cov_params(), rtol=1e-10, atol=1e-17)


@pytest.mark.parametrize("by", ["event", "day"])
def test_the_mean_car_and_its_p_value_are_statsmodels(study, by):
    events, days = study.abnormal.shape
    design = np.tile(np.eye(days), (events, 1))
    event = np.repeat(np.arange(events), days)
    day = (study.rows[:, None] + np.arange(-3, 6)).ravel()
    fit = OLS(study.abnormal.ravel(), design).fit(
        cov_type="cluster", cov_kwds={"groups": event if by == "event" else day}, use_t=True
    )
    test = fit.t_test(np.ones(days))
    expected = [float(np.squeeze(v)) for v in (test.effect, test.sd, test.pvalue)]
    assert study.mean_car(by) == pytest.approx(expected, rel=1e-10)


def test_a_general_regression_is_statsmodels_too():
    generator = np.random.default_rng(4)
    X = add_constant(generator.normal(size=(300, 3)))
    firms, years = generator.integers(0, 25, 300), generator.integers(0, 12, 300)
    y = (
        X @ [1.0, 2.0, 0.0, -1.0]
        + generator.normal(size=300)
        + 0.5 * generator.normal(size=25)[firms]
    )
    fit = OLS(y, X).fit(cov_type="cluster", cov_kwds={"groups": np.column_stack((firms, years))})
    found = clustered_ols(y, X, firms, years)
    np.testing.assert_allclose(found.covariance, fit.cov_params(), rtol=1e-10)


def test_copies_of_one_event_add_no_confidence_when_clustered_by_event():
    values = np.random.default_rng(1).normal(size=40)
    alone = clustered_mean(values, np.arange(40)).covariance[0, 0]
    copied = clustered_mean(np.repeat(values, 5), np.repeat(np.arange(40), 5)).covariance[0, 0]
    assert copied == pytest.approx(alone, rel=0.01)


def test_the_planted_jump_is_found_on_its_day(study):
    estimate, _, p_value = study.mean_car("event", within=Span(first=0, last=0))
    assert estimate == pytest.approx(0.03, abs=0.015)
    assert p_value < 0.01
    assert study.mean_car("event", within=Span(first=1, last=5))[2] > 0.05
    assert study.mean_path[-1] == pytest.approx(study.cars.mean())


def test_the_standardised_test_is_a_one_sample_t_test_of_scaled_cars(study):
    scaled = study.cars / np.sqrt((study.forecast_deviation**2).sum(axis=1))
    expected = stats.ttest_1samp(scaled, 0.0)
    assert study.standardised() == pytest.approx((expected.statistic, expected.df), rel=1e-12)


def test_under_the_null_the_test_by_day_keeps_its_size():
    """Events on common days share a shock: clustering by event alone would reject too often."""
    rejected = {"event": 0, "day": 0}
    for seed in range(150):
        generator = np.random.default_rng(seed)
        shared = generator.normal(size=(400, 1)) * 0.01
        returns = shared + generator.normal(0, 0.01, (400, 10))
        rows = np.repeat(np.arange(150, 390, 8), 10)
        found = market_model_study(
            returns,
            generator.normal(0, 0.01, 400),
            rows,
            columns=np.tile(np.arange(10), 30),
            span=Span(first=0, last=0),
            estimation=Span(first=-100, last=-1),
        )
        for by in rejected:
            rejected[by] += found.mean_car(by)[2] < 0.05
    assert rejected["day"] <= 16  # 5 % of 150, and three standard errors
    assert rejected["event"] > 45


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": [50]}, "event 0 on row 50 needs rows -70 to 55"),
        ({"rows": [200], "estimation": Span(first=-120, last=-3)}, "leave the event out"),
        ({"rows": [700]}, "event 0 on row 700: a return is missing"),
        (
            {"rows": [200, 200], "columns": [0, -1]},
            "event 1 is of column -1; the returns have 0 to 0",
        ),
        ({"rows": [200], "columns": 1}, "event 0 is of column 1"),
    ],
)
def test_events_without_their_data_are_named(changes, words):
    returns = np.random.default_rng(0).normal(size=900)
    returns[702] = np.nan
    asked = {"span": SPAN, "estimation": ESTIMATION} | changes
    with pytest.raises(EventStudyInvalid, match=words):
        market_model_study(returns, np.random.default_rng(1).normal(size=900), **asked)


def test_one_event_or_events_that_moved_alike_have_no_standardised_test(market_data):
    returns, market, _, _ = market_data
    asked = {"span": SPAN, "estimation": ESTIMATION}
    with pytest.raises(EventStudyInvalid, match="two or more events"):
        market_model_study(returns, market, [200], **asked).standardised()
    with pytest.raises(EventStudyInvalid, match="all events moved alike"):
        market_model_study(returns, market, [200, 200], **asked).standardised()


def test_one_cluster_is_no_evidence():
    with pytest.raises(EventStudyInvalid, match="one cluster"):
        clustered_mean([1.0, 2.0, 3.0], [0, 0, 0])
