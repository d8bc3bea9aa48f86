"""Receivers of notices on loopback: a webhook that takes JSON, and a mail server (RFC 5321)."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Mail(socketserver.StreamRequestHandler):
    """One conversation, as far as a client sends one plain mail."""

    def handle(self) -> None:
        self._say(220, "here")
        while line := self.rfile.readline().strip().decode():
            verb = line.split(" ")[0].upper()
            if verb in ("EHLO", "HELO", "MAIL", "RCPT", "RSET", "NOOP"):
                self._say(250, "fine")
            elif verb == "DATA":
                self._say(354, "go on")
                text = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    text += part
                self.server.received.append(text.decode())  # type: ignore[attr-defined]
                self._say(250, "taken")
            elif verb == "QUIT":
                self._say(221, "bye")
                return
            else:
                self._say(502, "unknown")

    def _say(self, code: int, text: str) -> None:
        self.wfile.write(f"{code} {text}\r\n".encode())


@contextlib.contextmanager
def mail_server() -> Iterator[tuple[int, list[str]]]:
    """Yield the port and the mails that were taken."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.received = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1], server.received  # type: ignore[attr-defined]
        server.shutdown()


@contextlib.contextmanager
def webhook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield the port and the documents that were posted."""
    received: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port, received
        server.shutdown()
