"""Backfill over HTTP: a recipient opens one, its provider fills it; and the operator opens another, or ends one."""

from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hub.exchange.backfills import CURSOR_CHARS, Wish, end_backfill, keep_progress, list_backfills, open_backfill
from hub.identity.agency_tokens import Caller
from hub.web.bodies import read_body, read_model
from hub.web.running import Running, hub_of
from hub.web.sign_in import caller_with

JSON = "application/json"
BODY_BYTES = 4_096
NAME_CHARS = 128
Party = Annotated[Caller, Depends(caller_with("deliveries:read"))]  # which providers have as well, for their notices
Provider = Annotated[Caller, Depends(caller_with("events:write"))]


class WishForm(BaseModel):
    """One subscription, as `GET /v1/agency` names it."""

    model_config = ConfigDict(extra="forbid")
    agreement: str = Field(max_length=NAME_CHARS)
    purpose: str = Field(max_length=NAME_CHARS)
    dataset: str = Field(max_length=NAME_CHARS)


class ProgressForm(BaseModel):
    """The provider's own bookmark, which the hub never reads, and how many persons there are in all."""

    model_config = ConfigDict(extra="forbid")
    cursor: str = Field(max_length=CURSOR_CHARS)
    persons: int = Field(ge=0, lt=2**31)


def backfill_routes() -> APIRouter:
    """Serve `/v1/backfills`: open and see, and for who fills one its progress and its end."""
    router = APIRouter()

    @router.post("/v1/backfills")
    async def post_backfill(request: Request, caller: Party) -> Response:
        hub = hub_of(request)
        form = read_model(WishForm, await read_body(request, BODY_BYTES))
        wish = Wish(form.agreement, form.purpose, form.dataset)
        said = await to_thread.run_sync(_open, hub, wish, caller.agency, limiter=hub.agency_threads)
        return Response(orjson.dumps(said), 201, media_type=JSON)

    @router.get("/v1/backfills")
    async def get_backfills(request: Request, caller: Party) -> Response:
        hub = hub_of(request)
        found = await to_thread.run_sync(list_backfills, hub.world, caller.agency, limiter=hub.agency_threads)
        return Response(orjson.dumps({"backfills": found}), media_type=JSON)

    @router.post("/v1/backfills/{backfill}/progress")
    async def post_progress(request: Request, caller: Provider, backfill: str) -> Response:
        hub = hub_of(request)
        form = read_model(ProgressForm, await read_body(request, BODY_BYTES))

        def keep() -> dict[str, Any]:
            return keep_progress(hub.world, caller.agency, backfill, cursor=form.cursor, persons=form.persons)

        return Response(orjson.dumps(await to_thread.run_sync(keep, limiter=hub.agency_threads)), media_type=JSON)

    @router.post("/v1/backfills/{backfill}/end")
    async def post_end(request: Request, caller: Provider, backfill: str) -> Response:
        hub = hub_of(request)

        def end() -> dict[str, Any]:
            return end_backfill(hub.world, backfill, agency=caller.agency)

        return Response(orjson.dumps(await to_thread.run_sync(end, limiter=hub.agency_threads)), media_type=JSON)

    return router


def backfill_admin_routes() -> APIRouter:
    """Serve the same to the operator: all of them, another one after the first, and the end of one."""
    router = APIRouter()

    @router.get("/backfills")
    async def every_backfill(request: Request) -> Response:
        return Response(orjson.dumps(await to_thread.run_sync(list_backfills, hub_of(request).world)), media_type=JSON)

    @router.post("/backfills")
    async def open_again(
        request: Request,
        agreement: Annotated[str, Body()],
        purpose: Annotated[str, Body()],
        dataset: Annotated[str, Body()],
    ) -> Response:
        hub, wish = hub_of(request), Wish(agreement, purpose, dataset)
        return Response(orjson.dumps(await to_thread.run_sync(_open, hub, wish, "")), media_type=JSON)

    @router.post("/backfills/close")
    async def close(request: Request, backfill: Annotated[str, Body(embed=True)]) -> Response:
        hub = hub_of(request)
        return Response(orjson.dumps(await to_thread.run_sync(end_backfill, hub.world, backfill)), media_type=JSON)

    return router


def _open(hub: Running, wish: Wish, recipient: str) -> dict[str, Any]:
    """Open one, and wake the provider. Without a recipient it is the operator who opens."""
    world = hub.world
    days = hub.settings.backfill_days
    said = open_backfill(world, wish, days=days, recipient=recipient, again=not recipient)
    hub.bell.ring(world.catalogue.agencies[said["provider"]].number)
    return said
