"""Opens an online store by URL: this process, a shared file, or Redis and Valkey."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from featurestore.errors import OnlineUnavailable
from featurestore.online.memory import MemoryOnline
from featurestore.online.port import OnlineBackend
from featurestore.online.store import OfflineReader, OnlineStore

SERVERS = ("redis", "rediss", "unix", "valkey", "valkeys")
TIMEOUT = 5.0  # seconds until a server that does not answer is an error


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
    if parts.scheme in SERVERS:
        return OnlineStore(_on_server(url, name))
    raise OnlineUnavailable(
        f"an online store's URL begins with memory, file or {', '.join(SERVERS)}, "
        f"not {parts.scheme or 'nothing'!r}"
    )


def _on_server(url: str, name: str) -> OnlineBackend:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    from featurestore.online.redis import RedisOnline

    scheme, rest = url.split("://", 1)
    plain = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
    try:
        client = Redis.from_url(
            f"{plain}://{rest}",
            protocol=2,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 1),  # a connection the server dropped is made again
        )
        client.ping()
    except (RedisError, ValueError) as error:
        shown = urlsplit(url).hostname or urlsplit(url).path
        raise OnlineUnavailable(
            f"the online store's server at {shown} does not answer: {error}; is the URL right?"
        ) from error
    return RedisOnline(client, name)


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
