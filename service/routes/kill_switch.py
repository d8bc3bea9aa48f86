"""The kill switch: its state, stopping and, by two persons, releasing; works without a database."""

from litestar import Response, get
from litestar.params import JSONBody

from service.operator.control import EngagedAnswer, EngageRequest, KillAnswer, ReleaseRequest
from service.routes.common import Service, answered_apart, described, operated


@get("/kill-switch", responses=described(KillAnswer))
async def kill_state(live: Service) -> Response[bytes]:
    """What is stopped, by whom and why."""
    return await answered_apart(live.killing.state)


@operated("/kill-switch", EngagedAnswer)
async def kill_engage(data: JSONBody[EngageRequest], live: Service) -> Response[bytes]:
    """Stop new orders, cancel all, confirm by query; the answer lists what is still open."""
    return await answered_apart(live.killing.engage, data)


@operated("/kill-switch/release", KillAnswer)
async def kill_release(data: JSONBody[ReleaseRequest], live: Service) -> Response[bytes]:
    """Allow a scope again; needs the names of two persons."""
    return await answered_apart(live.killing.release, data)
