"""For whoever keeps the hub running: alive, ready, measured. Nothing here names a person.

What is measured shows how much each agency sends and gets, so on a production hub's public port it needs a token.
"""

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from hub.core.errors import HubError, Kind
from hub.metrics import CONTENT_TYPE, render
from hub.settings import Settings
from hub.token_file import read_token, shows
from hub.web.running import Running, hub_of


def operation_routes() -> APIRouter:
    """Serve `/healthz` (the process answers) and `/readyz` (it does its work, or why not)."""
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

    return router


def metrics_routes(token: str = "") -> APIRouter:
    """Serve `/metrics`: to anybody, or to who shows `token`, to all others as an address at which there is nothing."""
    router = APIRouter()

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        if token and not shows(request.headers.get("authorization", ""), token):
            raise HTTPException(404)
        return Response(await to_thread.run_sync(_measured, hub_of(request)), media_type=CONTENT_TYPE)

    return router


def public_metrics(settings: Settings) -> APIRouter | None:
    """Make the routes for the public port; None where it has none. Raises HubError(STARTUP) for an unusable token."""
    if settings.metrics_token_file is not None:
        token = read_token(
            settings.metrics_token_file, "/metrics", setting="HUB_METRICS_TOKEN_FILE", code="metrics-token-file"
        )
        return metrics_routes(token)
    return None if settings.mode == "production" else metrics_routes()


def _measured(hub: Running) -> bytes:
    hub.measure()
    return render(hub.metrics)
