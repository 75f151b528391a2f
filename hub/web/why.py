"""For the operator's socket: why somebody got something, or did not. Reasons go as codes; the command has the words."""

import re
from functools import partial
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from hub.core.errors import HubError, Kind
from hub.exchange.status import event_of
from hub.exchange.world import World
from hub.oversight.why import Log, decision_of, decision_of_delivery, last_decisions
from hub.store.deliveries import public_id
from hub.web.running import Administered

MOST = 100  # decisions at once
_DELIVERY = re.compile(r"[0-9a-f]{32}")


def why_routes() -> APIRouter:
    """Serve `GET /why?token=` and `GET /why?last=`."""
    router = APIRouter()

    @router.get("/why")
    async def why(request: Request, token: str = "", last: Annotated[int, Query(ge=1, le=MOST)] = 1) -> Response:
        hub: Administered = request.app.state.hub
        found = await to_thread.run_sync(lambda: explain(hub.world, token=token, last=last))
        return Response(orjson.dumps({"decisions": found}), media_type="application/json")

    return router


def explain(world: World, *, token: str, last: int) -> list[dict[str, Any]]:
    """Open the decision of an event (by status token) or of a delivery (by id); without either the latest ones.

    Raises HubError(NOT_FOUND) for a token that is none of ours, or whose decision is not to be found.
    """
    log = Log(world.store, world.open_keys)
    if not token:
        return [one.as_json() for one in last_decisions(log, last)]
    if _DELIVERY.fullmatch(token):
        found = decision_of_delivery(log, bytes.fromhex(token))
    else:
        found = decision_of(log, partial(public_id, world.keys.delivery, event_of(world.keys, token)))
    if found is None:
        raise HubError(
            Kind.NOT_FOUND,
            "no decision is found for this",
            remedy="It may not be decided yet, or nobody subscribes to its dataset; `hub why --last` shows the latest.",
            code="decision-unknown",
        )
    return [found.as_json()]
