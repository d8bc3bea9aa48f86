"""Runs a process of paper venues, and asks venues for their own side of the story."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.brokers.remote import RemoteVenue, venue_names
from runtime.brokers.server import VenueServer
from runtime.brokers.wire import address_of
from runtime.chain import HeadAnchor
from runtime.database import reading
from runtime.journal.reconcile import reconcile
from runtime.journal.store import Journal
from service.books.accounts import LIVE
from service.console import OK, REFUSED, Output
from service.databases import open_runtime
from service.faults import NotFound, QueryInvalid
from service.logs import configure
from service.records import open_journal
from service.settings import Settings, require_records
from service.trading.paper import remote_venues
from service.trading.venue import open_floor

if TYPE_CHECKING:
    from rich.console import Console

Days = tuple[date | None, date | None]
_URL = "set SLUICE_VENUE_URL, for instance tcp://127.0.0.1:8090"


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """A process of venues that listens."""

    address: str
    venues: tuple[str, ...]
    folder: str


class VenueLine(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a venue."""

    account: str
    venue: str
    entries: int  # of its chain
    head: str  # hex
    working: int  # orders


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Where our books and a venue's differ."""

    day: date
    venue: str
    kind: str
    words: str
    amount: Decimal  # USD


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """Our books against the venues' own."""

    account: str
    sessions: int
    venues: tuple[str, ...]
    executions: int  # on the venues' records of those sessions
    differences: tuple[Difference, ...]


def serve_venues(
    settings: Settings, output: Output, *, listen: str, price: str, exposed: bool
) -> int:
    """Serve the workspace's venues until SIGINT or SIGTERM; returns the exit status."""
    url = listen or settings.venue_url
    if not url:
        raise QueryInvalid("no address to listen on", _URL + ", or give --listen")
    configure(settings.logs)
    floor = open_floor(settings, price)
    server = VenueServer(floor, address_of(url), settings.venue_token, exposed)
    server.start()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    answer = Serving(address=server.url, venues=floor.names, folder=str(floor.folder))
    output.answer(
        answer,
        lambda console: console.print(
            f"Venues [bold]{', '.join(floor.names)}[/bold] at {server.url}  (Ctrl-C ends it)"
        ),
    )
    ended.wait()
    server.stop()
    return OK


def show_venues(settings: Settings, output: Output, account: str) -> None:
    """Show what the process of venues says of itself."""
    if not settings.venue_url:
        raise QueryInvalid("no process of venues is named", _URL)
    names = venue_names(address_of(settings.venue_url), settings.venue_token)
    found = []
    for venue in remote_venues(settings, names, account or LIVE):
        head = venue.head()
        line = VenueLine(
            account=venue.account,
            venue=venue.name,
            entries=head.seq,
            head=head.hash,
            working=len(venue.working()),
        )
        found.append(line)
        venue.close()
    output.answer(found, lambda console: _show(console, found))


def prove_venues(settings: Settings, output: Output) -> None:
    """Prove every record in the workspace; JournalBroken names the first that does not hold."""
    found = []
    for path in sorted((settings.workspace / "venues").glob("*/*.db")):
        with _opened(path) as venue:
            head = venue.prove_beside(HeadAnchor(path.with_suffix(".head")))
            line = VenueLine(
                account=path.parent.name,
                venue=venue.name,
                entries=head.seq,
                head=head.hash,
                working=len(venue.working()),
            )
            found.append(line)
    output.answer(found, lambda console: _show(console, found))


def reconcile_venues(settings: Settings, output: Output, account: str, days: Days) -> int:
    """Compare every closed session with every venue's own statement; 1 if they differ.

    Raises:
        NotFound: nothing was ever traded for the account, or a venue that it traded at keeps no
            record here: what is not there agrees with everything.
    """
    require_records(settings)
    account = account or LIVE
    journal = open_journal(settings, open_runtime(settings), account)
    if account not in (known := journal.accounts()):
        raise NotFound(
            f"nothing was ever traded for account {account!r}",
            f"the journal's accounts are {', '.join(known) or 'none yet'}",
        )
    sessions = journal.sessions(start=days[0], end=days[1])
    if not sessions:
        raise NotFound(f"no session of {account} was closed in those days", "ask for others")
    differences: list[Difference] = []
    executions = 0
    with _venues(settings, account) as venues:
        if gone := _traded_at(journal) - {venue.name for venue in venues}:
            raise NotFound(
                f"{account} has executions of {', '.join(sorted(gone))}, and no record of it is "
                "here to compare them with",
                f"put it back into {settings.venue_records(account)}, or name in SLUICE_VENUE_URL "
                "who keeps it",
            )
        for session in sessions:
            for venue in venues:
                theirs = venue.statement(session.day)
                executions += len(theirs.fills)
                differences += [
                    Difference(
                        day=one.day,
                        venue=one.venue,
                        kind=one.kind.value,
                        words=one.words(),
                        amount=one.amount,
                    )
                    for one in reconcile(journal.statement(venue.name, session.day), theirs)
                ]
        answer = Reconciled(
            account=account,
            sessions=len(sessions),
            venues=tuple(venue.name for venue in venues),
            executions=executions,
            differences=tuple(differences),
        )
    output.answer(answer, lambda console: _reconciled(console, answer))
    return REFUSED if differences else OK


def _traded_at(journal: Journal) -> set[str]:
    """Return the venues that the account has executions of."""
    with reading(journal.engine) as connection:
        query = "SELECT DISTINCT venue FROM journal_fills WHERE account = ?"
        return {row[0] for row in journal.sql.rows(connection, query, (journal.account,))}


@contextmanager
def _venues(settings: Settings, account: str) -> Iterator[Sequence[PaperVenue | RemoteVenue]]:
    """Yield the venues of an account: those of the other process, or the records that are here."""
    found: list[PaperVenue | RemoteVenue] = []
    if settings.venue_url and account == LIVE:
        names = venue_names(address_of(settings.venue_url), settings.venue_token)
        found += remote_venues(settings, names, account)
    else:
        paths = sorted(settings.venue_records(account).glob("*.db"))
        found += [PaperVenue(path, replace(PRIMARY, name=path.stem)) for path in paths]
    try:
        yield found
    finally:
        for venue in found:
            venue.close()


@contextmanager
def _opened(path: Path) -> Iterator[PaperVenue]:
    venue = PaperVenue(path, replace(PRIMARY, name=path.stem))
    try:
        yield venue
    finally:
        venue.close()


def _show(console: "Console", lines: Sequence[VenueLine]) -> None:
    for one in lines:
        console.print(
            f"{one.account}  [bold]{one.venue}[/bold]  {one.working} working, chain of "
            f"{one.entries:,} entries, head {one.head[:12]}"
        )
    if not lines:
        console.print("no venue has a record here yet")


def _reconciled(console: "Console", answer: Reconciled) -> None:
    console.print(
        f"{answer.account}: {answer.sessions:,} sessions and {answer.executions:,} executions at "
        f"{', '.join(answer.venues) or 'no venue'}, {len(answer.differences)} differences"
    )
    for one in answer.differences[:50]:
        console.print(f"  {one.words}")
