"""Streams carry features and signals between processes; the journal stays the record.

`open_stream(url, name)` picks the adapter, `Consumer` handles messages, `Inbox` handles each once.
"""

from runtime.streams.consumer import Consumer, Step
from runtime.streams.inbox import Inbox
from runtime.streams.opened import open_stream, stream_names
from runtime.streams.port import Buried, Delivery, Lag, Message, Stream
from runtime.streams.publisher import Publisher

__all__ = [
    "Buried",
    "Consumer",
    "Delivery",
    "Inbox",
    "Lag",
    "Message",
    "Publisher",
    "Step",
    "Stream",
    "open_stream",
    "stream_names",
]
