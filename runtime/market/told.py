"""Halts as they are told: a file of one message a line, by an operator or whoever reads a feed.

A line is JSON: symbol ("*" = the market), at, code, and optionally until; or symbol, at and
`"resumes": true`. It is only ever appended to: where it ends, and the hash of all lines until then,
is remembered in a file of heads beside it. Lines that are gone, changed or cannot be read stop
every decision.
"""

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from runtime.chain import Draft, genesis, linked
from runtime.decoding import from_json
from runtime.errors import DatabaseUnavailable, FeedInvalid
from runtime.heads import Head, HeadAnchor, write_whole
from runtime.market.halts import EVERYTHING
from runtime.market.recorded import HaltMessage, RecordedHalts
from runtime.market.rules import HaltCodes
from runtime.market.states import Published

CHAIN = "halts"
_BEFORE = Head(seq=0, hash=genesis(CHAIN).hex())


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
    """The halts of one workspace; read again whenever the file was written."""

    path: Path
    rules: HaltCodes
    _read: tuple[int, int] | None = None  # what was read: bytes, and when they were written
    _head: Head = _BEFORE  # of what was read
    _messages: tuple[HaltMessage, ...] = ()
    _last: tuple[tuple[str, ...], datetime, dict[str, Published]] | None = field(
        default=None, repr=False
    )

    @property
    def anchor(self) -> HeadAnchor:
        """Return the file beside this one that remembers where it ended."""
        return HeadAnchor(self.path.with_suffix(".head"))

    @property
    def known(self) -> bool:
        """Say whether a halt was ever told, were the file gone since."""
        return self.path.exists() or self.anchor.path.exists()

    def tell(self, message: HaltMessage, *, by: str, reason: str) -> None:
        """Append one message durably, then remember where the file ends.

        Raises:
            FeedInvalid: a halt without a code, a resume of the whole market, or nobody's name; or
                what was told before is not there as it was; or the file cannot be written, and
                nothing of the message is in it.
            DatabaseUnavailable: the message is told, but where the file ends cannot be remembered.
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
        try:
            self.messages()
            if not self._head.seq:  # so that a first line is known to be one, whatever follows
                self.anchor.record(_BEFORE)
            _append(self.path, msgspec.json.encode(line) + b"\n")
        except (OSError, DatabaseUnavailable) as error:
            cause = error.strerror if isinstance(error, OSError) else error.__cause__
            raise FeedInvalid(
                f"{self.path}: this is NOT told, the file cannot be written ({cause}); make it "
                "writable and tell it again, or stop trading meanwhile: sluice kill on "
                + ("all" if message.symbol == EVERYTHING else f"symbol.{message.symbol}")
            ) from error
        self.messages()

    def messages(self) -> tuple[HaltMessage, ...]:
        """Return every message, in the order of the file; what is read is remembered outside.

        Raises:
            FeedInvalid: it cannot be read, a line is no message, what was read or remembered once
                is gone or another one, or nothing is remembered of what is there.
        """
        found = self._stamp()
        if found is None or found != self._read:
            heads = self.anchor.heads()
            messages, head = self._proved((*heads, self._head))
            if head.seq and not heads:
                raise FeedInvalid(
                    f"{self.path}: {head.seq:,} lines, and {self.anchor.path.name} remembers no "
                    "head of them, so lines that are gone would not be noticed; put it back, or, "
                    "once the lines are known to be whole, remember their head with sluice audit "
                    "--remember"
                )
            if head.seq > max((one.seq for one in heads), default=0):
                self.anchor.record(head)
            if head != self._head:
                self._messages, self._head, self._last = messages, head, None
            self._read = found
        return self._messages

    def prove(self) -> Head:
        """Hold every line against the heads that are remembered, and return where it ends.

        Raises:
            FeedInvalid: names the first line that is gone, changed or no message.
        """
        return self._proved((*self.anchor.heads(), self._head))[1]

    def halted(self, symbols: Sequence[str], at: datetime) -> Mapping[str, Published]:
        """Return the symbols that are halted at an instant; nothing told later counts."""
        messages, names = self.messages(), tuple(symbols)
        if not messages:
            return {}
        if self._last is None or self._last[:2] != (names, at):
            played = RecordedHalts(rules=self.rules, symbols=names, messages=messages)
            self._last = names, at, dict(played.published(at))
        return self._last[2]

    def _stamp(self) -> tuple[int, int] | None:
        """Return the file's bytes and the time it was last written, None if it is not there."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FeedInvalid(f"{self.path}: cannot be read ({error.strerror})") from error
        return found.st_size, found.st_mtime_ns

    def _proved(self, heads: Sequence[Head]) -> tuple[tuple[HaltMessage, ...], Head]:
        """Return every message and where the file ends, held against these heads."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise FeedInvalid(f"{self.path}: cannot be read ({error.strerror})") from error
        messages = tuple(
            [_message(line, self.path, number) for number, line in enumerate(lines, start=1)]
        )
        drafts = [
            Draft("halt", message.symbol, message.at, line)
            for message, line in zip(messages, lines, strict=True)
        ]
        rows = linked(0, genesis(CHAIN), drafts)
        hashes = [_BEFORE.hash, *(row[-1].hex() for row in rows)]
        told = max(head.seq for head in heads)
        if told > len(lines):
            raise self._gone(f"it ends at line {len(lines)}, but line {told} was told")
        for head in sorted(heads, key=lambda one: one.seq):
            if hashes[head.seq] != head.hash:
                raise self._gone(f"line {head.seq}, or one before it, is not as it was told")
        return messages, Head(seq=len(lines), hash=hashes[-1])

    def _gone(self, what: str) -> FeedInvalid:
        return FeedInvalid(
            f"{self.path}: {what}; put the file back, halts end by sluice halts resume alone. If "
            f"it is lost for good, move it and {self.anchor.path.name} away and tell again, at "
            "once, all that is halted"
        )


def _append(path: Path, line: bytes) -> None:
    """Append a line durably, its file's name too, or nothing of it.

    A last line that was left open is ended first. One teller at a time: what a full disk took of a
    line is taken away again, and with it nothing that somebody else told.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        is_open = size and os.pread(descriptor, 1, size - 1) != b"\n"
        try:
            write_whole(descriptor, b"\n" + line if is_open else line)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _message(data: bytes, path: Path, number: int) -> HaltMessage:
    try:
        line = from_json(data, _Line)
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
