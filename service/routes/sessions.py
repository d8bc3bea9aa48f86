"""Closed sessions."""

from litestar import Response, get
from litestar.di import NamedDependency

from service.answers import SessionsAnswer
from service.live import Live
from service.routes.common import Day, Limit, described, encoded


@get("/sessions", responses=described(SessionsAnswer))
async def sessions(
    live: NamedDependency[Live], day: Day = None, limit: Limit = 50
) -> Response[bytes]:
    """Sessions as the books closed them, newest first; `next` is the `day` of the next page."""
    key = ("sessions", day, limit)
    return encoded(await live.snapshots.answer(key, lambda: live.reading.sessions(day, limit)))
