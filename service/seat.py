"""The bundle that decides here: verified before it sits down, and kept while a newer one fails."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runtime.bundle import LoadedBundle, load_bundle
from runtime.errors import BundleRefused, KeyUnusable
from runtime.registry import CHAMPION, Change
from runtime.signing import TrustedKeys


class History(Protocol):
    """Whatever remembers which bundles sat in a seat."""

    def active(self, role: str = CHAMPION) -> Change | None:
        """Return what should sit in the seat."""
        ...

    def history(self, role: str | None = None) -> tuple[Change, ...]:
        """Return all changes, oldest first."""
        ...


Load = Callable[[Path, TrustedKeys], LoadedBundle]


def load(path: Path, trusted: TrustedKeys) -> LoadedBundle:
    """Verify a bundle completely; BundleRefused names the file."""
    return load_bundle(path, trusted)


@dataclass(slots=True)
class Seat:
    """One seat of the registry as this process fills it."""

    registry: History
    bundles: Path  # folder with one folder per bundle hash
    trusted: Callable[[], TrustedKeys]
    role: str = CHAMPION
    load: Load = load
    sitting: LoadedBundle | None = None
    refused: str = ""  # why the bundle that should sit here does not; empty if it does
    _tried: str = field(default="")  # hash that was refused last

    def refresh(self) -> LoadedBundle | None:
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
        if active.bundle == self._tried and self.sitting is not None:
            return self.sitting
        reason = self._try(active.bundle)
        self.refused, self._tried = (reason, active.bundle) if reason else ("", "")
        if reason and self.sitting is None:
            self._fall_back(active.bundle)
        return self.sitting

    def _try(self, bundle: str) -> str:
        try:
            self.sitting = self.load(self.bundles / bundle, self.trusted())
        except (BundleRefused, KeyUnusable) as error:
            return f"bundle {bundle[:12]} is refused: {error}"
        return ""

    def _fall_back(self, refused: str) -> None:
        earlier = [change.bundle for change in self.registry.history(self.role)]
        for bundle in dict.fromkeys(reversed(earlier)):
            if bundle != refused and not self._try(bundle):
                return
