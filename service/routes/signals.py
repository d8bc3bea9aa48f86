"""Today's signals."""

from litestar import Response, get
from litestar.di import NamedDependency

from service.answers import SignalsAnswer
from service.live import Live
from service.routes.common import Day, described, encoded


@get("/signals", responses=described(SignalsAnswer))
async def signals(live: NamedDependency[Live], day: Day = None) -> Response[bytes]:
    """Scores and target weights of the newest decision, highest score first."""
    key = ("signals", day)
    return encoded(await live.snapshots.answer(key, lambda: live.reading.signals(day)))
