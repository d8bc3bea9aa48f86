"""Answers a repeated POST with the first one's answer, by its header Idempotency-Key."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from runtime.clock import Clock
from runtime.errors import DatabaseUnavailable
from runtime.once import Asked, DatabaseKeys, FileKeys, Kept
from service.web.answers import Problem
from service.web.apart import apart
from service.web.guards import accepts

HEADER = b"idempotency-key"
LONGEST = 200  # characters of a key
IN_FILES = ("/kill-switch", "/alerts")  # the routes that work without a database
Tokens = Callable[[], tuple[str, ...]]


class Once:
    """Wraps the application; requests without a key, or without the token, pass untouched."""

    def __init__(
        self, database: DatabaseKeys, files: FileKeys, clock: Clock, tokens: Tokens, longest: int
    ) -> None:
        """Take where keys are kept, whose requests count, and how long a body may be, in bytes."""
        self._database, self._files, self._clock = database, files, clock
        self._tokens, self._longest = tokens, longest

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Return the wrapped application."""

        async def once(scope: Scope, receive: Receive, send: Send) -> None:
            headers = dict(scope.get("headers") or ())
            key = headers.get(HEADER)
            shown = headers.get(b"authorization", b"").decode("latin-1")
            if scope["type"] != ScopeType.HTTP or scope["method"] != "POST" or key is None:
                await app(scope, receive, send)
            elif not accepts(self._tokens(), shown):
                await app(scope, receive, send)  # which refuses it
            else:
                await self._keyed(app, scope, receive, send, key.decode("latin-1"))

        return once

    async def _keyed(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, key: str
    ) -> None:
        path = str(scope["path"])
        if not (0 < len(key) <= LONGEST and key.isascii() and key.isprintable()):
            text = f"Idempotency-Key must be 1 to {LONGEST} printable ASCII characters"
            await _refuse(send, path, HTTPStatus.BAD_REQUEST, text, "e.g. a random UUID")
            return
        body = await self._body(receive)
        asked = Asked.of(key, "POST", path, body)
        in_files = path.startswith(IN_FILES)
        keys, on_thread = (self._files, apart) if in_files else (self._database, asyncio.to_thread)
        try:
            kept = await on_thread(keys.find, key)
        except DatabaseUnavailable as error:
            remedy = "send it again with the same key once the database answers"
            await _refuse(send, path, HTTPStatus.SERVICE_UNAVAILABLE, str(error), remedy)
            return
        if kept is not None:
            await _repeat(send, path, asked, kept)
            return
        at, answer = self._clock.now(), _Answer()
        with keys.riding(asked, at):
            await app(scope, _again(body), answer.take)
        if answer.status < HTTPStatus.BAD_REQUEST:
            try:
                await on_thread(keys.keep, asked, answer.status, answer.body, at)
            except (DatabaseUnavailable, OSError) as error:
                answer.remark(f"this answer could not be kept: {error}")
        for message in answer.messages:
            await send(message)

    async def _body(self, receive: Receive) -> bytes:
        """Read the body, or as much as shows that it is too long."""
        parts, more, size = list[bytes](), True, 0
        while more and size <= self._longest:
            message: Any = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = bool(message.get("more_body", False))
        return b"".join(parts)


class _Answer:
    """An answer that is held back until it is kept."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.status, self.body = 500, b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")  # type: ignore[operator]
        self.messages.append(message)

    def remark(self, text: str) -> None:
        """Tell the client in a header; the effect stands."""
        said = " ".join(text.split()).encode("ascii", "replace")
        start = self.messages[0]
        start["headers"] = [*start["headers"], (b"idempotency-remark", said)]


async def _repeat(send: Send, path: str, asked: Asked, kept: Kept) -> None:
    if kept.what != asked.what:
        detail = f"key {asked.key!r} was used for another request"
        remedy = "take a new key for each request; the same key only for the very same one"
        await _refuse(send, path, HTTPStatus.UNPROCESSABLE_ENTITY, detail, remedy)
    elif kept.status is None:
        detail = (
            f"the request of key {asked.key!r} took effect, or is about to; its answer is not kept"
        )
        remedy = "see GET on the same resource for what holds now"
        await _refuse(send, path, HTTPStatus.CONFLICT, detail, remedy)
    else:
        await _send(send, kept.status, b"application/json", kept.answer, repeated=True)


async def _refuse(send: Send, path: str, status: HTTPStatus, detail: str, remedy: str) -> None:
    content = Problem(
        type="about:blank",
        title=status.phrase,
        status=status,
        detail=detail,
        remedy=remedy,
        instance=path,
    )
    await _send(send, status, b"application/problem+json", msgspec.json.encode(content))


async def _send(
    send: Send, status: int, kind: bytes, body: bytes, *, repeated: bool = False
) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if repeated:
        headers.append((b"idempotency-replayed", b"true"))
    start: Any = {"type": "http.response.start", "status": status, "headers": headers}
    rest: Any = {"type": "http.response.body", "body": body, "more_body": False}
    await send(start)
    await send(rest)


def _again(body: bytes) -> Receive:
    """Return a `receive` that hands out a body that was read already."""
    left: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return left.pop() if left else {"type": "http.disconnect"}

    return receive
