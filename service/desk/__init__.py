"""The desk: one page of our own files, packaged, loaded once, served from memory."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_MEDIA = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file of the page."""

    content: bytes
    media_type: str
    etag: str  # quoted, strong


@cache
def assets() -> dict[str, Asset]:
    """Return every file of the page by name."""
    found = {}
    for entry in files(__name__).joinpath("static").iterdir():
        content = entry.read_bytes()
        found[entry.name] = Asset(
            content=content,
            media_type=_MEDIA[entry.name.rsplit(".", 1)[1]],
            etag=f'"{hashlib.sha256(content).hexdigest()[:20]}"',
        )
    return found
