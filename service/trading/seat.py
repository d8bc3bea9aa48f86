"""The bundle that decides here: verified before it sits down, and kept while a newer one fails.

What was refused is tried again after a while, so a bundle that was repaired sits down by itself.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from runtime.bundles.contract import Signature
from runtime.errors import BundleRefused, KeyUnusable
from runtime.registry import CHAMPION, Change


class History(Protocol):
    """Whatever remembers which bundles sat in a seat."""

    def active(self, role: str = CHAMPION) -> Change | None:
        """Return what should sit in the seat."""
        ...

    def history(self, role: str | None = None) -> tuple[Change, ...]:
        """Return all changes, oldest first."""
        ...


class Seated(Protocol):
    """A bundle that verified, loaded or not."""

    @property
    def hash(self) -> str:
        """Return the bundle's name."""
        ...

    @property
    def signature(self) -> Signature:
        """Return the signature that allows it."""
        ...


B = TypeVar("B", bound=Seated)

RETRY = 15.0  # seconds until a refused bundle is verified again; proving one takes about one


@dataclass(slots=True)
class Seat(Generic[B]):
    """One seat of the registry as this process fills it."""

    registry: History
    load: Callable[[Change], B]  # BundleRefused if what the change names does not verify
    role: str = CHAMPION
    sitting: B | None = None
    refused: str = ""  # why the bundle that should sit here does not; empty if it does
    monotonic: Callable[[], float] = time.monotonic  # seconds
    _tried: str = field(default="")  # hash that was refused last
    _tried_at: float = field(default=0.0)  # seconds, monotonic

    def refresh(self) -> B | None:
        """Follow the registry: seat what is active, or keep what sits here and say why.

        On a cold start with a refused bundle the newest earlier one that verifies is seated.
        """
        active = self.registry.active(self.role)
        if active is None:
            self.sitting, self.refused = None, ""
            return None
        if self.sitting is not None and _allows(self.sitting, active):
            self.refused = ""
            return self.sitting
        waited, name = self.monotonic() - self._tried_at, f"{active.bundle} {active.version}"
        if name == self._tried and waited < RETRY:
            return self.sitting
        reason = self._try(active)
        self.refused, self._tried = (reason, name) if reason else ("", "")
        self._tried_at = self.monotonic()
        if reason and self.sitting is None:
            self._fall_back(active.bundle)
        return self.sitting

    def _try(self, change: Change) -> str:
        try:
            found = self.load(change)
        except (BundleRefused, KeyUnusable) as error:
            return f"bundle {change.bundle[:12]} is refused: {error}"
        if not _allows(found, change):
            signed = found.signature
            return (
                f"bundle {change.bundle[:12]} is refused: signature: allows version "
                f"{signed.version} in {signed.stage}, the registry activated version "
                f"{change.version} in {change.stage}; another signature was put in its place"
            )
        self.sitting = found
        return ""

    def _fall_back(self, refused: str) -> None:
        history = self.registry.history(self.role)
        earlier = {one.bundle: one for one in history if one.action != "retire"}
        for change in sorted(earlier.values(), key=history.index, reverse=True):
            if change.bundle != refused and not self._try(change):
                return


def _allows(bundle: Seated, change: Change) -> bool:
    """Say whether a bundle is the one that a change put there, by the signature it names."""
    signed = bundle.signature
    return (bundle.hash, signed.version, signed.stage) == (
        change.bundle,
        change.version,
        change.stage,
    )
