"""The guardrail policy: what is in force, a dry run, reload, rollback and overrides."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody

from service.live import Live
from service.operator.control import (
    DiffAnswer,
    DiffRequest,
    OverrideAnswer,
    OverrideRequest,
    PersonRequest,
    PolicyAnswer,
    ReloadRequest,
    RollbackRequest,
)
from service.routes.common import Service, described, encoded
from service.web.guards import requires_operator


async def _answer(work: Callable[..., Any], *arguments: Any, **named: Any) -> Response[bytes]:
    return encoded(msgspec.json.encode(await asyncio.to_thread(work, *arguments, **named)))


@get("/policy", responses=described(PolicyAnswer))
async def policy(live: Service) -> Response[bytes]:
    """The policy in force with its hash, its history and every override that is not over."""
    return await _answer(live.policies.show)


@post("/policy/diff", status_code=200, guards=[requires_operator], responses=described(DiffAnswer))
async def policy_diff(data: JSONBody[DiffRequest], live: Service) -> Response[bytes]:
    """What a policy, or the file as it is now, would change; changes nothing."""
    return await _answer(live.policies.diff, data.text)


@post(
    "/policy/reload",
    status_code=200,
    guards=[requires_operator],
    responses=described(PolicyAnswer),
)
async def policy_reload(data: JSONBody[ReloadRequest], live: Service) -> Response[bytes]:
    """Read the policy file again; an invalid one keeps the previous policy and says why."""
    return await _answer(_reload, live, data)


@post(
    "/policy/rollback",
    status_code=200,
    guards=[requires_operator],
    responses=described(PolicyAnswer),
)
async def policy_rollback(data: JSONBody[RollbackRequest], live: Service) -> Response[bytes]:
    """Bring an earlier policy back into force; it stands until the file changes."""
    return await _answer(_rollback, live, data)


@post(
    "/policy/overrides",
    status_code=201,
    guards=[requires_operator],
    responses=described(OverrideAnswer),
)
async def override_ask(data: JSONBody[OverrideRequest], live: Service) -> Response[bytes]:
    """Ask to change one limit for a while; in force once a second person approves."""
    found = await asyncio.to_thread(live.policies.ask, data)
    return encoded(msgspec.json.encode(found), 201)


@post(
    "/policy/overrides/{override_id:str}/approve",
    status_code=200,
    guards=[requires_operator],
    responses=described(OverrideAnswer),
)
async def override_approve(
    override_id: FromPath[str], data: JSONBody[PersonRequest], live: Service
) -> Response[bytes]:
    """Approve an override as another person than who asked for it."""
    return await _answer(live.policies.approve, override_id, by=data.by)


@post(
    "/policy/overrides/{override_id:str}/revoke",
    status_code=200,
    guards=[requires_operator],
    responses=described(OverrideAnswer),
)
async def override_revoke(
    override_id: FromPath[str], data: JSONBody[PersonRequest], live: Service
) -> Response[bytes]:
    """End an override before its time."""
    return await _answer(live.policies.revoke, override_id, by=data.by)


def _reload(live: Live, asked: ReloadRequest) -> PolicyAnswer:
    done = live.policies.reload(by=asked.by, why=asked.why)
    return live.policies.show(changed=done.changed)


def _rollback(live: Live, asked: RollbackRequest) -> PolicyAnswer:
    before = live.policies.log.active()
    done = live.policies.rollback(asked.number, by=asked.by, why=asked.why)
    return live.policies.show(changed=done != before)
