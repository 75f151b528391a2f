"""The one shortcut of the demo: an agency registers its own key. These routes are there in demo mode only."""

from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from hub.core.errors import HubError, Kind
from hub.web.running import Administered


def demo_routes() -> APIRouter:
    """Serve `POST /demo/agency-keys` {"agency", "jwk"}."""
    router = APIRouter()

    @router.post("/demo/agency-keys")
    async def post_key(
        request: Request, agency: Annotated[str, Body()], jwk: Annotated[dict[str, Any], Body()]
    ) -> Response:
        hub: Administered = request.app.state.hub
        if agency not in hub.world.catalogue.agencies:
            raise HubError(
                Kind.NOT_FOUND,
                "the demo has no agency of this code",
                where="/agency",
                remedy="See policies/catalogue/agencies.yaml.",
                code="agency-unknown",
            )
        added = await to_thread.run_sync(hub.add_agency_key, agency, jwk)
        return Response(orjson.dumps(added), 201, media_type="application/json")

    return router
