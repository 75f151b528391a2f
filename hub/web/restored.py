"""The operator's door, continued: what a restored store lacks, and that a backup was made."""

from collections.abc import Callable
from typing import Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response

from hub.operations.reconcile import reconcile, shown
from hub.web.running import Administered


def restored_routes() -> APIRouter:
    """Serve the quarantine: what reconciling would do, and doing it."""
    router = APIRouter()

    @router.get("/restore")
    async def get_restore(request: Request) -> Response:
        hub = _hub(request)
        return await _answer(lambda: shown(hub))

    @router.post("/restore")
    async def post_restore(request: Request) -> Response:
        """Do again what the marks know, and let releases go on."""
        hub = _hub(request)
        return await _answer(lambda: reconcile(hub))

    @router.post("/backups")
    async def post_backup(request: Request) -> Response:
        """Put on record that the store was copied, so that the copy is known as an older one."""
        return await _answer(_hub(request).note_backup)

    return router


def _hub(request: Request) -> Administered:
    hub: Administered = request.app.state.hub
    return hub


async def _answer(act: Callable[[], Any]) -> Response:
    return Response(orjson.dumps(await to_thread.run_sync(act)), media_type="application/json")
