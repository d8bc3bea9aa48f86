"""Who may write over REST: whoever shows the operator's token from the settings."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from service.faults import ServiceFault

VARIABLE = "SLUICE_OPERATOR_TOKEN"
STATE = "operator_tokens"  # where the application keeps how to ask for those that count now


class WritesDisabled(ServiceFault):
    """No operator token is configured, so nothing can be written over REST."""


class TokenRefused(ServiceFault):
    """The request shows no token, or another one."""


async def requires_operator(
    connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
) -> None:
    """Let a request through if it carries `Authorization: Bearer <token>`.

    Raises:
        WritesDisabled: the service has no token; the routes that only read work.
        TokenRefused: the request's token is missing or wrong.
    """
    accepted: tuple[str, ...] = connection.app.state[STATE]()
    if not accepted:
        raise WritesDisabled(
            "this service takes no writes: no operator token is configured",
            f"set {VARIABLE} and start it again, or use the command line on its host",
        )
    if not accepts(accepted, connection.headers.get("authorization", "")):
        raise TokenRefused(
            "the operator token is missing or wrong", f"send Authorization: Bearer ${VARIABLE}"
        )


def accepts(accepted: tuple[str, ...], authorization: str) -> bool:
    """Say whether an Authorization header shows one of the tokens that count."""
    scheme, _space, shown = authorization.partition(" ")
    offered = shown.strip().encode()
    same = [hmac.compare_digest(offered, one.encode()) for one in accepted]
    return scheme.lower() == "bearer" and any(same)
