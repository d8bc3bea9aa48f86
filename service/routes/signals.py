"""Today's signals."""

from litestar import Response, get

from service.routes.common import Day, Service, described, encoded
from service.web.answers import SignalsAnswer


@get("/signals", responses=described(SignalsAnswer))
async def signals(live: Service, day: Day = None) -> Response[bytes]:
    """Scores and target weights of the newest decision, highest score first."""
    key = ("signals", day)
    return encoded(await live.snapshots.answer(key, lambda: live.reading.signals(day)))
