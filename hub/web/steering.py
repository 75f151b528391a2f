"""The operator's door, continued: keys, and what is kept how long."""

from functools import partial
from pathlib import Path
from typing import Annotated

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from hub.operations.retention import run_recorded
from hub.operations.steered import kept_by, keys_of, rotate_root_of, rotate_wrapping_of
from hub.web.running import Administered

JSON = "application/json"


def steering_routes() -> APIRouter:
    """Serve the list of keys, the rotation of the root and of the wrapping key, and retention by hand."""
    router = APIRouter()

    @router.get("/keys")
    async def keys(request: Request) -> Response:
        return Response(orjson.dumps(await to_thread.run_sync(keys_of, _hub(request))), media_type=JSON)

    @router.post("/root-key")
    async def rotate_root(request: Request, new_file: Annotated[Path, Body(embed=True)]) -> Response:
        """Wrap the hub's own secrets under the root in a file as well; either opens the store until a start with it."""
        done = await to_thread.run_sync(rotate_root_of, _hub(request), new_file)
        return Response(orjson.dumps(done), media_type=JSON)

    @router.post("/wrapping-key")
    async def rotate_wrapping(request: Request) -> Response:
        """Seal under a new wrapping key from now on; what the former one sealed follows."""
        done = await to_thread.run_sync(rotate_wrapping_of, _hub(request))
        return Response(orjson.dumps(done), media_type=JSON)

    @router.post("/retention")
    async def retention(
        request: Request, classes: Annotated[list[str], Body()], dry_run: Annotated[bool, Body()]
    ) -> Response:
        """Let go what is over, of these classes or of all, or count it only."""
        act = partial(run_recorded, kept_by(_hub(request)), tuple(classes), dry_run=dry_run)
        return Response(orjson.dumps(await to_thread.run_sync(act)), media_type=JSON)

    return router


def _hub(request: Request) -> Administered:
    hub: Administered = request.app.state.hub
    return hub
