"""Agreements at the agencies' door: read one's own, sign them, suspend, resume and end them.

Who is no party to an agreement gets the answer that there is none.
"""

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hub.exchange.agreement_views import agreement_of, agreements_of
from hub.exchange.agreements import move, sign
from hub.identity.agency_tokens import Caller
from hub.web.running import hub_of
from hub.web.sign_in import caller_with

JWS_CHARS = 20_000  # twenty times what one has: who leaves the payload in is told so
Reader = Annotated[Caller, Depends(caller_with("agency:read"))]
Party = Annotated[Caller, Depends(caller_with("agreements:write"))]


class SignatureForm(BaseModel):
    """One officer's signature: a detached JWS over the agreement's terms."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    jws: str = Field(min_length=1, max_length=JWS_CHARS)


def agreement_routes() -> APIRouter:
    """Serve `/v1/agreements`. Reads `agreements` (an AgreementDesk) of `app.state.hub`."""
    router = APIRouter()

    @router.get("/v1/agreements")
    async def get_agreements(request: Request, caller: Reader) -> Response:
        desk = hub_of(request).agreements
        return await _answer(request, lambda: {"agreements": agreements_of(desk, caller.agency)})

    @router.get("/v1/agreements/{code}")
    async def get_agreement(request: Request, code: str, caller: Reader) -> Response:
        desk = hub_of(request).agreements
        return await _answer(request, lambda: agreement_of(desk, code, caller.agency))

    @router.post("/v1/agreements/{code}/signatures")
    async def post_signature(request: Request, code: str, form: SignatureForm, caller: Party) -> Response:
        desk = hub_of(request).agreements
        return await _answer(request, lambda: told(sign(desk, code, form.jws, agency=caller.agency)._asdict()))

    @router.post("/v1/agreements/{code}/suspend")
    async def post_suspend(request: Request, code: str, caller: Party) -> Response:
        """Answer when no hand-out under the agreement commits any more."""
        return await _move(request, code, "suspend", caller)

    @router.post("/v1/agreements/{code}/resume")
    async def post_resume(request: Request, code: str, caller: Party) -> Response:
        return await _move(request, code, "resume", caller)

    @router.post("/v1/agreements/{code}/end")
    async def post_end(request: Request, code: str, caller: Party) -> Response:
        return await _move(request, code, "end", caller)

    return router


def told(done: dict[str, Any]) -> dict[str, Any]:
    """Leave the audit row's number out: it is the hub's own."""
    return {name: value for name, value in done.items() if name != "audit"}


async def _move(request: Request, code: str, act: str, caller: Caller) -> Response:
    desk = hub_of(request).agreements
    return await _answer(request, lambda: told(move(desk, code, act, agency=caller.agency)))


async def _answer(request: Request, work: Callable[[], Any]) -> Response:
    document = await to_thread.run_sync(work, limiter=hub_of(request).agency_threads)
    return Response(orjson.dumps(document), media_type="application/json")
