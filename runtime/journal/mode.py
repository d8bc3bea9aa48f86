"""Whether an account trades on paper or with money: decided by its first engine, for ever.

A desk has paper venues only or real ones only (`runtime.desk`). This keeps an account from moving
between the two, so that no simulated fill can ever stand in books that name a real broker.
"""

from runtime.database import reading
from runtime.errors import AccountMode
from runtime.journal.store import Journal

_KNOWN = "SELECT simulated FROM journal_modes WHERE account = ?"
_FIRST = "INSERT INTO journal_modes (account, simulated) VALUES (?, ?) ON CONFLICT DO NOTHING"


def bind(journal: Journal, *, simulated: bool) -> None:
    """Bind an account to paper venues or to real ones, or check that it is bound so.

    Raises:
        AccountMode: it is bound to the other kind.
    """
    known = mode_of(journal)
    if known is None:
        with journal.writing() as connection:
            journal.sql.run(connection, _FIRST, [(journal.account, int(simulated))])
        known = mode_of(journal)
    if known is not simulated:
        kinds = ("real brokers", "paper venues")
        raise AccountMode(
            f"account {journal.account} trades with {kinds[bool(known)]}, this desk has "
            f"{kinds[simulated]}; a simulated fill never enters the books of real money, nor the "
            "other way round: use another account"
        )


def mode_of(journal: Journal) -> bool | None:
    """Return whether an account trades on paper; None if it never had an engine."""
    with reading(journal.engine) as connection:
        rows = journal.sql.rows(connection, _KNOWN, (journal.account,))
    return bool(rows[0][0]) if rows else None
