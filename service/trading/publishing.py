"""What live trading tells the world: its decisions on the streams, its features online.

Decisions are committed first and announced by a thread of their own; features are brought online
after their session. Neither can stop, hold up or change a decision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from featurestore.reader import LakeReader
from runtime.desk import Desk
from runtime.streams.relay import Relay
from service.databases import open_runtime
from service.flows.online import bring_online_quietly, open_outbox
from service.settings import Settings


@dataclass(slots=True, kw_only=True)
class Publishing:
    """The publisher beside one trading process; open it with `publishing`."""

    settings: Settings
    engine: Engine  # the journal's database
    relay: Relay
    _seen: tuple[Desk, LakeReader] | None = field(default=None, init=False)

    def beside(self, desk: Desk, reader: LakeReader) -> Desk:
        """Return the desk that wakes the relay at each commit; its data go online later."""
        self._seen = desk, reader
        return replace(desk, committed=self.relay.wake)

    def session_closed(self) -> None:
        """Bring online what the last desk's bundles read, as known now."""
        if self._seen is not None:
            desk, reader = self._seen
            bundles = [member.bundle for member in desk.members] or [desk.bundle]
            at = desk.clock.now()
            bring_online_quietly(self.settings, self.engine, reader, bundles, at=at)


@contextmanager
def publishing(settings: Settings, account: str) -> Iterator[Publishing]:
    """Run a publisher for an account's decisions until the block ends."""
    engine = open_runtime(settings)
    relay = Relay(outbox=open_outbox(settings, engine, account))
    relay.start()
    try:
        yield Publishing(settings=settings, engine=engine, relay=relay)
    finally:
        relay.stop()
