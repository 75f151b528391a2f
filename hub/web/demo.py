"""The shortcuts of the demo: an agency registers its own key, a test person's record is damaged.

These routes are there in demo mode only.
"""

from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from hub.core.errors import HubError, Kind
from hub.identity.people import person_of
from hub.store.engine import Tx
from hub.store.facts import PERSON_FENCE, raise_fence
from hub.web.running import Administered

TEST_PERSONS = "PR-TEST-"  # how the register's ids of them begin


def demo_routes() -> APIRouter:
    """Serve `POST /demo/agency-keys` {"agency", "jwk"} and `POST /demo/poison` {"person"}."""
    router = APIRouter()

    @router.post("/demo/agency-keys")
    async def post_key(
        request: Request, agency: Annotated[str, Body()], jwk: Annotated[dict[str, Any], Body()]
    ) -> Response:
        hub: Administered = request.app.state.hub
        if agency not in hub.world.catalogue.agencies:
            raise HubError(
                Kind.NOT_FOUND,
                "the demo has no agency of this code",
                where="/agency",
                remedy="See policies/catalogue/agencies.yaml.",
                code="agency-unknown",
            )
        added = await to_thread.run_sync(hub.add_agency_key, agency, jwk)
        return Response(orjson.dumps(added), 201, media_type="application/json")

    @router.post("/demo/poison")
    def post_poison(request: Request, person: Annotated[str, Body(embed=True)]) -> Response:
        """Leave a test person's date of birth unreadable, so that whoever decides about them meets a defect."""
        hub: Administered = request.app.state.hub
        agency, _, local_id = person.partition(":")

        def damage(tx: Tx) -> bool:
            found = person_of(tx, hub.world.keys, agency, local_id)
            if found is None or not local_id.startswith(TEST_PERSONS):
                return False
            raise_fence(tx, PERSON_FENCE, found)
            tx.run("UPDATE person SET born = ? WHERE id = ?", (bytes(40), found))
            return True

        if not hub.world.store.write(damage):
            raise HubError(
                Kind.NOT_FOUND,
                "the demo has no test person under this handle",
                where="/person",
                remedy="Name one of deploy/demo/people.yaml, as in population-register:PR-TEST-6.",
                code="person-unknown",
            )
        return Response(status_code=204)

    return router
