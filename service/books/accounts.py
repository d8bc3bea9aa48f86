"""Whose books are whose: live paper trading has one account, the replays of each bundle their own.

Accounts share one journal, so one chain proves them all; they share no cash, no position, no
order id and no venue record.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.journal.store import Journal
from runtime.registry import Registry
from service.books.reading import Reading

LIVE = "live"  # what `sluice trade` trades for


def replay_account(bundle: str) -> str:
    """Return the account that replays of a bundle trade for, by the bundle's hash."""
    return f"replay-{bundle[:12]}"


@dataclass(slots=True)
class Accounts:
    """Opens the books of each account once, and says which account the desk and the API show.

    Shown is the account that the settings name (SLUICE_ACCOUNT). If they name none: `live` from
    its first closed session on; before that the replay of the bundle that sits in the champion's
    seat, or sat there last.
    """

    open: Callable[[str], Reading]
    chain: Journal  # of the live account; proves and reads the chain of all
    registry: Registry
    named: str = ""
    _opened: dict[str, Reading] = field(default_factory=dict)

    def name(self) -> str:
        """Return the account that is shown now."""
        if self.named:
            return self.named
        history = self.registry.history()
        if not history or self.chain.last_session() is not None:
            return LIVE
        return replay_account((self.registry.active() or history[-1]).bundle)

    def shown(self) -> Reading:
        """Return the books of the account that is shown now."""
        return self._books(self.name())

    def holding(self, text: str) -> Reading:
        """Return the books that hold the decision or order whose id begins with `text`.

        Those that are shown come first; if no account knows the id, they are the answer.
        """
        shown = self.shown()
        others = (self._books(name) for name in self.chain.accounts())
        return next((one for one in (shown, *others) if one.knows(text)), shown)

    def _books(self, account: str) -> Reading:
        opened = self._opened.get(account)
        if opened is None:
            opened = self._opened[account] = self.open(account)
        return opened
