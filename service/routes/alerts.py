"""Alerts: what is open, and taking one on; read from files, so they work without a database."""

import asyncio

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody

from runtime.alerts.alert import Alert
from runtime.clock import WallClock
from service.operator.control import TakeRequest
from service.routes.common import Service, described, encoded
from service.web.guards import requires_operator


@get("/alerts", responses=described(list[Alert]))
async def alerts(live: Service) -> Response[bytes]:
    """The open alerts, oldest first, with who was told and who took them."""
    return encoded(msgspec.json.encode(await asyncio.to_thread(live.alerts.open)))


@post(
    "/alerts/{alert:str}/acknowledge",
    status_code=200,
    guards=[requires_operator],
    responses=described(Alert),
)
async def acknowledge(alert: str, data: JSONBody[TakeRequest], live: Service) -> Response[bytes]:
    """Take an alert on, by its id or key: it climbs no further."""
    taken = await asyncio.to_thread(
        live.alerts.acknowledge, alert, by=data.by, at=WallClock().now(), note=data.note
    )
    return encoded(msgspec.json.encode(taken))
