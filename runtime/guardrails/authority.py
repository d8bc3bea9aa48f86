"""Check 1: may this bundle, in this stage, trade this symbol now, and is no kill switch on?"""

from datetime import timedelta

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import Check, Context, Standing, blocked, passed, unlimited
from runtime.policies.policy import AuthorityLimits, Policy

NAME = "1 authority"


def prepare(context: Context, standing: Standing, policy: Policy) -> Check:
    """Block on kill, an unapproved bundle or caller, a restricted symbol, or out of session."""
    limits, killed = policy.authority, context.killed
    stopped, stranger = _stopped(context), _stranger(context, limits)
    restricted = frozenset(limits.restricted or ())
    in_session = _in_session(context, limits)

    def check(order: PlannedOrder) -> Verdict:
        if stopped is not None:
            return stopped
        if killed and (scope := f"symbol.{order.symbol}") in killed:
            return _killed(scope, killed[scope])
        if stranger is not None:
            return stranger
        if order.symbol in restricted:
            return blocked(NAME, "not restricted", order.symbol, "nobody may trade this symbol")
        return in_session

    return check


def _stopped(context: Context) -> Verdict | None:
    """Block everything while a kill switch is on for this whole desk."""
    for scope in ("all", f"account.{context.account}", f"study.{context.study}"):
        if scope in context.killed:
            return _killed(scope, context.killed[scope])
    return None


def _killed(scope: str, reason: str) -> Verdict:
    return blocked(NAME, "kill switch off", f"{scope} on", reason)


def _stranger(context: Context, limits: AuthorityLimits) -> Verdict | None:
    """Block a bundle that does not sit there, in a stage that may not, for a caller who may not."""
    if context.approved_bundle != context.bundle:
        seated = (context.approved_bundle or "nothing")[:12]
        return blocked(
            NAME, f"approved: {seated}", context.bundle[:12], "the registry approved another bundle"
        )
    stages = limits.paper_stages if context.simulated else limits.live_stages
    if stages is None:
        return unlimited(NAME, "authority.paper_stages or live_stages")
    if context.stage not in stages:
        venues = "paper" if context.simulated else "live"
        return blocked(
            NAME,
            f"{venues} venues: {', '.join(stages)}",
            context.stage,
            f"a {context.stage} bundle does not trade on {venues} venues",
        )
    if limits.entitled is None:
        return unlimited(NAME, "authority.entitled")
    if context.caller not in limits.entitled:
        return blocked(NAME, ", ".join(limits.entitled), context.caller, "caller is not entitled")
    if limits.restricted is None:
        return unlimited(NAME, "authority.restricted")
    return None


def _in_session(context: Context, limits: AuthorityLimits) -> Verdict:
    """Let through from the open until some time after the close, and at no other time."""
    if limits.submit_after_close is None:
        return unlimited(NAME, "authority.submit_after_close")
    if context.session is None:
        return blocked(NAME, "a session", "closed", "the exchange has no session today")
    late = context.at - context.session.close
    if context.at < context.session.open or late > timedelta(seconds=limits.submit_after_close):
        return blocked(
            NAME,
            f"open to close + {limits.submit_after_close} s",
            context.at.isoformat(),
            "outside the session and the time allowed after it",
        )
    return passed(NAME, "approved, entitled, in session", context.stage)
