"""Bundles as origins: each proved once, then answering where a decision comes from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from runtime.bundles.contract import canonical
from runtime.bundles.signing import TrustedKeys, verify_signature
from runtime.chain import ChainedLog
from runtime.decoding import from_json
from runtime.errors import BundleRefused
from runtime.registry import Change
from service.trading.proof import Proved

LEDGER = "ledger"  # the ledger's chained table
LEASES = "ledger_leases"  # reads of research data, a chain beside it
TRIAL_OPENED = "trial opened"  # kind of entry; its key is "<trial key>/<attempt>"


class OpenedTrial(msgspec.Struct, frozen=True):
    """The part of a ledger entry that leads on: which run opened the trial."""

    run: str | None = None
    notebook: str = ""


@dataclass(slots=True)
class Shelf:
    """Bundles by hash; each is proved when first asked for."""

    folder: Path  # one folder per bundle hash
    trusted: Callable[[], TrustedKeys]
    prove: Callable[[Path, TrustedKeys], Proved]
    _kept: dict[str, Proved] = field(default_factory=dict)

    def bundle(self, bundle: str) -> Proved:
        """Return one bundle; BundleRefused names the file that does not verify."""
        kept = self._kept.get(bundle)
        if kept is None:
            kept = self._kept[bundle] = self.prove(self.folder / bundle, self.trusted())
        return kept

    def seated(self, change: Change) -> Proved:
        """Return the bundle that a change put into a seat, under the signature it names.

        A bundle that was proved once is not proved again for another promotion of its bytes.

        Raises:
            BundleRefused: names the file that does not verify, or the promotion.
        """
        kept = self.bundle(change.bundle)
        if change.promotion is None:
            if kept.version != change.version:  # signed anew since it was proved
                del self._kept[change.bundle]
                kept = self.bundle(change.bundle)
            return kept
        signature = verify_signature(canonical(change.promotion), self.trusted())
        if signature.manifest_hash != kept.hash:
            raise BundleRefused(f"signature: promotes bundle {signature.manifest_hash[:12]}")
        if signature.stage == "production" and kept.manifest.stage != "production":
            raise BundleRefused(
                f"signature: allows production, the gates allowed {kept.manifest.stage}"
            )
        return msgspec.structs.replace(kept, signature=signature)


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The ledger as the live service sees it: which run opened a trial, nothing more."""

    log: ChainedLog

    @classmethod
    def over(cls, engine: Engine) -> "LedgerView":
        """View the ledger of a database."""
        return cls(ChainedLog(engine, LEDGER))

    def opened(self, trial: str) -> tuple[OpenedTrial, str] | None:
        """Return who first opened a trial and when (ISO 8601, UTC); None if it is not recorded."""
        entry = self.log.find(TRIAL_OPENED, f"{trial}/1")
        if entry is None:
            return None
        return from_json(entry.payload, OpenedTrial), entry.at.isoformat()
