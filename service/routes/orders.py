"""Orders: one with its fills, and the way back to the notebook cell."""

from litestar import Response, get
from litestar.params import FromPath

from service.routes.common import Service, described, encoded
from service.web.answers import OrderAnswer, OriginAnswer


@get("/orders/{order_id:str}", responses=described(OrderAnswer))
async def order(live: Service, order_id: FromPath[str]) -> Response[bytes]:
    """One order, where it stands, and its fills."""
    key = ("order", order_id)
    return encoded(
        await live.snapshots.answer(key, lambda: live.accounts.holding(order_id).order(order_id))
    )


@get("/orders/{order_id:str}/origin", responses=described(OriginAnswer))
async def order_origin(live: Service, order_id: FromPath[str]) -> Response[bytes]:
    """The way back: decision, bundle, study, trial, run and the notebook cell that decided."""
    key = ("origin", order_id)
    return encoded(await live.snapshots.answer(key, lambda: live.origins.of(order_id)))
