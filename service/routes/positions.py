"""What is held."""

from litestar import Response, get

from service.routes.common import Day, Service, described, encoded
from service.web.answers import PositionsAnswer


@get("/positions", responses=described(PositionsAnswer))
async def positions(live: Service, day: Day = None) -> Response[bytes]:
    """Holdings, cash and equity at the close of the newest session."""
    key = ("positions", day)
    return encoded(await live.snapshots.answer(key, lambda: live.reading.positions(day)))
