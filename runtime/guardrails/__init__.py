"""Eight pre-trade checks in a fixed order, failing closed (market-rules, section 11)."""

from runtime.guardrails.context import Context, FeatureAge, Standing
from runtime.guardrails.judge import CHECKS, Judged, judge
from runtime.guardrails.protections import Close
from runtime.market.states import MarketState, Published

__all__ = [
    "CHECKS",
    "Close",
    "Context",
    "FeatureAge",
    "Judged",
    "MarketState",
    "Published",
    "Standing",
    "judge",
]
