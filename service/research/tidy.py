"""`sluice features tidy`: join small files, delete what neither a run nor a bundle pins."""

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from featurestore.errors import LakeUnavailable
from featurestore.store import FeatureStore
from pipelines.workspace import open_workspace
from runtime.bundles.contract import DataSnapshot
from runtime.decoding import from_json
from service.console import Output
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


class Tidied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one table."""

    view: str
    files_before: int
    files_after: int
    deleted: int  # files that nobody pins any more
    pinned: tuple[int, ...]  # versions that stay readable besides the newest


class _Manifest(msgspec.Struct, frozen=True):
    """The part of a bundle's manifest that pins data."""

    snapshot: DataSnapshot


def tidy(settings: Settings, output: Output, *, older_than: timedelta) -> None:
    """Compact and vacuum every view; what workspace, leases and bundles pin stays readable."""
    workspace = open_workspace(settings.workspace, environ=os.environ)
    pins = workspace.ledger().reads.pinned()
    snapshots = [workspace.snapshot.versions, *_bundled(settings.bundles)]
    for versions in snapshots:
        for view, version in versions.items():
            pins.setdefault(view, set()).add(version)
    store = workspace.store()
    done = [_tidied(store, view.name, pins, older_than) for view in store.views()]
    held = [one for one in done if one is not None]
    output.answer(held, lambda console: _show(console, held))


def _bundled(folder: Path) -> list[dict[str, int]]:
    """Return the versions that bundles pin; LakeUnavailable if one does not say."""
    found = []
    for path in sorted(folder.glob("*/manifest.json")):
        try:
            found.append(from_json(path.read_bytes(), _Manifest).snapshot.versions)
        except msgspec.DecodeError as error:
            raise LakeUnavailable(
                f"{path} does not say which data it pins ({error}); nothing was deleted, restore "
                "the bundle or move its folder away"
            ) from error
    return found


def _tidied(
    store: FeatureStore, view: str, pins: dict[str, set[int]], older_than: timedelta
) -> Tidied | None:
    if store.lake.version(view) is None:
        return None
    before = store.lake.files(view)
    store.lake.compact(view)
    pinned = sorted(pins.get(view, set()))
    deleted = store.lake.vacuum(view, keep=pinned, older_than=older_than)
    return Tidied(
        view=view,
        files_before=before,
        files_after=store.lake.files(view),
        deleted=deleted,
        pinned=tuple(pinned),
    )


def _show(console: "Console", done: list[Tidied]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("view")
    for name in ("files", "now", "deleted"):
        table.add_column(name, justify="right")
    table.add_column("pinned versions kept")
    for one in done:
        kept = ", ".join(map(str, one.pinned)) or "none"
        figures = map(str, (one.files_before, one.files_after, one.deleted))
        table.add_row(f"[bold]{one.view}[/bold]", *figures, kept)
    console.print(table)
