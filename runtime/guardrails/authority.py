"""Check 1: may this bundle, in this stage, trade this symbol now, and is no kill switch on?"""

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import Context, Standing, age, blocked, passed, unlimited
from runtime.policy import Policy

NAME = "1 authority"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block on kill, an unapproved bundle or caller, a restricted symbol, or out of session."""
    limits = policy.authority
    for scope in (
        "all",
        f"account.{context.account}",
        f"study.{context.study}",
        f"symbol.{order.symbol}",
    ):
        if scope in context.killed:
            return blocked(NAME, "kill switch off", f"{scope} on", context.killed[scope])
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
    if order.symbol in limits.restricted:
        return blocked(NAME, "not restricted", order.symbol, "nobody may trade this symbol")
    if limits.submit_after_close is None:
        return unlimited(NAME, "authority.submit_after_close")
    if context.session is None:
        return blocked(NAME, "a session", "closed", "the exchange has no session today")
    late = age(context.at, context.session.close)
    if context.at < context.session.open or late > limits.submit_after_close:
        return blocked(
            NAME,
            f"open to close + {limits.submit_after_close} s",
            context.at.isoformat(),
            "outside the session and the time allowed after it",
        )
    return passed(NAME, "approved, entitled, in session", context.stage)
