"""The bundle that decides here: verified before it sits down, and kept while a newer one fails.

What was refused is tried again after a while, so a bundle that was repaired sits down by itself.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

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


B = TypeVar("B", bound=Seated)

RETRY = 15.0  # seconds until a refused bundle is verified again; proving one takes about one


@dataclass(slots=True)
class Seat(Generic[B]):
    """One seat of the registry as this process fills it."""

    registry: History
    load: Callable[[str], B]  # bundle hash -> the bundle; BundleRefused if it does not verify
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
        if self.sitting is not None and self.sitting.hash == active.bundle:
            self.refused = ""
            return self.sitting
        waited = self.monotonic() - self._tried_at
        if active.bundle == self._tried and waited < RETRY:
            return self.sitting
        reason = self._try(active.bundle)
        self.refused, self._tried = (reason, active.bundle) if reason else ("", "")
        self._tried_at = self.monotonic()
        if reason and self.sitting is None:
            self._fall_back(active.bundle)
        return self.sitting

    def _try(self, bundle: str) -> str:
        try:
            self.sitting = self.load(bundle)
        except (BundleRefused, KeyUnusable) as error:
            return f"bundle {bundle[:12]} is refused: {error}"
        return ""

    def _fall_back(self, refused: str) -> None:
        earlier = [change.bundle for change in self.registry.history(self.role)]
        for bundle in dict.fromkeys(reversed(earlier)):
            if bundle != refused and not self._try(bundle):
                return
