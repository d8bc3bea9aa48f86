"""The journal's own answers: breaks and their resolution, attribution, decisions of any year."""

from datetime import date
from typing import Annotated, TypeAlias

from litestar import Response, get
from litestar.params import JSONBody, QueryParameter

from runtime.clock import WallClock
from runtime.journal.breaks import Breaks
from service.books.answers import Attributed, BreakLine, BreaksAnswer, DecisionPage, ResolveRequest
from service.books.views import attributed, break_line, breaks_of, found_decisions
from service.databases import open_runtime
from service.live import Live
from service.records import open_journal
from service.routes.common import Limit, Service, answered, described, encoded, operated

First: TypeAlias = Annotated[date | None, QueryParameter(description="First day.")]
Last: TypeAlias = Annotated[date | None, QueryParameter(description="Last day, inclusive.")]


@get("/breaks", responses=described(BreaksAnswer))
async def breaks(
    live: Service,
    resolved: Annotated[bool, QueryParameter(description="Resolved ones too.")] = False,
) -> Response[bytes]:
    """Differences between our books and a venue's, with class, age and the amount in suspense."""
    today = WallClock().now().date()
    return await answered(breaks_of, live.journal, today, every=resolved)


@operated("/breaks/resolve", BreakLine)
async def break_resolve(data: JSONBody[ResolveRequest], live: Service) -> Response[bytes]:
    """Close an open break in somebody's name; the amount leaves suspense."""
    return await answered(_resolved, live, data)


def _resolved(live: Live, asked: ResolveRequest) -> BreakLine:
    now = WallClock().now()
    engine = open_runtime(live.settings)
    try:
        journal = open_journal(live.settings, engine, live.journal.account)
        closed = Breaks(journal).resolve(asked.break_id, by=asked.by, reason=asked.reason, at=now)
    finally:
        engine.dispose()
    return break_line(closed, now.date())


@get("/attribution", responses=described(Attributed))
async def attribution(live: Service, first: First = None, last: Last = None) -> Response[bytes]:
    """Profit by cause, session by session; parts sum to it to the cent."""
    key = ("attribution", first, last)
    return encoded(
        await live.snapshots.answer(
            key, lambda: attributed(live.settings, live.journal, (first, last))
        )
    )


@get("/decisions/find", responses=described(DecisionPage))
async def decisions_find(
    live: Service,
    first: First = None,
    last: Last = None,
    symbol: Annotated[str | None, QueryParameter(description="That planned it.")] = None,
    bundle: Annotated[str | None, QueryParameter(description="Its hash begins so.")] = None,
    verdict: Annotated[
        str | None, QueryParameter(description="ordered, denied, refused, or a check's name.")
    ] = None,
    before: Annotated[int | None, QueryParameter(description="`next` of the page before.")] = None,
    limit: Limit = 50,
) -> Response[bytes]:
    """Decisions of any year by day, symbol, bundle and verdict, newest first."""
    key = ("decisions/find", first, last, symbol, bundle, verdict, before, limit)
    return encoded(
        await live.snapshots.answer(
            key,
            lambda: found_decisions(
                live.journal,
                (first, last),
                symbol=symbol,
                bundle=bundle,
                verdict=verdict,
                before=before,
                limit=limit,
            ),
        )
    )
