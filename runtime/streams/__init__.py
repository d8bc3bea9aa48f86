"""Streams carry features and signals between processes; the journal stays the record.

`open_stream(url, name)` picks the adapter, `Consumer` handles messages, `Inbox` handles each once.
"""

from runtime.streams.consumer import Consumer, Step
from runtime.streams.inbox import Inbox
from runtime.streams.opened import open_stream
from runtime.streams.port import Buried, Delivery, Lag, Message, Stream

__all__ = [
    "Buried",
    "Consumer",
    "Delivery",
    "Inbox",
    "Lag",
    "Message",
    "Step",
    "Stream",
    "open_stream",
]
