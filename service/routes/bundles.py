"""Which bundle decides, and how it came to sit there."""

from litestar import Response, get

from runtime.registry import Change
from service.live import Live
from service.routes.common import Service, described, encoded
from service.web.answers import BundleEvent, BundlesAnswer


@get("/bundles", responses=described(BundlesAnswer))
async def bundles(live: Service) -> Response[bytes]:
    """The active bundle and the registry's history, newest change first."""
    running = live.seat.sitting  # moves by itself, so it belongs to the question
    key = ("bundles", None if running is None else running.hash, live.seat.refused)
    return encoded(await live.snapshots.answer(key, lambda: _bundles(live)))


def _bundles(live: Live) -> BundlesAnswer:
    running = live.seat.sitting
    active = live.registry.active()
    return BundlesAnswer(
        active=None if active is None else _event(active),
        running=None if running is None else running.hash,
        refused=live.seat.refused,
        history=tuple(_event(change) for change in reversed(live.registry.history())),
    )


def _event(change: Change) -> BundleEvent:
    return BundleEvent(
        at=change.at,
        action=change.action,
        role=change.role,
        bundle=change.bundle,
        study=change.study,
        version=change.version,
        stage=change.stage,
        by=change.by,
        why=change.why,
    )
