"""Eight pre-trade checks in a fixed order, failing closed (market-rules, section 11)."""

from runtime.guardrails.context import Context, FeatureAge, MarketState, Published, Standing
from runtime.guardrails.judge import CHECKS, Judged, judge

__all__ = [
    "CHECKS",
    "Context",
    "FeatureAge",
    "Judged",
    "MarketState",
    "Published",
    "Standing",
    "judge",
]
