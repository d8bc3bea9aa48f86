"""What the journal's commands do: open the account's journal, ask or write, and show the answer."""

import time
from datetime import UTC, date, datetime
from datetime import time as midnight
from decimal import Decimal
from pathlib import Path

from runtime.clock import WallClock
from runtime.database import reading
from runtime.journal.actions import (
    Action,
    Charge,
    Correction,
    Reversal,
    Unclear,
    anew,
    taken_back,
)
from runtime.journal.adjustments import Adjustments
from runtime.journal.attribution import PARTS
from runtime.journal.breaks import Breaks
from runtime.journal.store import Journal
from service.books.accounts import LIVE
from service.books.answers import (
    Announced,
    Booked,
    DelayLine,
    Exported,
    Redecided,
    show_announced,
    show_attributed,
    show_booked,
    show_breaks,
    show_decisions,
    show_delays,
    show_exported,
    show_redecided,
)
from service.books.typed import Replacement
from service.books.views import Days, attributed, break_line, breaks_of, found_decisions
from service.console import OK, REFUSED, Output
from service.databases import open_runtime
from service.faults import NotFound, QueryInvalid
from service.records import open_journal, refuse_older
from service.settings import Settings, require_records
from service.trading.proof import prove_apart
from service.wiring import open_live


def journal_of(settings: Settings, account: str) -> Journal:
    """Open the journal of an account, of the one the desk shows if none is named.

    Raises:
        NotFound: nothing was ever decided or closed for an account of that name.
    """
    require_records(settings)
    engine = open_runtime(settings)
    refuse_older(settings, engine)
    if not account:
        live = open_live(settings, monotonic=time.monotonic, prove=prove_apart)
        account = live.accounts.name()
    journal = open_journal(settings, engine, account)
    known = {LIVE, *journal.accounts()}
    if account not in known:
        raise NotFound(
            f"the journal has no account {account!r}",
            f"its accounts are {', '.join(sorted(known))}",
        )
    return journal


def list_breaks(settings: Settings, output: Output, account: str, *, every: bool) -> int:
    """Show breaks; returns 1 if any is open."""
    today = WallClock().now().date()
    answer = breaks_of(journal_of(settings, account), today, every=every)
    output.answer(answer.items, lambda console: show_breaks(console, answer.items))
    return REFUSED if answer.open else OK


def resolve_break(
    settings: Settings, output: Output, account: str, name: str, *, by: str, reason: str
) -> None:
    """Close a break in somebody's name."""
    journal, now = journal_of(settings, account), WallClock().now()
    closed = Breaks(journal).resolve(name, by=by, reason=reason, at=now)
    lines = (break_line(closed, now.date()),)
    output.answer(lines, lambda console: show_breaks(console, lines))


def book_action(settings: Settings, output: Output, account: str, action: Action) -> None:
    """Book an action and show what it did; NotFound if the account never traded its symbol."""
    journal = journal_of(settings, account)
    of_units = not isinstance(action, Charge | Reversal)
    if of_units and action.symbol not in (traded := _traded(journal)):
        raise NotFound(
            f"{journal.account} never traded {action.symbol!r}, so there is nothing to book",
            f"it traded {', '.join(sorted(traded)) or 'nothing at all'}",
        )
    fresh = Adjustments(journal).record_action(action)
    _show_booked(output, journal, action.action_id, action.symbol, fresh=fresh)


def _traded(journal: Journal) -> set[str]:
    """Return the symbols that the account has executions of, of however many years."""
    with reading(journal.engine) as connection:
        query = "SELECT DISTINCT symbol FROM journal_fills WHERE account = ?"
        return {row[0] for row in journal.sql.rows(connection, query, (journal.account,))}


def take_back(
    settings: Settings, output: Output, account: str, name: str, *, by: str, reason: str
) -> None:
    """Take a booked split or dividend back by an entry of its own, and show what it did."""
    journal = journal_of(settings, account)
    fresh = Adjustments(journal).take_back(name, by=by, reason=reason, at=WallClock().now())
    symbol = taken_back(journal.adjustments())[name].symbol
    _show_booked(output, journal, f"{name}/taken-back", symbol, fresh=fresh)


def book_announced(settings: Settings, output: Output, account: str, view: str, days: Days) -> int:
    """Book the splits and dividends of a view of the lake that took effect between two days.

    Returns:
        The exit status: 1 if one cannot be booked as it was announced; the others are.
    """
    from featurestore.lake import Lake
    from featurestore.series import OwnTimes
    from featurestore.store import FeatureStore
    from runtime.chain import micros
    from runtime.journal.announced import announced
    from service.trading.engines import OPENING

    journal, now = journal_of(settings, account), WallClock().now()
    store = FeatureStore(Lake(settings.lake_url))
    table = store.reader(store.snapshot(), opening=OPENING).table(view)
    fields = {field.name for field in store.view(view).fields}
    if not isinstance(table, OwnTimes) or {"split", "dividend"} - fields:
        raise QueryInvalid(f"{view} is no view of actions", "sluice features list shows the views")
    books, done, unclear = Adjustments(journal), [], []
    undone = taken_back(journal.adjustments())
    for event in announced(
        table,
        {record.fill.symbol for record in journal.fills()},
        at=micros(now),
        first=datetime.combine(days[0] or date.min, midnight(), UTC),
        last=min(now, datetime.combine(days[1] or date.max, midnight.max, UTC)),
    ):
        if isinstance(event, Unclear):
            unclear.append(event.words)
        elif books.record_action(again := anew(event, undone)):
            done.append(again.action_id)
    journal.remember()
    answer = Announced(
        account=journal.account,
        booked=tuple(done),
        unclear=tuple(unclear),
        cash=journal.book().cash,
        journal_head=journal.head().hash,
    )
    output.answer(answer, lambda console: show_announced(console, answer))
    return REFUSED if unclear else OK


def correct(
    settings: Settings,
    output: Output,
    account: str,
    execution: tuple[str, str],
    right: Replacement | None,
    *,
    by: str,
    reason: str,
) -> None:
    """Bust or replace an execution, named by venue and id, and show what it did."""
    journal = journal_of(settings, account)
    venue, name = execution
    kept = (record.fill for record in journal.fills())
    wrong = next((one for one in kept if (one.venue, one.execution_id) == execution), None)
    if wrong is None:
        raise NotFound(f"{journal.account} has no execution {name} of {venue}", "see sluice export")
    correction = Correction(
        venue=venue,
        execution_id=name,
        replacement=None if right is None else right.of(wrong),
        at=WallClock().now(),
        by=by,
        reason=reason,
    )
    fresh = Adjustments(journal).record_correction(correction)
    _show_booked(output, journal, name, wrong.symbol, fresh=fresh)


def show_attribution(settings: Settings, output: Output, account: str, days: Days) -> None:
    """Show where the profit came from."""
    answer = attributed(settings, journal_of(settings, account), days)
    output.answer(answer, lambda console: show_attributed(console, answer, PARTS))


def show_decay(
    settings: Settings, output: Output, account: str, days: Days, *, horizon: int, delays: int
) -> None:
    """Show what decisions are worth, acted on later and later."""
    from runtime.journal.decay import decay

    journal = journal_of(settings, account)
    points = decay(journal, delays=range(delays + 1), horizon=horizon, start=days[0], end=days[1])
    if not any(one.decisions for one in points):
        raise NotFound(
            f"no decision of {journal.account} in those days has {horizon + delays} sessions "
            "after it",
            "ask for a shorter --horizon, fewer --delays or earlier days",
        )
    lines = tuple(
        DelayLine(
            delay=one.delay,
            decisions=one.decisions,
            excess=one.excess,
            error=one.error,
            rank=one.rank,
        )
        for one in points
    )
    output.answer(lines, lambda console: show_delays(console, lines, horizon))


def list_decisions(
    settings: Settings,
    output: Output,
    account: str,
    *,
    start: date | None,
    end: date | None,
    symbol: str | None,
    bundle: str | None,
    verdict: str | None,
    before: int | None,
    limit: int,
) -> None:
    """Show a page of decisions."""
    page = found_decisions(
        journal_of(settings, account),
        (start, end),
        symbol=symbol,
        bundle=bundle,
        verdict=verdict,
        before=before,
        limit=limit,
    )
    output.answer(page, lambda console: show_decisions(console, page))


def write_export(
    settings: Settings, output: Output, account: str, what: str, out: Path, days: Days
) -> None:
    """Write a part of the journal to Parquet."""
    from runtime.journal.export import export

    done = export(journal_of(settings, account), what, out, start=days[0], end=days[1])
    answer = Exported(
        what=done.what, path=str(done.path), rows=done.rows, head=done.head, sha256=done.sha256
    )
    output.answer(answer, lambda console: show_exported(console, answer))


def redecide(
    settings: Settings,
    output: Output,
    account: str,
    days: Days,
    *,
    evaluations: int,
    threads: int,
    seed: int,
) -> int:
    """Decide again from the journal; returns 1 if anything differs."""
    from runtime.bundles.bundle import load_bundle
    from runtime.bundles.signing import load_trusted
    from runtime.journal.redecide import redecide as again

    journal, trusted = journal_of(settings, account), load_trusted(settings.trusted_keys)
    start = time.perf_counter()
    found = again(
        journal,
        lambda name: load_bundle(settings.bundles / name, trusted),
        start=days[0],
        end=days[1],
        evaluations=evaluations,
        threads=threads,
        seed=seed,
    )
    if not found.decisions + found.refusals:
        raise NotFound(
            f"nothing was decided for {journal.account} in those days, so nothing is proved",
            "ask for others; sluice decisions lists them",
        )
    answer = Redecided(
        decisions=found.decisions,
        refusals=found.refusals,
        whole=found.whole,
        evaluations=found.evaluations,
        differences=tuple(f"{one.tick} {one.decision_id}: {one.what}" for one in found.differences),
        seconds=time.perf_counter() - start,
    )
    output.answer(answer, lambda console: show_redecided(console, answer))
    return REFUSED if found.differences else OK


def _show_booked(output: Output, journal: Journal, name: str, symbol: str, *, fresh: bool) -> None:
    journal.remember()  # where it was only said again, too
    book = journal.book()
    held = book.positions().get(symbol)
    answer = Booked(
        account=journal.account,
        name=name,
        fresh=fresh,
        symbol=symbol,
        quantity=book.position(symbol),
        basis=held.basis if held else Decimal("0.00"),
        cash=book.cash,
        journal_head=journal.head().hash,
    )
    output.answer(answer, lambda console: show_booked(console, answer))
