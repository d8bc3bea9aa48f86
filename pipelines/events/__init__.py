"""Event studies: abnormal returns around events, with standard errors that admit clusters."""

from pipelines.events.clusters import Clustered, clustered_mean, clustered_ols
from pipelines.events.study import EventStudy, Span, market_model_study

__all__ = [
    "Clustered",
    "EventStudy",
    "Span",
    "clustered_mean",
    "clustered_ols",
    "market_model_study",
]
