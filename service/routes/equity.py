"""Equity against the benchmark."""

from datetime import date
from typing import Annotated

from litestar import Response, get
from litestar.params import QueryParameter

from service.faults import QueryInvalid
from service.routes.common import Service, described, encoded
from service.web.answers import EquityAnswer


@get("/equity", responses=described(EquityAnswer))
async def equity(
    live: Service,
    first: Annotated[date | None, QueryParameter(name="from", description="First day.")] = None,
    last: Annotated[date | None, QueryParameter(name="to", description="Last day.")] = None,
) -> Response[bytes]:
    """Daily equity and the benchmark as money from the same start, with the figures of both."""
    if first and last and first > last:
        raise QueryInvalid(f"from {first} lies after to {last}", "exchange the two days")
    key = ("equity", first, last)
    return encoded(await live.snapshots.answer(key, lambda: live.reading.equity(first, last)))
