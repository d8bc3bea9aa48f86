"""The guardrail policy: what is in force, a dry run, reload, rollback, review and overrides."""

from litestar import Response, get
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
    ReviewRequest,
    RollbackRequest,
)
from service.routes.common import Service, answered, described, operated


@get("/policy", responses=described(PolicyAnswer))
async def policy(live: Service) -> Response[bytes]:
    """The policy in force with its hash, its history and every override that is not over."""
    return await answered(live.policies.show)


@operated("/policy/diff", DiffAnswer)
async def policy_diff(data: JSONBody[DiffRequest], live: Service) -> Response[bytes]:
    """What a policy, or the file as it is now, would change; changes nothing."""
    return await answered(live.policies.diff, data.text)


@operated("/policy/reload", PolicyAnswer)
async def policy_reload(data: JSONBody[ReloadRequest], live: Service) -> Response[bytes]:
    """Read the policy file again; an invalid one keeps the previous policy and says why."""
    return await answered(_reload, live, data)


@operated("/policy/rollback", PolicyAnswer)
async def policy_rollback(data: JSONBody[RollbackRequest], live: Service) -> Response[bytes]:
    """Bring an earlier policy back into force; it stands until the file changes."""
    return await answered(_rollback, live, data)


@operated("/policy/review", PolicyAnswer)
async def policy_review(data: JSONBody[ReviewRequest], live: Service) -> Response[bytes]:
    """Put on record that a person has looked at every limit in force; due every year."""
    return await answered(_review, live, data)


@operated("/policy/overrides", OverrideAnswer, status=201)
async def override_ask(data: JSONBody[OverrideRequest], live: Service) -> Response[bytes]:
    """Ask to change one limit for a while; in force once a second person approves."""
    return await answered(live.policies.ask, data)


@operated("/policy/overrides/{override_id:str}/approve", OverrideAnswer)
async def override_approve(
    override_id: FromPath[str], data: JSONBody[PersonRequest], live: Service
) -> Response[bytes]:
    """Approve an override as another person than who asked for it."""
    return await answered(live.policies.approve, override_id, by=data.by)


@operated("/policy/overrides/{override_id:str}/revoke", OverrideAnswer)
async def override_revoke(
    override_id: FromPath[str], data: JSONBody[PersonRequest], live: Service
) -> Response[bytes]:
    """End an override before its time."""
    return await answered(live.policies.revoke, override_id, by=data.by)


def _reload(live: Live, asked: ReloadRequest) -> PolicyAnswer:
    done = live.policies.reload(by=asked.by, why=asked.why)
    return live.policies.show(changed=done.changed)


def _review(live: Live, asked: ReviewRequest) -> PolicyAnswer:
    return live.policies.review(asked.number, by=asked.by, why=asked.why)


def _rollback(live: Live, asked: RollbackRequest) -> PolicyAnswer:
    before = live.policies.log.active()
    done = live.policies.rollback(asked.number, by=asked.by, why=asked.why)
    return live.policies.show(changed=done != before)
