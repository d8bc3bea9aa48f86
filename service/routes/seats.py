"""Who sits where with how much capital, who is better, and the one write: rolling back."""

from datetime import UTC, datetime, time
from typing import Annotated

from litestar import Response, get
from litestar.params import JSONBody, QueryParameter

from service.live import Live
from service.operator.seats import (
    ArmsAnswer,
    CompareAnswer,
    HistoryAnswer,
    RegistryAnswer,
    RollbackSeat,
    RolledBack,
    SharesAnswer,
)
from service.routes.common import Day, Limit, Service, answered, described, encoded, operated


@get("/registry", responses=described(RegistryAnswer))
async def registry(live: Service, day: Day = None) -> Response[bytes]:
    """Every seat with its bundle, its share of the capital, its stop bands and its comparison."""
    at = None if day is None else datetime.combine(day, time.max, UTC)
    return encoded(await live.snapshots.answer(("registry", day), lambda: live.registrar.show(at)))


@get("/registry/history", responses=described(HistoryAnswer))
async def registry_history(
    live: Service, role: Annotated[str | None, QueryParameter(description="One seat only.")] = None
) -> Response[bytes]:
    """Every promotion, roll-back, stop, retirement and share of the capital, newest first."""
    key = ("registry/history", role)
    return encoded(
        await live.snapshots.answer(key, lambda: HistoryAnswer(items=live.registrar.history(role)))
    )


@get("/registry/comparison", responses=described(CompareAnswer))
async def registry_comparison(
    live: Service,
    role: Annotated[str, QueryParameter(description="The challenger's seat.")] = "challenger",
) -> Response[bytes]:
    """A challenger against its champion; may be looked at every day."""
    key = ("registry/comparison", role)
    return encoded(await live.snapshots.answer(key, lambda: live.registrar.compare(role)))


@get("/registry/shares", responses=described(SharesAnswer))
async def registry_shares(live: Service, limit: Limit = 1) -> Response[bytes]:
    """What each bundle of the live account has and made at the last closes."""
    key = ("registry/shares", limit)
    return encoded(await live.snapshots.answer(key, lambda: live.registrar.shares(limit)))


@get("/registry/arms", responses=described(ArmsAnswer))
async def registry_arms(live: Service) -> Response[bytes]:
    """Seats with capital against their control, on realised returns; may be looked at every day."""
    return encoded(await live.snapshots.answer(("registry/arms",), live.registrar.arms))


@operated("/registry/rollback", RolledBack)
async def registry_rollback(data: JSONBody[RollbackSeat], live: Service) -> Response[bytes]:
    """Put the bundle back that sat in a seat before; no request that is under way notices."""
    return await answered(_rollback, live, data)


def _rollback(live: Live, asked: RollbackSeat) -> RolledBack:
    change = live.registrar.rollback(asked.role, by=asked.by, why=asked.why)
    live.health.reseat()
    running = live.seat.sitting
    return RolledBack(
        change=change,
        running=None if running is None else running.hash,
        refused=live.seat.refused,
    )
