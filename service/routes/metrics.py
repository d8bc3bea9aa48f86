"""Metrics in Prometheus' text format."""

import asyncio

from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


@get("/metrics")
async def metrics(metrics_registry: NamedDependency[CollectorRegistry]) -> Response[bytes]:
    """Requests of this process, and what the journal counts."""
    body = await asyncio.to_thread(generate_latest, metrics_registry)
    return Response(body, headers={"content-type": CONTENT_TYPE_LATEST})
