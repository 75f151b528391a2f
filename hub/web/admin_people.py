"""The operator's acts on one person, and on dead letters. A person's id comes in a body, never in an address."""

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from hub.core.errors import HubError, Kind
from hub.exchange.dead_letters import discard, listed, retry, shown
from hub.exchange.erase import Erased, erase, eraser
from hub.exchange.feed import rfc3339
from hub.exchange.holds_by_law import hold, holds, unhold
from hub.parts import Part
from hub.web.running import Administered


def people_routes() -> APIRouter:
    """Serve erasure and legal holds."""
    router = APIRouter()

    @router.post("/persons/erase")
    async def post_erase(
        request: Request,
        agency: Annotated[str, Body()],
        local_id: Annotated[str, Body()],
        reason: Annotated[str, Body()],
    ) -> Response:
        hub = _hub(request)
        return await _answer(lambda: erase_on(hub, agency=agency, local_id=local_id, reason=reason))

    @router.post("/persons/hold")
    async def post_hold(
        request: Request,
        agency: Annotated[str, Body()],
        local_id: Annotated[str, Body()],
        reference: Annotated[str, Body()],
        reason: Annotated[str, Body()],
        until_us: Annotated[int, Body()],
    ) -> Response:
        world = _hub(request).world
        return await _answer(
            lambda: hold(world, agency=agency, local_id=local_id, reference=reference, reason=reason, until_us=until_us)
        )

    @router.post("/persons/unhold")
    async def post_unhold(request: Request, hold: Annotated[int, Body(embed=True, ge=1, lt=2**63)]) -> Response:
        world = _hub(request).world
        return await _answer(lambda: unhold(world, hold))

    @router.get("/persons/holds")
    async def get_holds(request: Request) -> Response:
        world = _hub(request).world
        return await _answer(lambda: {"holds": holds(world)})

    return router


def dead_letter_routes() -> APIRouter:
    """Serve dead letters: no payload, nobody's id."""
    router = APIRouter()

    @router.get("/dead-letters")
    async def get_letters(request: Request) -> Response:
        world = _hub(request).world
        return await _answer(lambda: {"dead_letters": listed(world)})

    @router.get("/dead-letters/{number}")
    async def get_letter(request: Request, number: int) -> Response:
        world = _hub(request).world
        return await _answer(lambda: shown(world, number))

    @router.post("/dead-letters/retry")
    async def post_retry(request: Request, number: Annotated[int | None, Body(embed=True)] = None) -> Response:
        """Try one again, or without a number all."""
        world = _hub(request).world
        return await _answer(lambda: {"retried": retry(world, number)})

    @router.post("/dead-letters/discard")
    async def post_discard(
        request: Request, number: Annotated[int, Body()], reason: Annotated[str, Body()]
    ) -> Response:
        hub = _hub(request)
        return await _answer(lambda: discard_on(hub, number, reason))

    return router


def erase_on(hub: Administered, *, agency: str, local_id: str, reason: str) -> dict[str, Any]:
    """Erase, wake the recipients that are told, and say what became of it.

    Raises HubError: CONFLICT where this process has no part in it, for the ledger beside the key is another's to write.
    """
    if Part.RETENTION not in hub.settings.parts:
        raise HubError(
            Kind.CONFLICT,
            "this process of the hub erases nobody: the ledger of erasures is written by the part retention",
            remedy="Run the command where `hub serve --only retention` runs.",
            code="erasure-elsewhere",
        )
    done = erase(eraser(hub), agency=agency, local_id=local_id, reason=reason)
    hub.log.warning("person.erased", count=len(done.told))
    hub.bell.ring_all()
    return erased_json(done)


def discard_on(hub: Administered, number: int, reason: str) -> dict[str, Any]:
    """Discard a dead letter, and wake its publisher."""
    done = discard(hub.world, number, reason)
    hub.bell.ring_all()
    return done


def erased_json(done: Erased) -> dict[str, Any]:
    return {
        "already": done.already,
        "erased": rfc3339(done.erased_us),
        "reason": done.reason,
        "destroyed": done.destroyed,
        "told": done.told,
        "left": done.left,
        "due": rfc3339(done.due_us),
        "bus_until": rfc3339(done.bus_until_us),
        "log_cut": done.log_cut,
    }


def _hub(request: Request) -> Administered:
    hub: Administered = request.app.state.hub
    return hub


async def _answer(act: Callable[[], Any]) -> Response:
    return Response(orjson.dumps(await to_thread.run_sync(act)), media_type="application/json")
