"""What the routes share: typed query parameters and answers that are encoded already."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, TypeAlias

from litestar import MediaType, Response
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter, SkipValidation

from service.live import Live
from service.web.answers import Problem
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


def described(answer: Any) -> Mapping[int, ResponseSpec]:
    """Return the OpenAPI entries of a route that answers with an encoded `answer`."""
    refused = ResponseSpec(
        Problem, generate_examples=False, description="What is wrong, and the remedy."
    )
    return {
        200: ResponseSpec(answer, generate_examples=False, description=_ANSWER),
        400: refused,
        404: refused,
    }


def encoded(body: bytes, status: int = 200) -> Response[bytes]:
    """Return bytes that are JSON already; an answer that may be out of date says how old it is.

    `Age` is in seconds (RFC 9111), `Cache-Status` tells that the answer is stale (RFC 9211).
    """
    headers = {}
    if isinstance(body, Aged):
        seconds = str(int(body.age))
        headers = {"Age": seconds, "Cache-Status": f"sluice; hit; ttl=-{seconds}"}
    return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)
