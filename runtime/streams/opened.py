"""Opens a stream by URL: one SQLite file, or Redis and Valkey."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from runtime.clock import Clock
from runtime.errors import StreamUnavailable
from runtime.streams.port import Stream

SERVERS = ("redis", "rediss", "unix", "valkey", "valkeys")
TIMEOUT = 10.0  # seconds until a server that does not answer is an error


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
    if parts.scheme in SERVERS:
        return _on_server(url, name)
    raise StreamUnavailable(
        f"a stream's URL begins with sqlite or {', '.join(SERVERS)}, "
        f"not {parts.scheme or 'nothing'!r}"
    )


def _on_server(url: str, name: str) -> Stream:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    from runtime.streams.redis import RedisStream

    scheme, rest = url.split("://", 1)
    plain = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
    try:
        client = Redis.from_url(
            f"{plain}://{rest}",
            protocol=2,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # whether a publish is repeated, its caller says
        )
        client.ping()
    except (RedisError, ValueError) as error:
        shown = urlsplit(url).hostname or urlsplit(url).path
        raise StreamUnavailable(
            f"the streams' server at {shown} does not answer: {error}; is the URL right?"
        ) from error
    return RedisStream(client, name)
