"""Whether the service lives and is ready."""

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec

from service.routes.common import Service, encoded
from service.web.answers import Health

_ANSWERS = {
    200: ResponseSpec(Health, generate_examples=False, description="Ready."),
    503: ResponseSpec(Health, generate_examples=False, description="Alive, not ready; says why."),
}


@get(["/health", "/health/ready"], responses=_ANSWERS)
async def health(live: Service) -> Response[bytes]:
    """Every check with its reason; status 503 while one of them fails."""
    found = await live.looking.answer()
    return encoded(msgspec.json.encode(found), 200 if found.ready else 503)


@get("/health/live")
async def alive() -> dict[str, bool]:
    """Answer as long as the process does; looks at nothing."""
    return {"live": True}
