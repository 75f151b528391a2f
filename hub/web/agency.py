"""The agencies' door: everything they may call, and what the hub knows of the one who asks."""

from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from hub.exchange.feed import rfc3339
from hub.exchange.own_catalogue import own_catalogue
from hub.exchange.world import World
from hub.identity.agency_tokens import Caller
from hub.parts import ALL, Part
from hub.store.deliveries import DeliveryKind
from hub.store.overdue import overdue
from hub.web.agreements import agreement_routes
from hub.web.asks import ask_routes
from hub.web.backfills import backfill_routes
from hub.web.consent_requests import consent_request_routes
from hub.web.deliveries import delivery_routes
from hub.web.events import event_routes
from hub.web.links import link_routes
from hub.web.own_catalogue import own_catalogue_routes
from hub.web.running import hub_of
from hub.web.sign_in import caller_with
from hub.web.webhooks import webhook_routes

IN_FORCE = "in_force"
Known = Annotated[Caller, Depends(caller_with("agency:read"))]


def agency_routers(parts: frozenset[Part] = ALL) -> tuple[APIRouter, ...]:
    """Serve all that agencies call with an access token, what is called most first; of it what `parts` do.

    Side by side: FastAPI looks for a request's route once more at each level of routers within routers.
    """
    pulls = (delivery_routes(),) if Part.HANDOUT in parts else ()
    if Part.WEB not in parts:
        return pulls
    return (
        event_routes(),
        *pulls,
        link_routes(),
        consent_request_routes(),
        agreement_routes(),
        webhook_routes(),
        backfill_routes(),
        own_catalogue_routes(),
        ask_routes(),
        _about_routes(),
    )


def _about_routes() -> APIRouter:
    router = APIRouter()

    @router.get("/v1/agency")
    async def get_agency(request: Request, caller: Known) -> Response:
        hub = hub_of(request)
        about = await to_thread.run_sync(about_agency, hub.world, caller.agency, limiter=hub.agency_threads)
        return Response(orjson.dumps(about), media_type="application/json")

    return router


def about_agency(world: World, code: str) -> dict[str, Any]:
    """Say what the hub knows of an agency: agreements in force, what it may hear, what it publishes, and the time.

    What derived fields it declares for others is no part of what it publishes, and stands in its catalogue only.
    """
    own, agency = own_catalogue(world, code), world.catalogue.agencies[code]
    return {
        "code": code,
        "titles": dict(agency.titles),
        "rights": sorted(agency.rights),
        "time_us": own["time_us"],
        "agreements": [one for one in own["agreements"] if one["phase"] == IN_FORCE],
        "subscriptions": [one for one in own["subscriptions"] if one["phase"] == IN_FORCE],
        "datasets": [
            one | {"fields": [field for field in one["fields"] if not field["derived"]]} for one in own["datasets"]
        ],
        "overdue": _overdue(world, agency.number, own["time_us"]),
    }


def _overdue(world: World, recipient: int, now_us: int) -> list[dict[str, Any]]:
    """List the stops and deletes that this agency was to acknowledge by now and has not."""
    with world.store.read() as tx:
        rows = overdue(tx, now_us, recipient=recipient)
    return [
        {
            "delivery": one.public.hex(),
            "kind": DeliveryKind(one.kind).name.lower(),
            "number": one.number or None,  # none: it was never pulled
            "due": rfc3339(one.due_us),
        }
        for one in rows
    ]
