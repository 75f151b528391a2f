"""For whoever keeps the hub running: alive, ready, measured. Nothing here names a person, and nothing needs a token."""

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response

from hub.core.errors import HubError, Kind
from hub.metrics import CONTENT_TYPE, render
from hub.web.running import Running, hub_of


def operation_routes() -> APIRouter:
    """Serve `/healthz` (the process answers), `/readyz` (it does its work, or why not) and `/metrics`."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> Response:
        return Response(orjson.dumps({"status": "ok"}), media_type="application/json")

    @router.get("/readyz")
    async def readyz(request: Request) -> Response:
        troubles = await to_thread.run_sync(hub_of(request).troubles)
        if troubles:
            raise HubError(
                Kind.UNAVAILABLE,
                "The hub is not ready: " + "; ".join(item.what for item in troubles) + ".",
                remedy=troubles[0].remedy,
                code="not-ready",
                items=troubles,
            )
        return Response(orjson.dumps({"status": "ready"}), media_type="application/json")

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        return Response(await to_thread.run_sync(_measured, hub_of(request)), media_type=CONTENT_TYPE)

    return router


def _measured(hub: Running) -> bytes:
    hub.measure()
    return render(hub.metrics)
