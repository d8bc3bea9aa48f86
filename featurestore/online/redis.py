"""Online cells on Redis or Valkey: one packed block per symbol, one MGET per read.

    sluice:{name}:layout         columns (JSON)
    sluice:{name}:edition        the layout's number, read with every MGET
    sluice:{name}:b:SYMBOL       when it was written, from when on all its cells are known, until
                                 when all are fresh (negated, so that one maximum serves both), then
                                 the cells (3, k); int64
    sluice:{name}:w:KEY:SYMBOL   event, knowledge time, when written, then the bars as float64
    sluice:{name}:symbols        set of symbols

MGET answers in one step of the server and an update is one MULTI, so nothing is ever torn. An
update watches what it read and begins again if another writer was faster. The braces keep all keys
of a store on one node of a cluster.

A point read sends an MGET that was packed once per list of symbols: packing 50 keys and passing
the client's layers anew would cost more than the round trip.
"""

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from redis import Redis
from redis import exceptions as refused
from redis.exceptions import RedisError, WatchError

from featurestore.errors import HistoryMissing, OnlineUnavailable
from featurestore.online.cells import (
    ABSENT,
    EVENT,
    KNOWN,
    Applied,
    Micros,
    Packed,
    Update,
    Window,
    absent,
    merged,
)
from featurestore.online.layout import Column, Layout, decode_layout
from featurestore.online.memory import updated_windows
from featurestore.online.port import Cells, Plans

REMEMBERED = 256  # packed reads; a service asks the same few again and again
ATTEMPTS = 200  # updates that other writers may overtake before we give up
HEADER = 3  # words of a block before its cells
NEVER = np.iinfo(np.int64).max  # negated last instant at which a block with an absent cell is fresh
_WORD = 8  # bytes


class RedisOnline:
    """Online cells on a server that processes and hosts share."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client: Any = client
        self._prefix = f"sluice:{{{name}}}"
        self._plans = Plans(Layout())
        self._own = threading.local()
        self._edition_key = f"{self._prefix}:edition".encode()
        self._messages: dict[tuple[str, ...], bytes] = {}  # symbols -> their MGET on the wire

    def apply(self, update: Update) -> Applied:
        """Lay an update over what is held; see the port."""
        try:
            for _ in range(ATTEMPTS):
                with self._client.pipeline() as pipeline:
                    try:
                        return self._attempt(pipeline, update)
                    except WatchError:
                        continue
        except RedisError as error:
            raise _unavailable(error) from error
        raise OnlineUnavailable(
            f"{ATTEMPTS} attempts in a row were overtaken by other writers; "
            "materialize from one place"
        )

    def read(self, features: Sequence[str], symbols: Sequence[str]) -> Cells:
        """Return cells; see the port."""
        blocks = self._blocks(symbols)
        edition = blocks.pop()
        if edition is not None and int(edition) != self._plans.layout.edition:
            self._plans = Plans(self.layout())
        plan = self._plans.of(features)
        try:
            joined = b"".join(blocks)
        except TypeError:
            missing = next(s for s, block in zip(symbols, blocks, strict=True) if block is None)
            raise HistoryMissing(
                f"{missing} was not materialized; there are: {', '.join(self.symbols())}"
            ) from None
        k = len(self._plans.layout.columns)
        width = HEADER + 3 * k
        if len(joined) == len(blocks) * width * _WORD:  # no block is wider, so none is narrower
            words = np.frombuffer(joined, np.int64).reshape(len(blocks), width)
            rows = words[:, HEADER:].reshape(len(blocks), 3, k)
            settled, overdue = np.maximum.reduce(words[:, 1:HEADER]).tolist()
            deadline = -overdue
        else:
            rows, _ = _rows(blocks, k)
            settled = deadline = ABSENT
        return Cells(plan.of(rows), plan, settled, deadline)

    def windows(
        self, feature: str, symbols: Sequence[str]
    ) -> tuple[Column, tuple[Window | None, ...]]:
        """Return a feature's windows; see the port."""
        layout = self.layout()
        column = layout.columns[layout.place(feature)]
        try:
            blocks = self._client.mget([self._window_key(column.key, each) for each in symbols])
        except RedisError as error:
            raise _unavailable(error) from error
        return column, tuple(_window(block) for block in blocks)

    def layout(self) -> Layout:
        """Return the columns held now."""
        try:
            text = self._client.get(f"{self._prefix}:layout")
        except RedisError as error:
            raise _unavailable(error) from error
        return Layout() if text is None else decode_layout(text)

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols held now, sorted."""
        try:
            held = self._client.smembers(f"{self._prefix}:symbols")
        except RedisError as error:
            raise _unavailable(error) from error
        return tuple(sorted(name.decode() for name in held))

    def _attempt(self, pipeline: Any, update: Update) -> Applied:
        """Watch and read what the update touches, merge, write it in one MULTI."""
        layout_key = f"{self._prefix}:layout"
        keys = [self._key(symbol) for symbol in update.symbols]
        names = sorted({*update.windows, *((bar.column.key, bar.symbol) for bar in update.bars)})
        window_keys = [self._window_key(*name) for name in names]
        pipeline.watch(layout_key, *keys, *window_keys)
        text, *blocks = pipeline.mget([layout_key, *keys, *window_keys])
        held = Layout() if text is None else decode_layout(text)
        layout = held.with_columns(update.columns)
        rows, written_at = _rows(blocks[: len(keys)], len(layout.columns))
        places = np.array([layout.current[column.feature] for column in update.columns], np.intp)
        cells = np.ix_(np.arange(len(keys)), np.arange(3), places)
        rows[cells], written_at, written = merged(rows[cells], written_at, update.packed, update.at)
        before = {
            name: window
            for name, block in zip(names, blocks[len(keys) :], strict=True)
            if (window := _window(block)) is not None
        }
        after, applied = updated_windows(before, update)
        pipeline.multi()
        if layout is not held:
            pipeline.mset({layout_key: layout.encoded(), self._edition_key: layout.edition})
        if keys:
            pipeline.mset(
                {
                    key: header.tobytes() + row.tobytes()
                    for key, header, row in zip(
                        keys, _headers(layout, rows, written_at), rows, strict=True
                    )
                }
            )
            pipeline.sadd(f"{self._prefix}:symbols", *update.symbols)
        changed = {
            self._window_key(*name): _window_block(window)
            for name, window in after.items()
            if window is not before.get(name)
        }
        if changed:
            pipeline.mset(changed)
        pipeline.execute()
        given = int((update.packed[:, EVENT] != ABSENT).sum())
        return Applied(
            written=written + applied.written,
            kept=given - written + applied.kept,
            late=applied.late,
        )

    def _blocks(self, symbols: Sequence[str]) -> list[Any]:
        """Return each symbol's block and, last, the layout's edition, all of one moment."""
        asked = tuple(symbols)
        packed = self._messages.get(asked)
        if packed is None:
            packed = self._message(asked)
        message = [packed]
        try:
            return self._asked(message)
        except (refused.ConnectionError, refused.TimeoutError):
            pass  # a connection that the server dropped while it was idle; once more on a new one
        except RedisError as error:
            raise _unavailable(error) from error
        try:
            return self._asked(message)
        except RedisError as error:
            raise _unavailable(error) from error

    def _message(self, symbols: tuple[str, ...]) -> bytes:
        """Pack the MGET of some symbols, and remember it: a service asks the same few again."""
        keys = [*(self._key(symbol) for symbol in symbols), self._edition_key]
        packed = b"".join([b"*%d\r\n" % (len(keys) + 1), *map(_argument, [b"MGET", *keys])])
        if len(self._messages) >= REMEMBERED:
            self._messages.clear()
        self._messages[symbols] = packed
        return packed

    def _asked(self, message: Sequence[bytes]) -> list[Any]:
        """Send one packed command and return its answer."""
        connection = self._connection()
        try:
            connection.send_packed_command(message, check_health=False)
            answer: list[Any] = connection.read_response()
        except BaseException:
            connection.disconnect()  # an answer may still be under way: never read it as another's
            raise
        return answer

    def _connection(self) -> Any:
        """Return this thread's own connection; it connects by itself when it must."""
        held = getattr(self._own, "held", None)
        if held is None or held[0] != os.getpid():  # a fork must not share its parent's socket
            pool = self._client.connection_pool
            held = self._own.held = (
                os.getpid(),
                pool.connection_class(**pool.connection_kwargs),
            )
        return held[1]

    def _key(self, symbol: str) -> bytes:
        return f"{self._prefix}:b:{symbol}".encode()

    def _window_key(self, column: str, symbol: str) -> str:
        return f"{self._prefix}:w:{column}:{symbol}"


def _argument(value: bytes) -> bytes:
    """Return one argument of a command as it goes over the wire."""
    return b"$%d\r\n%s\r\n" % (len(value), value)


def _rows(blocks: Sequence[bytes | None], k: int) -> tuple[Packed, Micros]:
    """Unpack blocks of any age: columns that a block does not reach yet are absent."""
    rows = absent(len(blocks), k)
    written_at = np.full(len(blocks), ABSENT, dtype=np.int64)
    for i, block in enumerate(blocks):
        if block is not None:
            words = np.frombuffer(block, np.int64)
            cells = words[HEADER:].reshape(3, -1)
            rows[i, :, : cells.shape[1]] = cells[:, :k]
            written_at[i] = words[0]
    return rows, written_at


def _headers(layout: Layout, rows: Packed, written_at: Micros) -> Micros:
    """Return each block's header, shape (n, HEADER); it was never fresh if a cell is absent."""
    served = list(layout.current.values())
    events, known = rows[:, EVENT, served], rows[:, KNOWN, served]
    freshness = np.array([layout.columns[place].freshness for place in served], dtype=np.int64)
    overdue = np.where((events == ABSENT).any(axis=1), NEVER, -(events + freshness).min(axis=1))
    return np.column_stack([written_at, known.max(axis=1), overdue])


def _window(block: bytes | None) -> Window | None:
    if block is None:
        return None
    event, known, at = (int(each) for each in np.frombuffer(block, np.int64, count=3))
    values = np.frombuffer(block, np.float64, offset=3 * _WORD)
    return Window(values=values, event=event, known=known, at=at)


def _window_block(window: Window) -> bytes:
    times = np.array([window.event, window.known, window.at], dtype=np.int64)
    return times.tobytes() + window.values.tobytes()


def _unavailable(error: RedisError) -> OnlineUnavailable:
    return OnlineUnavailable(
        f"the online store's server does not answer as it should: {error}; "
        "is the URL right, does the server run? The same call may be repeated"
    )
