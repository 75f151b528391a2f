"""The agencies' door: everything they may call, and what the hub knows of the one who asks."""

from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from hub.core.agreement import Agreement, Catalogue, Dataset, Subscription
from hub.exchange.feed import rfc3339
from hub.exchange.world import World
from hub.identity.agency_tokens import Caller
from hub.store.deliveries import DeliveryKind
from hub.store.facts import read_rules, rules_of
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

Known = Annotated[Caller, Depends(caller_with("agency:read"))]


def agency_routers() -> tuple[APIRouter, ...]:
    """Serve all that agencies call with an access token, what is called most first.

    Side by side: FastAPI looks for a request's route once more at each level of routers within routers.
    """
    return (
        event_routes(),
        delivery_routes(),
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
    """Say what the hub knows of an agency: agreements in force, what it may hear, what it publishes, and the time."""
    catalogue, now_us = world.catalogue, world.clock()
    agency = catalogue.agencies[code]
    in_force = _in_force(world, code, now_us)
    return {
        "code": code,
        "titles": dict(agency.titles),
        "rights": sorted(agency.rights),
        "time_us": now_us,
        "agreements": [_agreement(one) for one in in_force.values()],
        "subscriptions": [
            _subscription(one)
            for _, one in sorted(catalogue.subscriptions.items())
            if one.recipient == code and one.agreement.code in in_force
        ],
        "datasets": [_dataset(one) for one in catalogue.datasets.values() if one.provider == code],
        "overdue": _overdue(world, agency.number, now_us),
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


def _in_force(world: World, code: str, now_us: int) -> dict[str, Agreement]:
    """Return the agreements that this agency is a party to and that count at this moment."""
    catalogue: Catalogue = world.catalogue
    with world.store.read() as tx:
        rules = rules_of(read_rules(tx))
    return {
        one.code: one
        for one in catalogue.agreements.values()
        if code in (one.provider, one.recipient)
        and one.valid_from_us <= now_us < one.valid_until_us
        and rules.phase(one.number, catalogue.agencies[one.provider].number, catalogue.agencies[one.recipient].number)
        == "in_force"
    }


def _agreement(one: Agreement) -> dict[str, Any]:
    return {
        "code": one.code,
        "version": one.version,
        "provider": one.provider,
        "recipient": one.recipient,
        "purposes": list(one.purposes),
        "valid_from": rfc3339(one.valid_from_us),
        "valid_until": rfc3339(one.valid_until_us),
        "look_back_days": one.look_back_days,
        "law": one.law,
    }


def _subscription(one: Subscription) -> dict[str, Any]:
    titles = {name: field.titles for name, field in one.dataset.fields.items()}
    titles |= {name: field.titles or {} for name, field in one.dataset.derived.items()}
    return {
        "agreement": one.agreement.code,
        "purpose": one.purpose.code,
        "basis": one.purpose.basis.value,
        "dataset": one.dataset.name,
        "dataschema": f"{one.dataset.name}/{one.dataset.version}",
        "fields": [
            {"name": name, "required": name in one.required, "titles": dict(titles[name])}
            for name in sorted(one.allowed)
        ],
    }


def _dataset(one: Dataset) -> dict[str, Any]:
    return {
        "name": one.name,
        "version": one.version,
        "dataschema": f"{one.name}/{one.version}",
        "titles": dict(one.titles),
        "subject_role": one.subject_role,
        "rhythm_days": one.rhythm_days,
        "schema": one.schema,
        "fields": [
            {
                "name": name,
                "titles": dict(field.titles),
                "subject": bool(field.names) and field.role == one.subject_role,
            }
            for name, field in one.fields.items()
        ],
    }
