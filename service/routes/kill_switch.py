"""The kill switch: its state, stopping and, by two persons, releasing; works without a database."""

import asyncio

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody

from service.operator.control import EngagedAnswer, EngageRequest, KillAnswer, ReleaseRequest
from service.routes.common import Service, described, encoded
from service.web.guards import requires_operator


@get("/kill-switch", responses=described(KillAnswer))
async def kill_state(live: Service) -> Response[bytes]:
    """What is stopped, by whom and why."""
    return encoded(msgspec.json.encode(await asyncio.to_thread(live.killing.state)))


@post(
    "/kill-switch",
    status_code=200,
    guards=[requires_operator],
    responses=described(EngagedAnswer),
)
async def kill_engage(data: JSONBody[EngageRequest], live: Service) -> Response[bytes]:
    """Stop new orders, cancel all, confirm by query; the answer lists what is still open."""
    return encoded(msgspec.json.encode(await asyncio.to_thread(live.killing.engage, data)))


@post(
    "/kill-switch/release",
    status_code=200,
    guards=[requires_operator],
    responses=described(KillAnswer),
)
async def kill_release(data: JSONBody[ReleaseRequest], live: Service) -> Response[bytes]:
    """Allow a scope again; needs the names of two persons."""
    return encoded(msgspec.json.encode(await asyncio.to_thread(live.killing.release, data)))
