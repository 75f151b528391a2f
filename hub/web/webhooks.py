"""An agency's ways out over HTTP: its webhook, and the key that its payloads are sealed to."""

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hub.core.errors import HubError, Kind
from hub.exchange.endpoints import URL_CHARS
from hub.exchange.ways_out import note_act
from hub.exchange.webhook_proof import prove, register_and_prove
from hub.exchange.webhooks import remove, rotate, show
from hub.identity.agency_tokens import Caller
from hub.identity.sealing import SUITE_NAME, no_sealing_key
from hub.store.engine import Tx
from hub.web.bodies import read_body, read_model
from hub.web.running import Running, hub_of
from hub.web.sign_in import caller_with

FORM_BYTES = 10_000
PROOFS_AT_ONCE = 4  # each waits for somebody else's machines: those that pull must not wait for it too
JSON = "application/json"
Owner = Annotated[Caller, Depends(caller_with("ways-out:write"))]


class NewWebhook(BaseModel):
    """Where an agency's deliveries are to be posted."""

    model_config = ConfigDict(extra="forbid")
    url: str = Field(min_length=1, max_length=URL_CHARS)


class NewSealingKey(BaseModel):
    """The public X25519 key that payloads are to be sealed to (RFC 8037)."""

    model_config = ConfigDict(extra="forbid")
    jwk: dict[str, Any]


class Proofs:
    """The few places in which an agency's name server and machine are waited for: one agency has one at most."""

    def __init__(self) -> None:
        self._places, self._waited_for = CapacityLimiter(PROOFS_AT_ONCE), set[str]()

    async def of(self, agency: str, work: Callable[[], dict[str, Any]]) -> Response:
        """Do it in a thread. Raises HubError(CONFLICT) while the same agency's machines are waited for already."""
        if agency in self._waited_for:
            raise HubError(
                Kind.CONFLICT,
                "the endpoint is being proven at this moment",
                remedy="Ask for its state in a moment.",
                code="webhook-proving",
            )
        self._waited_for.add(agency)
        try:
            return _json(await to_thread.run_sync(work, limiter=self._places))
        finally:
            self._waited_for.discard(agency)


def webhook_routes() -> APIRouter:
    """Serve `/v1/webhook`, `prove` and `rotate` below it, and `/v1/sealing-key`."""
    router, proofs = APIRouter(), Proofs()

    @router.put("/v1/webhook")
    async def put_webhook(request: Request, caller: Owner) -> Response:
        hub = hub_of(request)
        given = read_model(NewWebhook, await read_body(request, FORM_BYTES))
        return await proofs.of(caller.agency, lambda: register_and_prove(hub.webhooks, caller.agency, given.url))

    @router.get("/v1/webhook")
    async def get_webhook(request: Request, caller: Owner) -> Response:
        hub = hub_of(request)
        return _json(await to_thread.run_sync(show, hub.webhooks, caller.agency, limiter=hub.agency_threads))

    @router.delete("/v1/webhook")
    async def delete_webhook(request: Request, caller: Owner) -> Response:
        hub = hub_of(request)
        await to_thread.run_sync(remove, hub.webhooks, caller.agency, limiter=hub.agency_threads)
        return Response(status_code=204)

    @router.post("/v1/webhook/prove")
    async def post_prove(request: Request, caller: Owner) -> Response:
        hub = hub_of(request)
        return await proofs.of(caller.agency, lambda: prove(hub.webhooks, caller.agency))

    @router.post("/v1/webhook/rotate")
    async def post_rotate(request: Request, caller: Owner) -> Response:
        hub = hub_of(request)
        return _json(await to_thread.run_sync(rotate, hub.webhooks, caller.agency, limiter=hub.agency_threads))

    _sealing_routes(router)
    return router


def _sealing_routes(router: APIRouter) -> None:
    @router.put("/v1/sealing-key")
    async def put_sealing_key(request: Request, caller: Owner) -> Response:
        hub = hub_of(request)
        given = read_model(NewSealingKey, await read_body(request, FORM_BYTES))
        return _json(await to_thread.run_sync(_seal_to, hub, caller.agency, given.jwk, limiter=hub.agency_threads))

    @router.get("/v1/sealing-key")
    async def get_sealing_key(request: Request, caller: Owner) -> Response:
        return _json(_sealing_key(hub_of(request), caller.agency))

    @router.delete("/v1/sealing-key")
    async def delete_sealing_key(request: Request, caller: Owner) -> Response:
        hub = hub_of(request)
        await to_thread.run_sync(_seal_no_more, hub, caller.agency, limiter=hub.agency_threads)
        return Response(status_code=204)


def _seal_to(hub: Running, agency: str, jwk: dict[str, Any]) -> dict[str, Any]:
    now_us = hub.clock()

    def noted(tx: Tx, kid: str) -> None:
        said = {"act": "sealing-key.registered", "agency": agency, "kid": kid}
        note_act(tx, hub.webhooks.salt, said, now_us=now_us)

    hub.sealing_keys.put(agency, jwk, now_us=now_us, noted=noted)
    hub.log.info("sealing.key.registered", agency=agency)
    return _sealing_key(hub, agency)


def _seal_no_more(hub: Running, agency: str) -> None:
    now_us = hub.clock()

    def noted(tx: Tx) -> None:
        note_act(tx, hub.webhooks.salt, {"act": "sealing-key.ended", "agency": agency}, now_us=now_us)

    hub.sealing_keys.end(agency, now_us=now_us, noted=noted)
    hub.log.warning("sealing.key.ended", agency=agency)


def _sealing_key(hub: Running, agency: str) -> dict[str, Any]:
    key = hub.sealing_keys.of(agency)
    if key is None:
        raise no_sealing_key()
    return {"kid": key.kid, "suite": SUITE_NAME}


def _json(document: Any) -> Response:
    return Response(orjson.dumps(document), media_type=JSON)
