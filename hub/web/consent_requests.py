"""An agency asks a person for consent. What the person says to it is said at the citizens' door."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from hub.citizens.requests import ask
from hub.identity.agency_tokens import Caller
from hub.web.citizen_forms import RequestForm, answer, instant_us
from hub.web.sign_in import caller_with

Asker = Annotated[Caller, Depends(caller_with("consent-requests:write"))]


def consent_request_routes() -> APIRouter:
    """Serve `POST /v1/consent-requests`. Reads `citizens` (a CitizenDesk) of `app.state.hub`."""
    router = APIRouter()

    @router.post("/v1/consent-requests")
    async def post_request(request: Request, form: RequestForm, caller: Asker) -> Response:
        """Put the question into the person's inbox."""
        hub, deadline_us = request.app.state.hub, instant_us(form.deadline)
        desk = hub.citizens

        def put() -> str:
            return ask(desk, caller.agency, subject=form.subject, purpose=form.purpose, deadline_us=deadline_us)

        return answer({"id": await to_thread.run_sync(put, limiter=hub.agency_threads)}, 201)

    return router
