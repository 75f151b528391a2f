"""For the operator's socket: which agencies have file drop, in which form, and how it goes."""

from typing import Annotated, Any, Literal

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from hub.web.running import Administered

JSON = "application/json"


def file_routes() -> APIRouter:
    """Serve `GET /file-drop` and `POST /file-drop`."""
    router = APIRouter()

    @router.get("/file-drop")
    async def listed(request: Request) -> Response:
        found = await to_thread.run_sync(_hub(request).file_drops.listed)
        return Response(orjson.dumps({"file_drop": found}), media_type=JSON)

    @router.post("/file-drop")
    async def change(
        request: Request,
        agency: Annotated[str, Body()],
        form: Annotated[Literal["ndjson", "csv", ""], Body()],
        bom: Annotated[bool, Body()] = False,
    ) -> Response:
        """Turn it on in a form, or off (an empty one). What is queued stays; it can be pulled all the while."""
        done: Any = await to_thread.run_sync(lambda: _hub(request).file_drops.set(agency, form=form, bom=bom))
        return Response(orjson.dumps(done), media_type=JSON)

    return router


def _hub(request: Request) -> Administered:
    hub: Administered = request.app.state.hub
    return hub
