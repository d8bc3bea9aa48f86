"""Risk of a recorded trial: value at risk and its tests, drawdowns, exposures, stress windows."""

from pipelines.risk.coverage import Coverage, independence_test, kupiec_test
from pipelines.risk.drawdown import Episode, drawdown_episodes
from pipelines.risk.exposure import effective_names, rolling_beta
from pipelines.risk.stress import STRESS_WINDOWS, StressWindow, stressed
from pipelines.risk.tail import (
    TailForecast,
    ewma_volatility,
    expected_shortfall,
    filtered_forecast,
    historical_forecast,
    normal_forecast,
    value_at_risk,
)

__all__ = [
    "STRESS_WINDOWS",
    "Coverage",
    "Episode",
    "StressWindow",
    "TailForecast",
    "drawdown_episodes",
    "effective_names",
    "ewma_volatility",
    "expected_shortfall",
    "filtered_forecast",
    "historical_forecast",
    "independence_test",
    "kupiec_test",
    "normal_forecast",
    "rolling_beta",
    "stressed",
    "value_at_risk",
]
