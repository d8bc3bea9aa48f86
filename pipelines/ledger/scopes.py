"""On which data a study asks its question, and how often that question was tried."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """On which data a question was asked; what a declaration leaves out overlaps with anything."""

    universe: str | None
    price_feature: str | None
    first: str  # research window, ISO days, both included
    last: str

    def meets(self, other: "Scope") -> bool:
        """Say whether trials of both scopes have looked at the same days of the same prices."""
        same = (self.universe, self.price_feature) == (other.universe, other.price_feature)
        return same and self.first <= other.last and other.first <= self.last


def scope_of(declaration: Mapping[str, Any]) -> Scope:
    """Return the scope that a study declares."""
    return _scope(declaration, "research")


def sealed_of(declaration: Mapping[str, Any]) -> Scope:
    """Return a study's holdout as a scope: who researched there has seen it."""
    return _scope(declaration, "holdout")


def _scope(declaration: Mapping[str, Any], window: str) -> Scope:
    first, last = _window(declaration, window)
    return Scope(
        universe=declaration.get("universe"),
        price_feature=declaration.get("price_feature"),
        first=first,
        last=last,
    )


def holdout_of(declaration: Mapping[str, Any]) -> tuple[str, str]:
    """Return first and last day of a study's holdout, ISO, both included."""
    return _window(declaration, "holdout")


def _window(declaration: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Return a declared window; what is not declared reaches from before to after every day."""
    window = declaration.get(name)
    days = list(map(str, window)) if isinstance(window, list | tuple) else []
    return (days[0], days[1]) if len(days) == 2 else ("", "~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """How often a question was tried. N is a range where reads left no trial behind."""

    studies: tuple[str, ...]  # every name the question was asked under, the study itself first
    trials: int  # the study's configurations, and those of the others that earned differently
    runs: int  # notebook runs of this question that left no trial
    leases: int = 0  # kernels that read the question's data and recorded no trial

    @property
    def at_least(self) -> int:
        """Return the tries that are proved."""
        return self.trials + self.runs

    @property
    def at_most(self) -> int:
        """Return N as it is judged: what was read and not recorded counts as tried."""
        return self.at_least + self.leases
