"""Opens an online store by URL: this process, a shared file, or Redis and Valkey."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from featurestore.errors import OnlineUnavailable
from featurestore.online.memory import MemoryOnline
from featurestore.online.port import OnlineBackend
from featurestore.online.store import OfflineReader, OnlineStore
from featurestore.servers import SCHEMES, NoServer, open_client

TIMEOUT = timedelta(seconds=5)  # until a server that does not answer is an error


def open_online(url: str = "memory://", *, name: str = "default") -> OnlineStore:
    """Open an online store.

    Args:
        url: "memory://", "file:///path/online.bin", or a server: "redis://:password@host:6379/0",
            "rediss://" with TLS, "unix://", "valkey://".
        name: names one store among several on a server; no effect elsewhere.

    Raises:
        OnlineUnavailable: the URL is of no known kind, or the server does not answer.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return OnlineStore(MemoryOnline())
    if parts.scheme == "file":
        from featurestore.online.file import FileOnline

        return OnlineStore(FileOnline(Path(unquote(parts.path))))
    if parts.scheme in SCHEMES:
        return OnlineStore(_on_server(url, name))
    raise OnlineUnavailable(
        f"an online store's URL begins with memory, file or {', '.join(SCHEMES)}, "
        f"not {parts.scheme or 'nothing'!r}"
    )


def _on_server(url: str, name: str) -> OnlineBackend:
    from featurestore.online.redis import RedisOnline

    try:
        return RedisOnline(open_client(url, timeout=TIMEOUT, again=1), name)
    except NoServer as error:
        raise OnlineUnavailable(f"the online store's server {error}") from error


def materialize(
    reader: OfflineReader,
    features: Sequence[str],
    symbols: Sequence[str],
    *,
    at: datetime,
    windows: Mapping[str, int] | None = None,
) -> OnlineStore:
    """Return a store of this process that holds the newest values known at `at`.

    See `OnlineStore.materialize` for the arguments and errors.
    """
    store = open_online()
    store.materialize(reader, features, symbols, at=at, windows=windows)
    return store
