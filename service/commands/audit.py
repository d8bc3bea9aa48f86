"""`sluice audit`: whether every record of the workspace is as it was written."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Engine, inspect

from runtime.anchored import verified
from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.chain import ChainedLog, Head, HeadAnchor
from runtime.database import open_database, reading
from runtime.errors import DatabaseUnavailable, FeedInvalid, JournalBroken
from runtime.joint.identity import TABLE as JOINTS
from runtime.joint.shadow_log import TABLE as SHADOWS
from runtime.journal.store import Journal
from runtime.market.told import CHAIN as HALTS
from runtime.policies.log import TABLE as POLICIES
from runtime.scheduling.slots import TABLE as SCHEDULE
from service.books.accounts import LIVE
from service.books.shelf import LEASES, LEDGER
from service.console import OK, REFUSED, Output
from service.databases import HEADS, RecordsGone, open_runtime, refuse_gone
from service.faults import NotFound
from service.records import anchor, open_journal, open_registry
from service.settings import Settings, require_workspace
from service.trading.halts import told_halts

if TYPE_CHECKING:
    from rich.console import Console

JOURNAL = "journal"
_BOUND = "SELECT account, simulated FROM journal_modes"
_TRADED = "SELECT DISTINCT account, venue FROM journal_fills ORDER BY account, venue"


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """One chain, recomputed from its first entry."""

    name: str
    verified: bool
    entries: int | None  # None if it does not hold
    head: str | None
    anchored: int | None  # heads remembered outside; None = this chain has no file for them
    problem: str  # names the first entry or row that does not hold; "" if all do


class AuditAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What `sluice audit` found."""

    verified: bool
    chains: tuple[Audited, ...]
    unproved: tuple[str, ...]  # records that others keep, in words


class _Chain(NamedTuple):
    """One chain, before it is proved."""

    name: str
    verify: Callable[[], Head]
    kept: HeadAnchor | None  # None = no head of it is remembered outside
    # whether a head has to be remembered by now, if the chain has entries
    remembers: Callable[[], bool]


def audit_records(settings: Settings, output: Output, *, remember: bool = False) -> int:
    """Verify every chain of the workspace and report; returns 1 if one does not hold.

    Args:
        settings: where everything lies.
        output: of the command.
        remember: write down where chains end that hold and of which no head is remembered.
    """
    require_workspace(settings)
    chains = tuple(_audited(one, remember=remember) for one in _chains(settings))
    if not chains:
        raise NotFound(f"{settings.workspace} holds no record yet", "run sluice demo first")
    away = _away(settings)
    passed = all(chain.verified for chain in chains) and all(one.kept for one in away)
    unproved = tuple(one.words for one in away)
    answer = AuditAnswer(verified=passed, chains=chains, unproved=unproved)
    output.answer(answer, _shower(answer))
    return OK if answer.verified else REFUSED


def _chains(settings: Settings) -> Iterator[_Chain]:
    """Yield every chain there is, those of the database first and the venues' last."""
    outside = partial(anchor, settings)
    if not _there(settings):
        for name in HEADS:
            yield _Chain(name, partial(_gone, settings), outside(name), _always)
    elif _exists(settings, settings.database_url, JOURNAL, "registry"):
        engine = open_runtime(settings)
        journal = open_journal(settings, engine, LIVE)
        proof = partial(_proved_and_bound, settings, journal)
        yield _Chain(JOURNAL, proof, outside(JOURNAL), partial(_closed, journal.log))
        registry = open_registry(settings, engine)
        yield _Chain("registry", registry.verify, outside("registry"), _always)
        yield from _beside(engine, settings)
    if _exists(settings, settings.ledger_url, LEDGER):
        engine = open_database(settings.ledger_url)
        for name, table in ((LEDGER, LEDGER), ("leases", LEASES)):
            kept = HeadAnchor(settings.workspace / f"{name}.head")
            yield _Chain(name, partial(_proved, engine, table, kept), kept, _always)
    halts = told_halts(settings)
    if halts.known:
        yield _Chain(HALTS, halts.prove, halts.anchor, _always)
    for path in _records(settings):
        name = f"venue {path.parent.name}/{path.stem}"
        kept = HeadAnchor(path.with_suffix(".head"))
        served = partial(_served, path)
        # a record of the process that trades has no file of heads, one that is served has
        told = kept if kept.path.exists() or _answered(served) else None
        yield _Chain(name, partial(_venue, path), told, served)


def _proved_and_bound(settings: Settings, journal: Journal) -> Head:
    """Prove the journal, and that what traded at paper venues is still bound to paper."""
    head, traded = journal.verify(), set(journal.accounts())
    with reading(journal.engine) as connection:
        bound: dict[str, int] = {row[0]: row[1] for row in connection.exec_driver_sql(_BOUND)}
    for account in sorted({path.parent.name for path in _records(settings)} & traded):
        if not bound.get(account):
            kind = "money" if account in bound else "nothing"
            raise JournalBroken(
                f"journal_modes binds account {account} to {kind}, and it traded at the paper "
                f"venues of {settings.venue_records(account)}: a simulated fill could enter the "
                "books of real money"
            )
    return head


def _there(settings: Settings) -> bool:
    try:
        refuse_gone(settings)
    except RecordsGone:
        return False
    return True


def _gone(settings: Settings) -> Head:
    """Say which file is gone, as the proof of what stood in it."""
    refuse_gone(settings)
    raise JournalBroken("its file was put back meanwhile; audit again")


def _beside(engine: Engine, settings: Settings) -> Iterator[_Chain]:
    """Yield the chains that are only there once live trading began, or several bundles trade."""
    known = inspect(engine).get_table_names()
    for name in (POLICIES, JOINTS, SHADOWS, SCHEDULE):
        kept = anchor(settings, name)
        begun = name in known and ChainedLog(engine, name).head().seq
        if begun or kept.path.is_file():
            yield _Chain(name, partial(_proved, engine, name, kept), kept, _always)


def _always() -> bool:
    return True


def _closed(log: ChainedLog) -> bool:
    """Return whether a session was closed, which is when the journal's head is remembered."""
    with reading(log.engine) as connection:
        query = f"SELECT seq FROM {log.table} WHERE kind = 'session' LIMIT 1"
        return connection.exec_driver_sql(query).fetchone() is not None


def _records(settings: Settings) -> list[Path]:
    """Return the files of the venues' own records that are here."""
    return sorted((settings.workspace / "venues").glob("*/*.db"))


class _Away(NamedTuple):
    """A record that was traded on and cannot be proved from here."""

    words: str
    kept: bool  # somebody is named who keeps it, and can prove it there


def _away(settings: Settings) -> list[_Away]:
    """Return what is not here; only live trading may be at venues that others serve."""
    here = {(path.parent.name, path.stem) for path in _records(settings)}
    if not _exists(settings, settings.database_url, JOURNAL):
        return []
    try:
        with reading(open_runtime(settings)) as connection:
            rows = connection.exec_driver_sql(_TRADED).fetchall()
    except DatabaseUnavailable:
        return []  # the journal's own line says what is wrong with it
    found = []
    for account, venue in rows:
        if (account, venue) in here:
            continue
        kept, way = False, "put it back"
        if account == LIVE and settings.venue_url:
            kept, way = True, f"ask where {settings.venue_url} is served: sluice venue verify"
        elif account == LIVE:
            way += ", or name in SLUICE_VENUE_URL who keeps it"
        words = (
            f"venue {venue}, at which account {account} has executions, keeps no record in "
            f"{settings.workspace / 'venues' / account}; {way}"
        )
        found.append(_Away(words, kept))
    return found


def _opened(path: Path) -> PaperVenue:
    return PaperVenue(path, replace(PRIMARY, name=path.stem))


def _venue(path: Path) -> Head:
    """Prove a venue's record, its tables against its chain too."""
    with closing(_opened(path)) as venue:
        return venue.prove(HeadAnchor(path.with_suffix(".head")).heads())


def _served(path: Path) -> bool:
    with closing(_opened(path)) as venue:
        return venue.served()


def _answered(ask: Callable[[], bool]) -> bool:
    """Return what a record answers, True if it is damaged; to prove it says how."""
    try:
        return ask()
    except DatabaseUnavailable:
        return True


def _exists(settings: Settings, url: str, *names: str) -> bool:
    """Say whether a record is there; one that only its anchor remembers counts as there."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or Path(parts.path.removeprefix("/")).is_file():
        return True
    return any((settings.workspace / f"{name}.head").is_file() for name in names)


def _proved(engine: Engine, table: str, kept: HeadAnchor) -> Head:
    return verified(ChainedLog(engine, table), kept)


def _audited(chain: _Chain, *, remember: bool) -> Audited:
    """Prove one chain; one without a head outside that should have one has not passed."""
    head, problem = None, ""
    try:
        head = chain.verify()
        anchored = None if chain.kept is None else len(chain.kept.heads())
        if anchored == 0 and head.seq and chain.remembers() and chain.kept is not None:
            if remember:
                chain.kept.record(head)
                anchored = 1
            else:
                problem = (
                    f"{head.seq:,} entries hold, but {chain.kept.path} remembers no head of them, "
                    "so a cut-off end would not be noticed; put the file back, or, once the "
                    "entries are known to be whole, remember their head with sluice audit "
                    "--remember"
                )
    except (JournalBroken, DatabaseUnavailable, FeedInvalid) as error:
        problem = str(error)
        head, anchored = None, None if chain.kept is None else len(chain.kept.heads())
    return Audited(
        name=chain.name,
        verified=not problem,
        entries=None if head is None else head.seq,
        head=None if head is None else head.hash,
        anchored=anchored,
        problem=problem,
    )


def _shower(answer: AuditAnswer) -> "Callable[[Console], None]":
    def show(console: "Console") -> None:
        for chain in answer.chains:
            if chain.verified:
                outside = (
                    "no head is remembered outside"
                    if chain.anchored is None
                    else f"{chain.anchored:,} heads remembered outside are met"
                )
                console.print(
                    f"[green]ok     [/green] [bold]{chain.name:<9}[/bold] "
                    f"{chain.entries:,} entries, {outside}, head {(chain.head or '')[:16]}"
                )
            else:
                console.print(f"[bold red]refused[/bold red] [bold]{chain.name:<9}[/bold]", end=" ")
                console.print(chain.problem, markup=False)
        for one in answer.unproved:
            console.print("[yellow]not proved[/yellow]", end=" ")
            console.print(one, markup=False)

    return show
