"""What a bundle's folder holds, and the archive beside it."""

from __future__ import annotations

from pathlib import Path

from runtime.bundles.bundle import ARCHIVE_SUFFIX, CONTENT

EVERY_FILE = (*CONTENT, "manifest.json", "signature")


def archive_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ARCHIVE_SUFFIX)


def any_names(names) -> None:
    """Accept every name."""
