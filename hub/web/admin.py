"""The operator's door: a small application of its own, on a Unix socket that only the hub's own user may open."""

from functools import partial
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from hub.core.catalogue import from_document, to_document
from hub.core.errors import HubError, Kind
from hub.stop_flag import Scope
from hub.web.admin_people import dead_letter_routes, people_routes
from hub.web.agreements_admin import agreement_admin_routes
from hub.web.backfills import backfill_admin_routes
from hub.web.file_drop import file_routes
from hub.web.restored import restored_routes
from hub.web.running import Administered
from hub.web.steering import steering_routes
from hub.web.why import why_routes

JSON = "application/json"


def admin_routes() -> APIRouter:
    """Serve status, the catalogue, keys, the stop of all releases, and why something was decided."""
    router = APIRouter()
    for inner in (
        why_routes(),
        agreement_admin_routes(),
        people_routes(),
        dead_letter_routes(),
        file_routes(),
        backfill_admin_routes(),
        steering_routes(),
        restored_routes(),
    ):
        router.include_router(inner)

    @router.get("/status")
    async def status(request: Request) -> Response:
        return _answer(await to_thread.run_sync(_hub(request).status))

    @router.get("/catalogue")
    async def catalogue(request: Request) -> Response:
        return _answer(to_document(_hub(request).approved()))

    @router.post("/catalogue")
    async def approve(
        request: Request, document: Annotated[dict[str, Any], Body()], expected: Annotated[str, Body()]
    ) -> Response:
        """Approve a catalogue whose files were checked by whoever sends it; `expected`: what it was compared with."""
        hub = _hub(request)
        try:
            proposed = from_document(document)
        except HubError as cause:  # of the store's own documents that would stop a start; here it is the sender's
            raise HubError(
                Kind.INVALID,
                "the document is not a catalogue as this version of the hub writes it",
                remedy="Send what `hub catalogue apply` makes of the files, with the same version of the hub.",
                code="catalogue-document",
            ) from cause
        return _answer(await to_thread.run_sync(lambda: hub.approve(proposed, expected=expected)))

    @router.post("/agency-keys")
    async def add_key(
        request: Request, agency: Annotated[str, Body()], jwk: Annotated[dict[str, Any], Body()]
    ) -> Response:
        return _answer(await to_thread.run_sync(_hub(request).add_agency_key, agency, jwk))

    @router.post("/agency-keys/end")
    async def end_key(request: Request, agency: Annotated[str, Body()], kid: Annotated[str, Body()]) -> Response:
        return _answer(await to_thread.run_sync(_hub(request).end_agency_key, agency, kid))

    @router.post("/token-keys")
    async def rotate_token_key(request: Request) -> Response:
        """Sign access tokens with the next key from now on; the former one goes when its last token is over."""
        return _answer(await to_thread.run_sync(_hub(request).rotate_token_key))

    @router.post("/receipt-keys")
    async def rotate_receipt_key(request: Request) -> Response:
        """Sign receipts with the next key from now on; the former ones verify for ever."""
        return _answer(await to_thread.run_sync(_hub(request).rotate_receipt_key))

    @router.post("/webhook-keys")
    async def rotate_webhook_key(request: Request, agency: Annotated[str, Body(embed=True)]) -> Response:
        """Sign an agency's webhooks with a new key as well; the former one signs for a day more."""
        return _answer(await to_thread.run_sync(_hub(request).rotate_webhook_key, agency))

    @router.post("/stop-release")
    async def stop_release(
        request: Request,
        stop: Annotated[bool, Body()],
        scope: Annotated[Scope, Body()] = "all",
        code: Annotated[str, Body()] = "",
        reason: Annotated[str, Body()] = "",
    ) -> Response:
        """Return when no hand-out under it commits any more, or when they may again."""
        act = partial(_hub(request).stop_releases, stop, scope=scope, code=code, reason=reason)
        return _answer(await to_thread.run_sync(act))

    return router


def _hub(request: Request) -> Administered:
    hub: Administered = request.app.state.hub
    return hub


def _answer(document: Any) -> Response:
    return Response(orjson.dumps(document), media_type=JSON)
