"""The yearly review of the limits: who looked at which policy, and when the next look is due."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

# market-rules, section 11; 17 CFR 240.15c3-5(e)(1): "no less frequently than annually".
WITHIN = timedelta(days=365)


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A person has looked at every limit in force."""

    number: int  # of the policy
    hash: str
    by: str
    why: str  # what came of it, in words
    at: datetime  # UTC


def due(begun: datetime, reviews: Sequence[Review]) -> datetime:
    """Return when the next review has to be on record: a year after the last, or the first policy.

    Args:
        begun: when the first policy came into force.
        reviews: oldest first. A change of policy is none: it looks at what it changes.
    """
    return (reviews[-1].at if reviews else begun) + WITHIN
