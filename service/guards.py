"""Who may write over REST: whoever shows the operator's token from the settings."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from service.faults import ServiceFault

VARIABLE = "SLUICE_OPERATOR_TOKEN"
STATE = "operator_token"  # where the application keeps it


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
    expected = str(connection.app.state.get(STATE, ""))
    if not expected:
        raise WritesDisabled(
            "this service takes no writes: no operator token is configured",
            f"set {VARIABLE} and start it again, or use the command line on its host",
        )
    scheme, _space, shown = connection.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(shown.strip().encode(), expected.encode())
    if scheme.lower() != "bearer" or not same:
        raise TokenRefused(
            "the operator token is missing or wrong", f"send Authorization: Bearer ${VARIABLE}"
        )
