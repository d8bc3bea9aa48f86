"""Answers about the journal for command line and API: breaks, attribution, decisions found."""

from datetime import date

from runtime.journal.attribution import attribute
from runtime.journal.breaks import BreakLog, KeptBreak
from runtime.journal.decisions import DecisionStore
from runtime.journal.queries import JournalQueries
from service.books.answers import (
    Attributed,
    BreakLine,
    BreaksAnswer,
    DecisionLine,
    DecisionPage,
    SessionLine,
)
from service.faults import NotFound
from service.settings import Settings

Days = tuple[date | None, date | None]


def breaks_of(journal: JournalQueries, today: date, *, every: bool) -> BreaksAnswer:
    """Return open breaks, or all, in the order they were opened."""
    kept = BreakLog(journal).all()
    shown = [one for one in kept if every or one.resolved_at is None]
    return BreaksAnswer(
        account=journal.account,
        open=sum(one.resolved_at is None for one in kept),
        items=tuple(break_line(one, today) for one in shown),
    )


def break_line(one: KeptBreak, today: date) -> BreakLine:
    """Return a break as it is shown on a day."""
    found = one.found
    return BreakLine(
        break_id=one.break_id,
        day=found.day,
        age_days=one.age(today),
        kind=found.kind.value,
        venue=found.venue,
        symbol=found.symbol,
        execution_id=found.execution_id,
        ours=found.ours,
        theirs=found.theirs,
        amount=one.amount,
        resolved_at=one.resolved_at,
        by=one.by,
        reason=one.reason,
    )


def attributed(settings: Settings, journal: JournalQueries, days: Days) -> Attributed:
    """Return where the profit of some days came from; NotFound without a closed session."""
    from service.trading.paper import paper_market  # how venues fill; nothing else here asks

    spreads = {one.name: one.half_spread for one in paper_market(settings).venues}
    found = attribute(journal, spreads, start=days[0], end=days[1])
    if not found.sessions:
        raise NotFound("no session was closed in those days", "ask for others")
    return Attributed(
        account=journal.account,
        first=found.sessions[0].day,
        last=found.sessions[-1].day,
        profit=found.profit,
        parts=found.total(),
        sessions=tuple(
            SessionLine(day=one.day, profit=one.profit, parts=dict(one.parts))
            for one in found.sessions
        ),
    )


def found_decisions(
    journal: JournalQueries,
    days: Days,
    *,
    symbol: str | None,
    bundle: str | None,
    verdict: str | None,
    before: int | None,
    limit: int,
) -> DecisionPage:
    """Return a page of the decisions that meet every condition, newest first."""
    found = DecisionStore(journal).find(
        start=days[0],
        end=days[1],
        symbol=symbol,
        bundle=bundle,
        verdict=verdict,
        before=before,
        limit=limit + 1,
    )
    items = tuple(
        DecisionLine(
            seq=one.seq,
            decision_id=one.record.decision_id,
            tick=one.record.tick,
            bundle=one.record.bundle,
            study=one.record.study,
            planned=len(one.record.plan),
            denied=sum(line.denied for line in one.record.plan),
            orders=len(one.order_ids),
            refused=not one.record.symbols,
        )
        for one in found[:limit]
    )
    return DecisionPage(items=items, next=items[-1].seq if len(found) > limit else None)
