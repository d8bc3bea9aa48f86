"""Errors become responses here and nowhere else: RFC 9457 problem+json, each with a remedy."""

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from featurestore.errors import PlatformError
from runtime.errors import (
    AlertRefused,
    AlertUnknown,
    BreakUnknown,
    BundleRefused,
    DatabaseUnavailable,
    JournalBroken,
    KeyPending,
    PolicyInvalid,
    PolicyRefused,
    RegistryConflict,
    ReleaseRefused,
    ScopeUnknown,
)
from service.faults import NotFound, QueryInvalid, ServiceFault
from service.web.answers import Problem
from service.web.guards import TokenRefused, WritesDisabled

MEDIA_TYPE = "application/problem+json"
LOG = logging.getLogger("sluice.service")

_STATUS: tuple[tuple[type[PlatformError], HTTPStatus, str], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND, "see /decisions and /sessions for what exists"),
    (QueryInvalid, HTTPStatus.BAD_REQUEST, "see /schema for the parameters"),
    (WritesDisabled, HTTPStatus.FORBIDDEN, "set SLUICE_OPERATOR_TOKEN"),
    (TokenRefused, HTTPStatus.UNAUTHORIZED, "send Authorization: Bearer and the token"),
    (ScopeUnknown, HTTPStatus.BAD_REQUEST, "name all, account.X, study.X, symbol.X or drift.STUDY"),
    (KeyPending, HTTPStatus.CONFLICT, "send it again with the same key for the answer"),
    (BreakUnknown, HTTPStatus.NOT_FOUND, "see GET /breaks for what is open"),
    (AlertRefused, HTTPStatus.BAD_REQUEST, "name a person"),
    (AlertUnknown, HTTPStatus.NOT_FOUND, "see GET /alerts for what is open"),
    (ReleaseRefused, HTTPStatus.CONFLICT, "see GET /kill-switch; a second person has to agree"),
    (RegistryConflict, HTTPStatus.CONFLICT, "see GET /registry and /registry/history"),
    (PolicyRefused, HTTPStatus.CONFLICT, "see GET /policy for policies, limits and overrides"),
    (
        PolicyInvalid,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "correct the policy; what is in force stays in force",
    ),
    (
        DatabaseUnavailable,
        HTTPStatus.SERVICE_UNAVAILABLE,
        "check SLUICE_DATABASE_URL and that the database runs",
    ),
    (
        JournalBroken,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "stop trading, keep the database as it is and restore from a verified copy",
    ),
    (
        BundleRefused,
        HTTPStatus.CONFLICT,
        "restore the bundle's folder from its archive, or promote again",
    ),
    (
        PlatformError,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "read the service's log; the journal holds what was done",
    ),
)


def problem(request: Request[Any, Any, Any], status: int, detail: str, remedy: str) -> Any:
    """Return the response for one error."""
    content = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        remedy=remedy,
        instance=request.url.path,
    )
    return Response(msgspec.json.encode(content), status_code=status, media_type=MEDIA_TYPE)


def on_platform_error(request: Request[Any, Any, Any], error: PlatformError) -> Any:
    """Answer an error we raised on purpose."""
    status, remedy = next((s, r) for kind, s, r in _STATUS if isinstance(error, kind))
    detail = str(error)
    if isinstance(error, ServiceFault):
        detail, remedy = error.detail, error.remedy
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        LOG.error("%s: %s", type(error).__name__, error)
    return problem(request, status, detail, remedy)


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Any:
    """Answer what the framework refuses: unknown paths, methods, malformed parameters."""
    remedy = "see /schema for paths and parameters"
    detail = error.detail
    if error.extra:
        detail = f"{detail} ({msgspec.json.encode(error.extra, enc_hook=str).decode()})"
    return problem(request, error.status_code, detail, remedy)


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Any:
    """Answer a defect of ours without showing its inside; the log has the traceback."""
    LOG.error("unexpected error at %s", request.url.path, exc_info=error)
    return problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the service failed unexpectedly",
        "this is a defect: report it with the service's log",
    )


HANDLERS: ExceptionHandlersMap = {
    PlatformError: on_platform_error,
    HTTPException: on_http_error,
    Exception: on_unexpected,
}
