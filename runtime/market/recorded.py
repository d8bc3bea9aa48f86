"""Halts as they were recorded, asked about at any instant: for replays and realistic backtests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from runtime.market.halts import HaltBook
from runtime.market.rules import HaltCodes
from runtime.market.states import Published


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltMessage:
    """One recorded message: a halt, or the resume of a symbol."""

    symbol: str  # `halts.EVERYTHING` halts the market
    at: datetime  # UTC, when it was published
    code: str | None = None  # of the halt; on a resume the halt that ends, None = all
    resumes: bool = False
    until: datetime | None = None  # UTC, a halt's timer


@dataclass(slots=True)
class RecordedHalts:
    """Plays recorded messages into a halt book up to the instant that is asked about."""

    rules: HaltCodes
    symbols: tuple[str, ...]
    messages: Iterable[HaltMessage]
    _ordered: tuple[HaltMessage, ...] = field(init=False)
    _book: HaltBook = field(init=False)
    _played: int = field(init=False, default=0)
    _until: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._ordered = tuple(sorted(self.messages, key=lambda one: one.at))
        self._book = HaltBook(rules=self.rules)

    def published(self, at: datetime) -> Mapping[str, Published]:
        """Return the symbols that are halted at an instant; nothing later is known to it.

        It may be asked about any instant; going back plays the record from its beginning.
        """
        if self._until is not None and at < self._until:
            self._book, self._played = HaltBook(rules=self.rules), 0
        self._until = at
        while self._played < len(self._ordered) and self._ordered[self._played].at <= at:
            self._play(self._ordered[self._played])
            self._played += 1
        return self._book.halted(self.symbols, at)

    def _play(self, message: HaltMessage) -> None:
        if message.resumes:
            self._book.resume(message.symbol, message.at, message.code)
        else:
            self._book.halt(message.symbol, message.code or "", message.at, message.until)
