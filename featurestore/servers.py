"""Opens a client of Redis or Valkey by URL, in one way for whoever keeps something there."""

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:  # the client is loaded by those alone whose URL names a server
    from redis import Redis

SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")
_REDIS_NAMES = {"valkey": "redis", "valkeys": "rediss"}  # one protocol, two names of its scheme


class NoServer(Exception):
    """Nobody answers under a URL, or the client cannot read it; the text shows no password."""


def open_client(url: str, *, timeout: timedelta, again: int) -> "Redis":
    """Return a client in RESP2 that returns bytes, once the server has answered a PING.

    Args:
        url: "redis://:password@host:6379/0", "rediss://" with TLS, "unix://", "valkey://".
        timeout: until a server that does not answer is an error.
        again: how often a command is sent again on a new connection when the old one is gone.

    Raises:
        NoServer: names the host and the cause.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    scheme, _, rest = url.partition("://")
    seconds = timeout.total_seconds()
    try:
        client = Redis.from_url(
            f"{_REDIS_NAMES.get(scheme, scheme)}://{rest}",
            protocol=2,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), again),
        )
        client.ping()
    except (RedisError, ValueError) as error:
        parts = urlsplit(url)
        raise NoServer(
            f"at {parts.hostname or parts.path} does not answer: {error}; is the URL right?"
        ) from error
    return client
