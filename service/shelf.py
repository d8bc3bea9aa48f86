"""Bundles as origins: verified once, then answering where a decision comes from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from runtime.bundle import verify_bundle
from runtime.chain import ChainedLog
from runtime.contract import Manifest, Signature
from runtime.errors import BundleRefused
from runtime.signing import TrustedKeys
from service.answers import CellAnswer

LEDGER = "ledger"  # the ledger's chained table
TRIAL_OPENED = "trial opened"  # kind of entry; its key is "<trial key>/<attempt>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """What the way back needs of one bundle."""

    hash: str
    manifest: Manifest
    signature: Signature
    cell: CellAnswer


class OpenedTrial(msgspec.Struct, frozen=True):
    """The part of a ledger entry that leads on: which run opened the trial."""

    run: str | None = None
    notebook: str = ""


@dataclass(slots=True)
class Shelf:
    """Bundles by hash; each is verified when first asked for."""

    folder: Path  # one folder per bundle hash
    trusted: Callable[[], TrustedKeys]
    _kept: dict[str, Shelved] = field(default_factory=dict)

    def bundle(self, bundle: str) -> Shelved:
        """Return one bundle; BundleRefused names the file that does not verify."""
        kept = self._kept.get(bundle)
        if kept is None:
            verified = verify_bundle(self.folder / bundle, self.trusted())
            kept = Shelved(
                hash=verified.hash,
                manifest=verified.manifest,
                signature=verified.signature,
                cell=deciding_cell(verified.manifest, verified.files["notebook.ipynb"]),
            )
            self._kept[bundle] = kept
        return kept


def deciding_cell(manifest: Manifest, notebook: bytes) -> CellAnswer:
    """Return the source of the cell that decides, and the heading it stands under.

    Raises:
        BundleRefused: the notebook cannot be read or has no such code cell.
    """
    index = manifest.decide_cell
    try:
        cells: list[Any] = msgspec.json.decode(notebook)["cells"]
        cell = cells[index]
        if index < 0 or cell["cell_type"] != "code":
            raise IndexError(index)
        headings = (_heading(one) for one in reversed(cells[:index]))
        return CellAnswer(
            notebook=manifest.notebook,
            notebook_hash=manifest.notebook_hash,
            cell=index,
            source=_text(cell["source"]),
            heading=next((heading for heading in headings if heading), ""),
        )
    except (msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
        raise BundleRefused(
            f"notebook.ipynb: has no code cell {index}, which the manifest says decides"
        ) from error


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def _heading(cell: dict[str, Any]) -> str:
    if cell.get("cell_type") != "markdown":
        return ""
    lines = _text(cell.get("source", "")).splitlines()
    return next((ln.lstrip("# ").strip() for ln in reversed(lines) if ln.startswith("#")), "")


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
        return msgspec.json.decode(entry.payload, type=OpenedTrial), entry.at.isoformat()
