"""Closed sessions."""

from litestar import Response, get

from service.routes.common import Day, Limit, Service, described, encoded
from service.web.answers import SessionsAnswer


@get("/sessions", responses=described(SessionsAnswer))
async def sessions(live: Service, day: Day = None, limit: Limit = 50) -> Response[bytes]:
    """Sessions as the books closed them, newest first; `next` is the `day` of the next page."""
    key = ("sessions", day, limit)
    return encoded(await live.snapshots.answer(key, lambda: live.reading.sessions(day, limit)))
