"""Asking over HTTP: put a question, see what became of it, say that there is no answer. Answers are events.

A look that waits holds no thread: it listens for the asker's bell, and looks by itself every `LOOK_S`.
"""

from time import monotonic
from typing import Annotated

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from hub.exchange.asked import ask_as_json, find_ask, no_answer
from hub.exchange.asks import Asked, NewAsk, ask
from hub.identity.agency_tokens import Caller
from hub.store.aims import AskState
from hub.store.asks import AskRow
from hub.web.bodies import read_body, read_model
from hub.web.citizen_forms import instant_us
from hub.web.deliveries import LOOK_S, crowded
from hub.web.running import Running, hub_of
from hub.web.sign_in import caller_with

ASK_BYTES = 100_000  # 200 names of fields, and tags
Asker = Annotated[Caller, Depends(caller_with("asks:write"))]
Party = Annotated[Caller, Depends(caller_with("deliveries:read"))]
Provider = Annotated[Caller, Depends(caller_with("events:write"))]
Text = Annotated[str, Field(min_length=1, max_length=256)]
Tag = Annotated[str, Field(max_length=256)]


class AskForm(BaseModel):
    """An agency's question. `id` is its own name of it; `case` and `actor` are opaque, and shown to the person."""

    model_config = ConfigDict(extra="forbid")
    subject: Text
    purpose: Text
    dataset: Text
    fields: Annotated[tuple[Text, ...], Field(max_length=200)] = ()
    case: Tag = ""
    actor: Tag = ""
    deadline: AwareDatetime | None = None
    id: Tag = ""


def ask_routes() -> APIRouter:
    """Serve `POST /v1/asks`, `GET /v1/asks/{ask}` and `POST /v1/asks/{ask}/no-answer`."""
    router = APIRouter()

    @router.post("/v1/asks")
    async def post_ask(request: Request, caller: Asker) -> Response:
        hub, form = hub_of(request), read_model(AskForm, await read_body(request, ASK_BYTES))
        new = NewAsk(
            form.subject, form.purpose, form.dataset, form.fields, form.case, form.actor, instant_us(form.deadline),
            form.id,
        )  # fmt: skip
        asked = await to_thread.run_sync(ask, hub.world, caller.agency, new, limiter=hub.agency_threads)
        return _answer(hub, caller, asked, 201)

    @router.get("/v1/asks/{ask}")
    async def get_ask(
        request: Request, caller: Party, ask: str, wait_s: Annotated[int, Query(ge=0, le=30)] = 0
    ) -> Response:
        hub = hub_of(request)
        row = await _closed(request, hub, caller.agency, ask, min(wait_s, hub.settings.long_poll_max_s))
        return _answer(hub, caller, Asked(row), 200)

    @router.post("/v1/asks/{ask}/no-answer")
    async def post_no_answer(request: Request, caller: Provider, ask: str) -> Response:
        hub = hub_of(request)
        asked = await to_thread.run_sync(no_answer, hub.world, caller.agency, ask, limiter=hub.agency_threads)
        return _answer(hub, caller, asked, 200)

    return router


def _answer(hub: Running, caller: Caller, asked: Asked, status: int) -> Response:
    if asked.ring:
        hub.bell.ring(asked.ring)
    body = orjson.dumps(ask_as_json(hub.world, caller.agency, asked.row))
    return Response(body, status, {"cache-control": "no-store"}, "application/json")


async def _closed(request: Request, hub: Running, agency: str, ask: str, wait_s: int) -> AskRow:
    """Return the ask when it is closed, or as it stands after `wait_s`."""

    async def look() -> AskRow:
        return await to_thread.run_sync(find_ask, hub.world, agency, ask, limiter=hub.agency_threads)

    row, until_s = await look(), monotonic() + wait_s
    number = hub.world.catalogue.agencies[agency].number
    if row.state != AskState.ASKED.value or wait_s == 0 or crowded(hub, number):
        return row
    with hub.bell.listening(number) as ear:
        while True:
            row = await look()
            left_s = until_s - monotonic()
            if row.state != AskState.ASKED.value or left_s <= 0 or hub.stopping or await request.is_disconnected():
                return row
            await ear.wait(min(LOOK_S, left_s))
