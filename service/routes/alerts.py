"""Alerts: what is open, and taking one on; read from files, so they work without a database."""

from litestar import Response, get
from litestar.params import JSONBody

from runtime.alerts.alert import Alert
from runtime.clock import WallClock
from service.operator.control import TakeRequest
from service.routes.common import Service, answered_apart, described, operated


@get("/alerts", responses=described(list[Alert]))
async def alerts(live: Service) -> Response[bytes]:
    """The open alerts, oldest first, with who was told and who took them."""
    return await answered_apart(live.alerts.open)


@operated("/alerts/{alert:str}/acknowledge", Alert)
async def acknowledge(alert: str, data: JSONBody[TakeRequest], live: Service) -> Response[bytes]:
    """Take an alert on, by its id or key: it climbs no further."""
    return await answered_apart(
        live.alerts.acknowledge, alert, by=data.by, at=WallClock().now(), note=data.note
    )
