"""The way out over HTTP: pull with long poll, and acknowledge.

A pull that waits holds no thread: it listens for the bell, and looks by itself every `LOOK_S`. Payloads are opened
after the hand-out's commit; bytes that would begin too late after it (`opening.py`) are dropped, and come again.
"""

from collections import Counter
from time import monotonic
from typing import Annotated, NamedTuple

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.handout import hand_out, trace_page
from hub.exchange.opening import is_fresh, open_all
from hub.exchange.ways_out import is_due, let_pull
from hub.identity.agency_tokens import Caller
from hub.store.deliveries import FEED_KINDS, DeliveryKind
from hub.web.bodies import read_body, read_model
from hub.web.running import Running, hub_of
from hub.web.sign_in import caller_with

LOOK_S = 0.5  # between two looks without a ring: what falls due by time alone rings no bell
ACKNOWLEDGED_AT_ONCE = 5_000
ACKNOWLEDGEMENT_BYTES = 2_000_000
EMPTY = orjson.dumps({"deliveries": [], "more": False})
AGAIN = orjson.dumps({"deliveries": [], "more": True})
JSON = "application/json"
Recipient = Annotated[Caller, Depends(caller_with("deliveries:read"))]


class Pulled(NamedTuple):
    """A page as bytes, and when its hand-out committed; `handed` 0: nothing was handed out."""

    body: bytes
    handed: int
    committed_us: int


class AcknowledgedItem(BaseModel):
    """One delivery as it was pulled; `fields_used` may name what was needed of it: the person sees it."""

    model_config = ConfigDict(extra="forbid")
    number: int = Field(ge=1, lt=2**63)
    id: str = Field(pattern="^[0-9a-f]{32}$")
    fields_used: tuple[str, ...] = Field(default=(), max_length=200)  # a list would be copied for every item


class Acknowledgements(BaseModel):
    """The body of an acknowledgement."""

    model_config = ConfigDict(extra="forbid")
    acknowledgements: list[AcknowledgedItem] = Field(max_length=ACKNOWLEDGED_AT_ONCE)


def delivery_routes() -> APIRouter:
    """Serve `GET /v1/deliveries` and `POST /v1/deliveries/acknowledgements`."""
    router = APIRouter()

    @router.get("/v1/deliveries")
    async def get_deliveries(
        request: Request,
        caller: Recipient,
        limit: Annotated[int, Query(ge=1, le=500)] = 500,
        wait_s: Annotated[int, Query(ge=0, le=30)] = 0,
    ) -> Response:
        hub = hub_of(request)
        pulled = await _pull(request, hub, caller.agency, limit, min(wait_s, hub.settings.long_poll_max_s))
        if pulled.handed and not is_fresh(pulled.committed_us, hub.clock()):
            return Response(AGAIN, media_type=JSON)
        return Response(pulled.body, media_type=JSON)

    @router.post("/v1/deliveries/acknowledgements")
    async def post_acknowledgements(request: Request, caller: Recipient) -> Response:
        hub = hub_of(request)
        given = read_model(Acknowledgements, await read_body(request, ACKNOWLEDGEMENT_BYTES))
        items = [Acknowledgement(one.number, one.id, one.fields_used) for one in given.acknowledgements]
        done = await to_thread.run_sync(acknowledge, hub.world, caller.agency, items, limiter=hub.agency_threads)
        hub.metrics.acknowledged.labels(hub.metrics.agency(caller.agency)).inc(done.acknowledged)
        return Response(orjson.dumps(done._asdict()), media_type=JSON)

    return router


async def _pull(request: Request, hub: Running, agency: str, limit: int, wait_s: int) -> Pulled:
    """Hand out now, or as soon as there is something within `wait_s`."""
    pulled = await _hand_out(hub, agency, limit)
    recipient = hub.world.catalogue.agencies[agency].number
    if pulled.handed or wait_s == 0 or crowded(hub, recipient):
        return pulled
    until_s = monotonic() + wait_s
    with hub.bell.listening(recipient) as ear:
        rung = True  # what came between the first look and the listening
        while True:
            if rung or await to_thread.run_sync(is_due, hub.world, recipient, limiter=hub.agency_threads):
                pulled = await _hand_out(hub, agency, limit)
            left_s = until_s - monotonic()
            if pulled.handed or left_s <= 0 or hub.stopping:
                return pulled
            rung = await ear.wait(min(LOOK_S, left_s))
            if await request.is_disconnected():  # nobody reads: nothing may leave
                return Pulled(EMPTY, 0, 0)


def crowded(hub: Running, recipient: int) -> bool:
    """Say whether nobody else may wait: all places are taken, or half of them by this recipient."""
    most = hub.settings.long_polls_max
    return hub.bell.listeners() >= most or hub.bell.listeners(recipient) >= max(1, most // 2)


async def _hand_out(hub: Running, agency: str, limit: int) -> Pulled:
    return await to_thread.run_sync(_page, hub, agency, limit, limiter=hub.agency_threads)


def _page(hub: Running, agency: str, limit: int) -> Pulled:
    """Hand out one page, and open it after its commit."""
    world = hub.world
    let_pull(world, agency)
    began_us = world.clock()
    page = hand_out(world, agency, limit)
    if hub.traces is not None and (page.opened or page.cancelled or page.held):
        trace_page(hub.traces, agency, page, began_us)
    if not page.opened:
        return Pulled(EMPTY if not page.more else AGAIN, 0, page.committed_us)
    opened = open_all(world, page.opened, hub.wrapping)
    deliveries = [event for _, event in opened]
    label = hub.metrics.agency(agency)
    hub.metrics.handout_page.observe(len(deliveries))
    for kind, count in Counter(one.kind for one, _ in opened).items():
        hub.metrics.deliveries.labels(label, FEED_KINDS[DeliveryKind(kind)]).inc(count)
    body = orjson.dumps({"deliveries": deliveries, "more": page.more})
    return Pulled(body, len(deliveries), page.committed_us)
