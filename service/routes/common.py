"""What the routes share: typed query parameters and answers that are encoded already."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import MediaType, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter, SkipValidation
from litestar.status_codes import HTTP_200_OK

from service.live import Live
from service.web.answers import Problem
from service.web.apart import apart
from service.web.guards import requires_operator
from service.web.snapshots import Aged

# The framework would take the parts of a dataclass apart to validate them.
Service: TypeAlias = NamedDependency[SkipValidation[Live]]

Day: TypeAlias = Annotated[
    date | None, QueryParameter(description="As of the end of this day; the newest if absent.")
]
Limit: TypeAlias = Annotated[
    int, QueryParameter(ge=1, le=500, description="How many at most, from 1 to 500.")
]


_ANSWER = (
    "The answer. A header Age says for how many seconds it could not be renewed, because a "
    "database is slow or gone; without one it is right now."
)


def described(answer: Any, status: int = HTTP_200_OK) -> Mapping[int, ResponseSpec]:
    """Return the OpenAPI entries of a route that answers with an encoded `answer`."""
    refused = ResponseSpec(
        Problem, generate_examples=False, description="What is wrong, and the remedy."
    )
    return {
        status: ResponseSpec(answer, generate_examples=False, description=_ANSWER),
        400: refused,
        404: refused,
    }


def operated(path: str, answer: Any, status: int = HTTP_200_OK) -> Callable[[Any], Any]:
    """Return the decorator of a POST that an operator alone may send."""
    return post(
        path,
        status_code=status,
        guards=[requires_operator],
        responses=described(answer, status),
    )


async def answered(work: Callable[..., Any], *arguments: Any, **named: Any) -> Response[bytes]:
    """Do what may ask the database on a thread, and encode what it returns."""
    return encoded(msgspec.json.encode(await asyncio.to_thread(work, *arguments, **named)))


async def answered_apart(
    work: Callable[..., Any], *arguments: Any, **named: Any
) -> Response[bytes]:
    """Do what needs files alone; a database that stands still does not keep it waiting."""
    return encoded(msgspec.json.encode(await apart(work, *arguments, **named)))


def encoded(body: bytes, status: int | None = None) -> Response[bytes]:
    """Return bytes that are JSON already; an answer that may be out of date says how old it is.

    `Age` is in seconds (RFC 9111), `Cache-Status` tells that the answer is stale (RFC 9211).
    """
    headers = {}
    if isinstance(body, Aged):
        seconds = str(int(body.age))
        headers = {"Age": seconds, "Cache-Status": f"sluice; hit; ttl=-{seconds}"}
    return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)
