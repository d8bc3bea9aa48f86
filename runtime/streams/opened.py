"""Opens a stream by URL: one SQLite file, or Redis and Valkey."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from featurestore.servers import SCHEMES, NoServer, open_client
from runtime.clock import Clock
from runtime.errors import StreamUnavailable
from runtime.streams.port import Stream

TIMEOUT = timedelta(seconds=10)  # until a server that does not answer is an error


def open_stream(url: str, name: str, *, clock: Clock | None = None) -> Stream:
    """Open a stream.

    Args:
        url: "sqlite:////absolute/streams.db", or a server: "redis://:password@host:6379/0",
            "rediss://" with TLS, "unix://", "valkey://".
        name: e.g. "features.pit" or "signals.momentum".
        clock: tells the embedded stream how long a message has been pending; a server has its own.

    Raises:
        StreamUnavailable: the URL is of no known kind, or nobody answers there.
        MessageInvalid: the name would not travel well.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        from runtime.streams.embedded import EmbeddedStream

        return EmbeddedStream(Path(unquote(parts.path.removeprefix("/"))), name, clock=clock)
    if parts.scheme in SCHEMES:
        return _on_server(url, name)
    raise _unknown(parts.scheme)


def _on_server(url: str, name: str) -> Stream:
    from runtime.streams.redis import RedisStream

    try:
        # Whether a publish is repeated, its caller says.
        return RedisStream(open_client(url, timeout=TIMEOUT, again=0), name)
    except NoServer as error:
        raise StreamUnavailable(f"the streams' server {error}") from error


def stream_names(url: str) -> tuple[str, ...]:
    """Return the names of the streams that were ever opened there, sorted.

    Raises:
        StreamUnavailable: the URL is of no known kind, or nobody answers there.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        from runtime.streams.embedded import names_in

        return names_in(Path(unquote(parts.path.removeprefix("/"))))
    if parts.scheme not in SCHEMES:
        raise _unknown(parts.scheme)
    from runtime.streams.redis import names_on

    try:
        return names_on(open_client(url, timeout=TIMEOUT, again=0))
    except NoServer as error:
        raise StreamUnavailable(f"the streams' server {error}") from error


def _unknown(scheme: str) -> StreamUnavailable:
    return StreamUnavailable(
        f"a stream's URL begins with sqlite or {', '.join(SCHEMES)}, not {scheme or 'nothing'!r}"
    )
