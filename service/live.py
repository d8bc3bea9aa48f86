"""The live application's parts, as wiring put them together; every route reads through this."""

from dataclasses import dataclass

from runtime.journal.store import Journal
from runtime.registry import Registry
from service.health import HealthChecks
from service.origins import Origins
from service.proof import Proved
from service.reading import Reading
from service.seat import Seat
from service.settings import Settings
from service.shelf import Shelf
from service.snapshots import Snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One running service over one account."""

    settings: Settings
    journal: Journal
    registry: Registry
    seat: Seat[Proved]
    shelf: Shelf
    reading: Reading
    origins: Origins
    health: HealthChecks
    snapshots: Snapshots
