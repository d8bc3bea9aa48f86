"""Halts as they are told: a file of one message a line, by an operator or whoever reads a feed.

A line is JSON: symbol ("*" = the market), at, code, and optionally until; or symbol, at and
`"resumes": true`. It is only ever appended to, and a line that cannot be read stops every decision.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from runtime.errors import FeedInvalid
from runtime.market.recorded import HaltMessage, RecordedHalts
from runtime.market.rules import HaltCodes
from runtime.market.states import MarketState, Published


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message, and who wrote it down."""

    symbol: str
    at: datetime  # with its zone
    code: str | None = None
    resumes: bool = False
    until: datetime | None = None
    by: str = ""
    reason: str = ""


@dataclass(slots=True)
class ToldHalts:
    """The halts of one workspace; read again whenever the file has grown."""

    path: Path
    rules: HaltCodes
    _size: int = 0  # bytes that were read
    _messages: tuple[HaltMessage, ...] = ()
    _last: tuple[tuple[str, ...], datetime, dict[str, Published]] | None = field(
        default=None, repr=False
    )

    def tell(self, message: HaltMessage, *, by: str, reason: str) -> None:
        """Append one message durably.

        Raises:
            FeedInvalid: a halt without a code, a resume of the whole market, or nobody's name.
            OSError: the file cannot be written.
        """
        if not (by.strip() and reason.strip()):
            raise FeedInvalid("a halt that is told needs a name and a reason")
        line = _Line(
            symbol=message.symbol,
            at=message.at,
            code=message.code,
            resumes=message.resumes,
            until=message.until,
            by=by,
            reason=" ".join(reason.split()),
        )
        _checked(line, self.path, 0)
        _append(self.path, msgspec.json.encode(line) + b"\n")

    def messages(self) -> tuple[HaltMessage, ...]:
        """Return every message, in the order of the file.

        Raises:
            FeedInvalid: it cannot be read, a line is no message, or what was read once is gone.
        """
        try:
            size = self.path.stat().st_size
            lines = self.path.read_bytes().splitlines() if size > self._size else []
        except FileNotFoundError:
            size, lines = 0, []
        except OSError as error:
            raise FeedInvalid(f"{self.path}: cannot be read ({error.strerror})") from error
        if size < self._size:
            raise FeedInvalid(
                f"{self.path}: {self._size:,} bytes of halts were read and {size:,} are left; put "
                "the file back, halts end by sluice halts resume alone"
            )
        if size > self._size:
            self._messages = tuple(
                _message(line, self.path, number) for number, line in enumerate(lines, start=1)
            )
            self._size, self._last = size, None
        return self._messages

    def halted(self, symbols: Sequence[str], at: datetime) -> Mapping[str, Published]:
        """Return the symbols that are halted at an instant; nothing told later counts."""
        messages, names = self.messages(), tuple(symbols)
        if self._last is None or self._last[:2] != (names, at):
            played = RecordedHalts(rules=self.rules, symbols=names, messages=messages)
            self._last = names, at, dict(played.published(at))
        return self._last[2]

    def published(self, symbols: Sequence[str], at: datetime) -> dict[str, Published]:
        """Return the state of each symbol: as halted, or else normal."""
        normal = Published(state=MarketState.NORMAL, at=at)
        return dict.fromkeys(symbols, normal) | dict(self.halted(symbols, at))


def _append(path: Path, line: bytes) -> None:
    """Append a line durably, its file's name too; a last line that was left open is ended first."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "rb+") as file:
        size = os.fstat(file.fileno()).st_size
        is_open = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write(b"\n" + line if is_open else line)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _message(data: bytes, path: Path, number: int) -> HaltMessage:
    try:
        line = msgspec.json.decode(data, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FeedInvalid(
            f"{path}: line {number} is no message of a halt: {error}; correct the line"
        ) from error
    _checked(line, path, number)
    return HaltMessage(
        symbol=line.symbol, at=line.at, code=line.code, resumes=line.resumes, until=line.until
    )


def _checked(line: _Line, path: Path, number: int) -> None:
    where = f"{path}: line {number}: " if number else ""
    if line.at.tzinfo is None or (line.until is not None and line.until.tzinfo is None):
        raise FeedInvalid(f"{where}a time of {line.symbol} carries no zone")
    if not line.symbol.strip() or not (line.resumes or line.code):
        raise FeedInvalid(f"{where}a halt needs a symbol and a code, such as T1")
    if line.resumes and line.symbol == "*":
        raise FeedInvalid(f"{where}each symbol reopens at its primary market; name one to resume")
