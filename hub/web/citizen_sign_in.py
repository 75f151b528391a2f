"""Where citizens sign in and out, in a browser: away to the provider and back, and out again here or everywhere.

`/sign-in` takes `back`, the page that was wanted, and `least`, the assurance that a purpose wants (step-up). Signing
out is a form with the session's token, or somebody else's page could do it. Addresses answer browsers with pages and
programs with problems.
"""

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Query, Request, Response

from hub.core.errors import HubError, Kind
from hub.identity.kept_forms import Fields
from hub.identity.sessions import end, end_everywhere
from hub.identity.sign_ins import BACK, PENDING, PENDING_S, SignInDesk, begin, finish, wanted
from hub.web.plain_pages import refusal_page, sign_in_again
from hub.web.posted import field, fields_of
from hub.web.signed_in import CSRF_FIELD, SIGNED_OUT, changing, cookie_of, drop_cookie, set_cookie

US = 1_000_000
HOME = "/"
SIGN_IN_THREADS = 8  # of their own: a provider that does not answer keeps those waiting who sign in, and nobody else
Back = Annotated[str, Query()]  # `own_path` judges it: a longer one leads home, and is no error of a person's
Least = Annotated[int, Query(ge=0, le=3)]
Sent = Annotated[Fields, Depends(fields_of)]


def citizen_sign_in_routes() -> APIRouter:
    """Serve the four addresses. Reads `sign_in` (a SignInDesk, or None), `citizens`, `settings`, `log` of the hub."""
    router, threads = APIRouter(), CapacityLimiter(SIGN_IN_THREADS)

    @router.get("/sign-in")
    async def get_sign_in(request: Request, back: Back = HOME, least: Least = 0) -> Response:
        try:
            desk = _desk(request)
            begun = await to_thread.run_sync(lambda: begin(desk, back=back, least=least), limiter=threads)
        except HubError as error:
            return _failed(request, error, sign_in_again(back, least))
        answer = _go(begun.address)
        set_cookie(request, answer, begun.cookie, life_s=PENDING_S, name=PENDING)
        return answer

    @router.get(BACK)
    async def get_back(request: Request) -> Response:
        given, pending, before = dict(request.query_params), cookie_of(request, PENDING), cookie_of(request)
        try:
            desk = _desk(request)
            entered = await to_thread.run_sync(
                lambda: finish(desk, given, pending=pending, before=before), limiter=threads
            )
        except HubError as error:
            answer = _failed(request, error, _again(request, pending))
        else:
            answer = _go(entered.back)
            set_cookie(request, answer, entered.session.cookie, life_s=desk.life_us // US)
        drop_cookie(request, answer, PENDING)
        return answer

    @router.post("/sign-out")
    def post_sign_out(request: Request, fields: Sent) -> Response:
        session, desk = changing(request, field(fields, CSRF_FIELD) or None), request.app.state.hub.citizens
        end(desk.store, desk.keys, session.cookie)
        return _out(request)

    @router.post("/sign-out/everywhere")
    def post_sign_out_everywhere(request: Request, fields: Sent) -> Response:
        session, desk = changing(request, field(fields, CSRF_FIELD) or None), request.app.state.hub.citizens
        end_everywhere(desk.store, session.principal.actor)
        return _out(request)

    return router


def _desk(request: Request) -> SignInDesk:
    desk: SignInDesk | None = request.app.state.hub.sign_in
    if desk is None:
        raise HubError(
            Kind.UNAVAILABLE,
            "Nobody can sign in here: this hub has no provider that says who people are.",
            remedy="Its operator names one in HUB_SIGN_IN_ISSUER.",
            code="sign-in-absent",
        )
    return desk


def _again(request: Request, pending: str) -> str:
    """Return where to try again: a form that was kept meanwhile is found only by the page that was wanted."""
    desk: SignInDesk | None = request.app.state.hub.sign_in
    return sign_in_again(HOME) if desk is None else sign_in_again(*wanted(desk, pending))


def _failed(request: Request, error: HubError, again: str) -> Response:
    request.app.state.hub.log.warning("sign_in.failed", code=error.code)
    return refusal_page(request, error, links=((again, "Sign in again"),))


def _go(address: str) -> Response:
    return Response(status_code=303, headers={"location": address, "cache-control": "no-store"})


def _out(request: Request) -> Response:
    answer = _go(SIGNED_OUT)
    drop_cookie(request, answer)
    return answer
