"""Agreements, officers and suspended agencies at the operator's door."""

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from hub.core.catalogue import from_document
from hub.core.errors import HubError, Kind
from hub.exchange import officers
from hub.exchange.agreement_views import agreement_of, agreements_of, signed_digests
from hub.exchange.agreements import move, move_agency, propose, sign
from hub.web.running import hub_of


def agreement_admin_routes() -> APIRouter:
    """Serve agreements, officers' keys, and the suspension of an agency."""
    router = APIRouter()

    @router.get("/agreements")
    async def get_agreements(request: Request) -> Response:
        desk = hub_of(request).agreements
        return await _answer(lambda: {"agreements": agreements_of(desk), "signed": signed_digests(desk)})

    @router.get("/agreements/{code}")
    async def get_agreement(request: Request, code: str) -> Response:
        desk = hub_of(request).agreements
        return await _answer(lambda: agreement_of(desk, code))

    @router.post("/agreements/proposals")
    async def post_proposals(
        request: Request, document: Annotated[dict[str, Any], Body()], codes: Annotated[list[str], Body()]
    ) -> Response:
        """Open agreements of a catalogue, whose files were checked by whoever sends it, for signature."""
        desk = hub_of(request).agreements
        try:
            proposed = from_document(document)
        except HubError as cause:
            raise HubError(
                Kind.INVALID,
                "the document is not a catalogue as this version of the hub writes it",
                remedy="Send what `hub agreement propose` makes of the files, with the same version of the hub.",
                code="catalogue-document",
            ) from cause
        return await _answer(lambda: {"proposed": propose(desk, proposed, codes)})

    @router.post("/agreements/{code}/signatures")
    async def post_signature(request: Request, code: str, jws: Annotated[str, Body(embed=True)]) -> Response:
        desk = hub_of(request).agreements
        return await _answer(lambda: sign(desk, code, jws)._asdict())

    @router.post("/agreements/{code}/suspend")
    async def post_suspend(request: Request, code: str) -> Response:
        return await _move(request, code, "suspend")

    @router.post("/agreements/{code}/resume")
    async def post_resume(request: Request, code: str) -> Response:
        return await _move(request, code, "resume")

    @router.post("/agreements/{code}/end")
    async def post_end(request: Request, code: str) -> Response:
        return await _move(request, code, "end")

    _officer_routes(router)
    return router


def _officer_routes(router: APIRouter) -> None:
    @router.get("/officers")
    async def get_officers(request: Request) -> Response:
        desk = hub_of(request).agreements
        return await _answer(lambda: {"officers": officers.listed(desk)})

    @router.post("/officers")
    async def post_officer(
        request: Request,
        agency: Annotated[str, Body()],
        name: Annotated[str, Body()],
        office: Annotated[str, Body()],
        jwk: Annotated[dict[str, Any], Body()],
    ) -> Response:
        desk = hub_of(request).agreements
        return await _answer(lambda: officers.add(desk, agency, jwk, name=name, office=office))

    @router.post("/officers/end")
    async def end_officer(request: Request, agency: Annotated[str, Body()], kid: Annotated[str, Body()]) -> Response:
        desk = hub_of(request).agreements
        return await _answer(lambda: officers.end(desk, agency, kid))

    @router.post("/agencies/{agency}/suspend")
    async def suspend_agency(request: Request, agency: str) -> Response:
        desk = hub_of(request).agreements
        return await _answer(lambda: move_agency(desk, agency, "suspend"))

    @router.post("/agencies/{agency}/resume")
    async def resume_agency(request: Request, agency: str) -> Response:
        desk = hub_of(request).agreements
        return await _answer(lambda: move_agency(desk, agency, "resume"))


async def _move(request: Request, code: str, act: str) -> Response:
    desk = hub_of(request).agreements
    return await _answer(lambda: move(desk, code, act))


async def _answer(work: Callable[[], Any]) -> Response:
    return Response(orjson.dumps(await to_thread.run_sync(work)), media_type="application/json")
