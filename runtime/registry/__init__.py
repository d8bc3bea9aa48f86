"""Which bundle sits in which seat, with how much capital, under which bands, since when."""

from runtime.registry.changes import (
    CHALLENGER,
    CHAMPION,
    RESERVE,
    Action,
    Allocation,
    Change,
    Comparison,
    Promoted,
    check_role,
)
from runtime.registry.store import Registry

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "RESERVE",
    "Action",
    "Allocation",
    "Change",
    "Comparison",
    "Promoted",
    "Registry",
    "check_role",
]
