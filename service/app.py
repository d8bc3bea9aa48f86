"""The live application: routes, middleware, errors and OpenAPI around what wiring built."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from prometheus_client import CollectorRegistry

from runtime.once import DatabaseKeys, FileKeys
from service.live import Live
from service.routes import (
    alerts,
    books,
    bundles,
    decisions,
    desk,
    equity,
    health,
    kill_switch,
    metrics,
    orders,
    plan,
    policy,
    positions,
    seats,
    sessions,
    signals,
)
from service.web.errors import HANDLERS
from service.web.guards import STATE
from service.web.measures import FlowMetrics, JournalMetrics
from service.web.observed import Observed, secured
from service.web.once import Once

VERSION = "0.1.0"
MAX_BODY = 64 * 1024  # bytes; no route takes a large body
ROUTES = (
    desk.page,
    desk.file,
    health.health,
    health.alive,
    metrics.metrics,
    signals.signals,
    plan.plan,
    positions.positions,
    equity.equity,
    sessions.sessions,
    decisions.decisions,
    books.decisions_find,
    decisions.decision,
    decisions.decision_origin,
    books.breaks,
    books.break_resolve,
    books.attribution,
    orders.order,
    orders.order_origin,
    bundles.bundles,
    seats.registry,
    seats.registry_history,
    seats.registry_comparison,
    seats.registry_shares,
    seats.registry_arms,
    seats.registry_rollback,
    alerts.alerts,
    alerts.acknowledge,
    kill_switch.kill_state,
    kill_switch.kill_engage,
    kill_switch.kill_release,
    policy.policy,
    policy.policy_diff,
    policy.policy_reload,
    policy.policy_rollback,
    policy.policy_review,
    policy.override_ask,
    policy.override_approve,
    policy.override_revoke,
)
_OPENAPI = OpenAPIConfig(
    title="Sluice",
    version=VERSION,
    description="Signals, plan, positions and decisions of one account, and their origin.",
    use_handler_docstrings=True,
    # The other plugins load their scripts from a CDN; this page must work without one.
    render_plugins=[JsonRenderPlugin(path=["/openapi.json", "/"])],
)


class Application(Litestar):
    """Litestar for routes that speak in structs.

    By default it loads pydantic and attrs, where they are installed, in case a route speaks in
    their classes; no route does, and they take longer to load than Litestar itself.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def create_app(live: Live, *, monotonic: Callable[[], float] = time.monotonic) -> Litestar:
    """Return the application over `live`; nothing is read before the first request.

    Args:
        live: from `service.wiring.open_live`.
        monotonic: seconds; times requests.
    """
    registry = CollectorRegistry(auto_describe=False)
    observed = Observed(registry, monotonic)
    registry.register(JournalMetrics(live))
    registry.register(FlowMetrics(live))

    def provide_live() -> Live:
        return live

    def provide_registry() -> CollectorRegistry:
        return registry

    return Application(
        route_handlers=ROUTES,
        dependencies={
            "live": Provide(provide_live, sync_to_thread=False),
            "metrics_registry": Provide(provide_registry, sync_to_thread=False),
        },
        state=State({STATE: live.operator_tokens}),
        before_send=[secured],
        exception_handlers=HANDLERS,
        lifespan=[_proving(live)],
        middleware=[observed, _once(live)],
        openapi_config=_OPENAPI,
        request_max_body_size=MAX_BODY,
        debug=False,
        logging_config=None,
    )


def _once(live: Live) -> Once:
    """Return what answers a repeated POST with the first one's answer."""
    return Once(
        DatabaseKeys(live.policies.log.engine),
        FileKeys(live.settings.workspace / "kill.keys"),
        live.policies.clock,
        live.operator_tokens,
        MAX_BODY,
    )


def _proving(live: Live) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """Return a lifespan that proves the journal and seats the bundle while requests are served."""

    @asynccontextmanager
    async def proving(_: Litestar) -> AsyncIterator[None]:
        task = asyncio.create_task(asyncio.to_thread(_prove, live))
        try:
            yield
        finally:
            await asyncio.gather(task, return_exceptions=True)

    return proving


def _prove(live: Live) -> None:
    """Prove what is served, then load what the first curve and the first scrape would wait for."""
    live.health.prove()
    import_module("numpy")
