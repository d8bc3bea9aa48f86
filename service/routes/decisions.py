"""Decisions: the list, one with everything, and the way back to the notebook cell."""

from typing import Annotated

from litestar import Response, get
from litestar.params import FromPath, QueryParameter

from service.routes.common import Day, Limit, Service, described, encoded
from service.web.answers import DecisionAnswer, DecisionsAnswer, OriginAnswer


@get("/decisions", responses=described(DecisionsAnswer))
async def decisions(
    live: Service,
    day: Day = None,
    before: Annotated[
        str | None, QueryParameter(description="Id that `next` of the page before gave.")
    ] = None,
    limit: Limit = 50,
) -> Response[bytes]:
    """Decisions, newest first."""
    key = ("decisions", day, before, limit)
    return encoded(
        await live.snapshots.answer(key, lambda: live.reading.decisions(day, before, limit))
    )


@get("/decisions/{decision_id:str}", responses=described(DecisionAnswer))
async def decision(live: Service, decision_id: FromPath[str]) -> Response[bytes]:
    """One decision with every input, guardrail verdict, route and fill."""
    key = ("decision", decision_id)
    return encoded(
        await live.snapshots.answer(
            key, lambda: live.accounts.holding(decision_id).decision(decision_id)
        )
    )


@get("/decisions/{decision_id:str}/origin", responses=described(OriginAnswer))
async def decision_origin(live: Service, decision_id: FromPath[str]) -> Response[bytes]:
    """The way back: bundle, study, trial, run and the notebook cell that decided."""
    key = ("origin", decision_id)
    return encoded(await live.snapshots.answer(key, lambda: live.origins.of(decision_id)))
