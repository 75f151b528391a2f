"""For whoever keeps the hub running: alive, ready, measured. Nothing here names a person.

What is measured shows how much each agency sends and gets, so on a production hub's public port it needs a token.
"""

import stat
from hmac import compare_digest
from pathlib import Path

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from hub.core.errors import HubError, Kind
from hub.metrics import CONTENT_TYPE, render
from hub.settings import Settings
from hub.web.running import Running, hub_of

TOKEN_CHARS = 32  # 16 random bytes in hexadecimal: more than anybody can try


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
        if token and not _shows(request, token):
            raise HTTPException(404)
        return Response(await to_thread.run_sync(_measured, hub_of(request)), media_type=CONTENT_TYPE)

    return router


def public_metrics(settings: Settings) -> APIRouter | None:
    """Make the routes for the public port; None where it has none. Raises HubError(STARTUP) for an unusable token."""
    if settings.metrics_token_file is not None:
        return metrics_routes(_read_token(settings.metrics_token_file))
    return None if settings.mode == "production" else metrics_routes()


def _shows(request: Request, token: str) -> bool:
    """Compare in a time that does not tell how much of the token was right."""
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and compare_digest(shown.strip().encode(), token.encode())


def _read_token(path: Path) -> str:
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as cause:
        raise _unusable(path, "cannot be read") from cause
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _unusable(path, f"can be read by others (mode {stat.S_IMODE(mode):o})")
    if len(token) < TOKEN_CHARS or len(token.split()) != 1:
        raise _unusable(path, f"does not hold one word of at least {TOKEN_CHARS} characters")
    return token


def _unusable(path: Path, why: str) -> HubError:
    return HubError(
        Kind.STARTUP,
        f"the file with the token for /metrics {why}",
        where=path.name,
        remedy="Make it as deploy/README.md says, mode 0600, or unset HUB_METRICS_TOKEN_FILE.",
        code="metrics-token-file",
    )


def _measured(hub: Running) -> bytes:
    hub.measure()
    return render(hub.metrics)
