"""What an agency sees of itself: its part of the catalogue, and the AsyncAPI document of what it receives."""

from typing import Annotated

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from hub.core.asyncapi import asyncapi_document
from hub.exchange.own_catalogue import own_catalogue, ways_out
from hub.identity.agency_tokens import Caller
from hub.web.running import hub_of
from hub.web.sign_in import caller_with

ASYNCAPI = "application/vnd.aai.asyncapi+json;version=3.0.0"
Known = Annotated[Caller, Depends(caller_with("agency:read"))]


def own_catalogue_routes() -> APIRouter:
    """Serve `GET /v1/catalogue` and `GET /v1/asyncapi.json`."""
    router = APIRouter()

    @router.get("/v1/catalogue")
    async def get_catalogue(request: Request, caller: Known) -> Response:
        hub = hub_of(request)
        own = await to_thread.run_sync(own_catalogue, hub.world, caller.agency, limiter=hub.agency_threads)
        return Response(orjson.dumps(own), media_type="application/json")

    @router.get("/v1/asyncapi.json")
    async def get_asyncapi(request: Request, caller: Known) -> Response:
        hub = hub_of(request)
        ways = await to_thread.run_sync(ways_out, hub.world, caller.agency, limiter=hub.agency_threads)
        document = asyncapi_document(hub.world.catalogue, caller.agency, issuer=hub.settings.issuer, ways=ways)
        return Response(orjson.dumps(document), media_type=ASYNCAPI)

    return router
