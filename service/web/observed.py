"""Counts and times requests in pure ASGI middleware, and sets the security headers."""

from collections.abc import Callable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Histogram

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)  # seconds


async def secured(message: Message, _: Scope) -> None:
    """Add the security headers to an answer that is about to start, whatever made it."""
    if message["type"] == "http.response.start":
        message["headers"] = [*message["headers"], *HEADERS]


class Observed:
    """Wraps the application; paths are counted by route, so ids do not multiply the series."""

    def __init__(self, registry: CollectorRegistry, monotonic: Callable[[], float]) -> None:
        """Register the request metrics."""
        self._monotonic = monotonic
        self._requests = Counter(
            "sluice_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "sluice_http_request_seconds",
            "Seconds from request to last byte.",
            ("route",),
            buckets=BUCKETS,
            registry=registry,
        )

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Return the wrapped application."""

        async def observed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            started, status, method = self._monotonic(), 500, str(scope["method"])

            async def record(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, record)
            finally:
                route = _route(scope)
                self._requests.labels(method, route, str(status)).inc()
                self._seconds.labels(route).observe(self._monotonic() - started)

        return observed


def _route(scope: Any) -> str:
    """Return the path's template; unknown paths share one label."""
    return str(scope.get("path_template") or "unknown")
