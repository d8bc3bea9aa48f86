"""The live application's parts, as wiring put them together; every route reads through this."""

from collections.abc import Callable
from dataclasses import dataclass

from runtime.alerts.book import AlertBook
from runtime.journal.queries import JournalQueries
from runtime.registry import Registry
from service.books.accounts import Accounts
from service.books.origins import Origins
from service.books.reading import Reading
from service.books.shelf import Shelf
from service.operator.killing import Killing
from service.operator.policies import Policies
from service.operator.registrar import Registrar
from service.settings import Settings
from service.trading.proof import Proved
from service.trading.seat import Seat
from service.web.health import HealthChecks, Looking
from service.web.snapshots import Snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One running service; its nouns are those of the account that is shown."""

    settings: Settings
    registry: Registry
    registrar: Registrar
    seat: Seat[Proved]
    shelf: Shelf
    accounts: Accounts
    origins: Origins
    health: HealthChecks
    looking: Looking
    snapshots: Snapshots
    policies: Policies
    killing: Killing
    alerts: AlertBook
    operator_tokens: Callable[[], tuple[str, ...]]  # those that count now; none = no writes

    @property
    def reading(self) -> Reading:
        """Return the books that are shown now."""
        return self.accounts.shown()

    @property
    def journal(self) -> JournalQueries:
        """Return the journal of the account that is shown now."""
        return self.reading.journal
