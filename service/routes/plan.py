"""Today's plan."""

from litestar import Response, get

from service.routes.common import Day, Service, described, encoded
from service.web.answers import PlanAnswer


@get("/plan", responses=described(PlanAnswer))
async def plan(live: Service, day: Day = None) -> Response[bytes]:
    """Orders that the newest decision asks for, their guardrails, routes and fills."""
    key = ("plan", day)
    return encoded(await live.snapshots.answer(key, lambda: live.reading.plan(day)))
