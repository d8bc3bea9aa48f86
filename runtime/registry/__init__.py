"""Which bundle sits in which seat, with how much capital, under which bands, since when."""

from runtime.registry.changes import (
    CHALLENGER,
    CHAMPION,
    RESERVE,
    Action,
    Allocation,
    ArmTest,
    Change,
    Comparison,
    Promoted,
    check_role,
    judging,
)
from runtime.registry.store import Registry

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "RESERVE",
    "Action",
    "Allocation",
    "ArmTest",
    "Change",
    "Comparison",
    "Promoted",
    "Registry",
    "check_role",
    "judging",
]
