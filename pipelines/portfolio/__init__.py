"""From views and risks to weights: every optimisation ends in weights or in a named failure."""

from pipelines.portfolio.allocation import Allocation, Failure
from pipelines.portfolio.budgets import equal_risk, risk_budget, risk_contributions
from pipelines.portfolio.caps import Limits, capped
from pipelines.portfolio.optimisers import hierarchical, mean_variance, minimum_variance
from pipelines.portfolio.trading import TradingCosts, trading_costs

__all__ = [
    "Allocation",
    "Failure",
    "Limits",
    "TradingCosts",
    "capped",
    "equal_risk",
    "hierarchical",
    "mean_variance",
    "minimum_variance",
    "risk_budget",
    "risk_contributions",
    "trading_costs",
]
