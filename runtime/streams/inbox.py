"""Handles each message once: its key and its effect are written in one transaction.

A stream delivers at least once. A handler whose effect is in a database keeps the keys there too:
a repeat, sent twice by the producer or delivered again after a crash, finds its key and is dropped.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, Table, Text, delete

from runtime.chain import micros
from runtime.clock import Clock, WallClock
from runtime.database import transaction
from runtime.streams.consumer import Handler
from runtime.streams.port import Delivery

Effect = Callable[[Connection, Sequence[Delivery]], object]

_METADATA = MetaData()
_INBOX = Table(
    "stream_inbox",
    _METADATA,
    Column("reader", Text, primary_key=True),  # stream and group
    Column("key", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),  # when it was handled, microseconds since 1970
)


class Inbox:
    """Keys that a group has handled, beside the effects of its handler."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock if clock is not None else WallClock()
        with transaction(engine) as connection:
            _METADATA.create_all(connection)

    def handler(self, reader: str, effect: Effect) -> Handler:
        """Return a handler for a `Consumer` that calls `effect` once per key.

        Args:
            reader: names the stream and group, e.g. "signals.momentum/desk".
            effect: writes through the connection it is given; what it raises undoes everything.
        """
        return lambda found: self.once(reader, found, effect)

    def once(self, reader: str, found: Sequence[Delivery], effect: Effect) -> int:
        """Call `effect` with those messages whose key is new; return how many.

        All of it, keys and effect, is one transaction.
        """
        distinct = {delivery.key: delivery for delivery in reversed(found)}
        if not distinct:
            return 0
        at = micros(self._clock.now())
        rows = [{"reader": reader, "key": key, "at": at} for key in sorted(distinct)]
        dialect = import_module(f"sqlalchemy.dialects.{self._engine.dialect.name}")  # loaded by it
        with transaction(self._engine) as connection:
            statement = dialect.insert(_INBOX).on_conflict_do_nothing().returning(_INBOX.c.key)
            fresh = {
                key
                for start in range(0, len(rows), 1000)
                for key in connection.scalars(statement.values(rows[start : start + 1000]))
            }
            chosen = [each for each in found if each.key in fresh and distinct[each.key] is each]
            if chosen:
                effect(connection, chosen)
        return len(chosen)

    def forget(self, before: datetime) -> int:
        """Drop keys handled before an instant, UTC; producers must not repeat older messages."""
        with transaction(self._engine) as connection:
            return connection.execute(delete(_INBOX).where(_INBOX.c.at < micros(before))).rowcount
