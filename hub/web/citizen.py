"""The citizens' door: what a person is asked and says to it, what they can see, and the receipts they take away.

Whose data it is follows from the session alone; no address names a person. Every change needs the session's CSRF token.
What stops a release (withdraw, pause, narrow, object) has threads of its own, the fast lane of the store, and meanwhile
what can wait stands still (`hub/way.py`): it waits behind nobody else. Quotas are for agencies, and never asked here.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Annotated, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request, Response

from hub.citizens.choices import Done, extend_it, grant, grant_unasked, narrow_it, pause_it, resume_it, say_no
from hub.citizens.desk import CitizenDesk
from hub.citizens.history import NEWEST, history
from hub.citizens.inbox import consents, open_requests
from hub.citizens.notices import notice_of_purpose, notice_of_request
from hub.citizens.objections import object_to, take_back
from hub.citizens.offers import Titles
from hub.citizens.receipts import own_receipt
from hub.citizens.withdraw import withdraw_it
from hub.core.errors import HubError, Kind
from hub.identity.people import person_of
from hub.identity.principal import Principal
from hub.identity.pseudonyms import pseudonym
from hub.identity.sessions import CSRF_HEADER, SignedIn, end, end_everywhere, sign_in
from hub.settings import Settings
from hub.store.engine import Tx
from hub.web.citizen_forms import (
    ExtendForm,
    GrantForm,
    NarrowForm,
    ObjectionForm,
    SignInForm,
    UnaskedForm,
    answer,
    consents_json,
    history_json,
    instant_us,
    language_of,
    pairs,
    receipt_json,
    request_json,
)
from hub.web.receipts import PORTAL, receipt_routes
from hub.web.signed_in import changing as _changing
from hub.web.signed_in import cookie_of, drop_cookie, goes_first, set_cookie
from hub.web.signed_in import signed_in as _session

T = TypeVar("T")
URGENT_THREADS = 8  # what stops a release holds one for a few milliseconds; the store's fast lane takes one at a time
US_PER_HOUR = 3_600_000_000
After = Annotated[int, Query(ge=0, le=NEWEST)]


def citizen_routes(*, dev_sign_in: bool) -> APIRouter:
    """Serve `/v1/me`; with `dev_sign_in` also the sign-in that asks for no proof.

    Reads `citizens` (a CitizenDesk), `metrics` and `settings` of `app.state.hub`.
    """
    router = APIRouter()
    router.include_router(_looking())
    router.include_router(_answering())
    router.include_router(_stopping())
    router.include_router(receipt_routes())
    if dev_sign_in:
        router.include_router(_dev_sign_in())
    return router


def _looking() -> APIRouter:
    router = APIRouter(prefix="/v1/me")

    @router.get("")
    def get_me(request: Request) -> Response:
        return answer(_me(_desk(request), _session(request)))

    @router.get("/inbox")
    def get_inbox(request: Request) -> Response:
        session, language = _session(request), _language(request)
        waiting = open_requests(_desk(request), session.principal, language)
        return answer({"requests": [request_json(one, language) for one in waiting]}, language=language)

    @router.get("/consents")
    def get_consents(request: Request) -> Response:
        session, language = _session(request), _language(request)
        found = consents(_desk(request), session.principal, language)
        return answer(consents_json(found, language), language=language)

    @router.get("/history")
    def get_history(request: Request, after: After = NEWEST) -> Response:
        session, language, desk = _session(request), _language(request), _desk(request)
        page = history(desk, session.principal, after=after)
        return answer(history_json(page, Titles(desk.catalogue, language)), language=language)

    @router.get("/receipts/{receipt}")
    def get_receipt(request: Request, receipt: str) -> Response:
        return answer(receipt_json(own_receipt(_desk(request), _session(request).principal, receipt)))

    return router


def _answering() -> APIRouter:
    """What may wait behind other writes: to say yes, to say no, to go on."""
    router = APIRouter(prefix="/v1/me")

    @router.post("/sign-out")
    def post_sign_out(request: Request) -> Response:
        desk, session = _desk(request), _changing(request)
        end(desk.store, desk.keys, session.cookie)
        answered = Response(status_code=204)
        drop_cookie(request, answered)
        return answered

    @router.post("/sign-out/everywhere")
    def post_sign_out_everywhere(request: Request) -> Response:
        session = _changing(request)
        end_everywhere(_desk(request).store, session.principal.actor)
        answered = Response(status_code=204)
        drop_cookie(request, answered)
        return answered

    @router.post("/consents")
    def post_consent(request: Request, form: UnaskedForm) -> Response:
        """Say yes without having been asked."""
        desk, principal = _desk(request), _changing(request).principal
        notice = notice_of_purpose(desk, recipient=form.recipient, purpose=form.purpose, language=_language(request))
        done = grant_unasked(
            desk, principal, recipient=form.recipient, purpose=form.purpose, items=pairs(form.items), notice=notice,
            until_us=instant_us(form.until),
        )  # fmt: skip
        return _receipt(done, 201)

    @router.post("/consents/{consent}/grant")
    def post_grant(request: Request, consent: str, form: GrantForm | None = None) -> Response:
        desk, principal, given = _desk(request), _changing(request).principal, form or GrantForm()
        notice = notice_of_request(desk, principal, consent, _language(request))
        until_us = instant_us(given.until)
        done = grant(desk, principal, consent, items=pairs(given.items), until_us=until_us, notice=notice)
        return _receipt(done)

    @router.post("/consents/{consent}/refuse")
    def post_refuse(request: Request, consent: str) -> Response:
        return _receipt(say_no(_desk(request), _changing(request).principal, consent))

    @router.post("/consents/{consent}/resume")
    def post_resume(request: Request, consent: str) -> Response:
        return _receipt(resume_it(_desk(request), _changing(request).principal, consent))

    @router.post("/consents/{consent}/extend")
    def post_extend(request: Request, consent: str, form: ExtendForm) -> Response:
        desk, principal, until_us = _desk(request), _changing(request).principal, instant_us(form.until)
        assert until_us is not None  # the form has it
        return _receipt(extend_it(desk, principal, consent, until_us=until_us))

    @router.delete("/objections/{objection}")
    def delete_objection(request: Request, objection: str) -> Response:
        return answer(receipt_json(take_back(_desk(request), _changing(request).principal, objection)))

    return router


def _stopping() -> APIRouter:
    """What stops a release. Async only to choose its threads: the work is done in one of them."""
    router, threads = APIRouter(prefix="/v1/me"), CapacityLimiter(URGENT_THREADS)

    async def urgently(request: Request, act: Callable[[CitizenDesk, Principal], T]) -> T:
        began_s, hub = perf_counter(), request.app.state.hub

        def acted() -> T:
            return act(_desk(request), _changing(request).principal)

        if not goes_first(request, request.headers.get(CSRF_HEADER, "")):
            return await to_thread.run_sync(acted)  # it will be refused: nobody waits for that
        with hub.way.first():
            done = await to_thread.run_sync(acted, limiter=threads)
        hub.metrics.withdraw_s.observe(perf_counter() - began_s)
        return done

    @router.post("/consents/{consent}/withdraw")
    async def post_withdraw(request: Request, consent: str) -> Response:
        return _receipt(await urgently(request, lambda desk, principal: withdraw_it(desk, principal, consent)))

    @router.post("/consents/{consent}/pause")
    async def post_pause(request: Request, consent: str) -> Response:
        return _receipt(await urgently(request, lambda desk, principal: pause_it(desk, principal, consent)))

    @router.post("/consents/{consent}/narrow")
    async def post_narrow(request: Request, consent: str, form: NarrowForm) -> Response:
        items = pairs(form.items) or []
        return _receipt(
            await urgently(request, lambda desk, principal: narrow_it(desk, principal, consent, items=items))
        )

    @router.post("/objections")
    async def post_objection(request: Request, form: ObjectionForm) -> Response:
        def act(desk: CitizenDesk, principal: Principal) -> bytes:
            return object_to(desk, principal, recipient=form.recipient, purpose=form.purpose)

        return answer(receipt_json(await urgently(request, act)))

    return router


def _dev_sign_in() -> APIRouter:
    router = APIRouter()

    @router.post("/dev/sign-in")
    def post_sign_in(request: Request, form: SignInForm) -> Response:
        """Sign in as anybody, without proof. Production settings refuse to have this."""
        session = signed_in_without_proof(request, form)
        return keep_session(request, answer(_me(_desk(request), session)), session)

    return router


def signed_in_without_proof(request: Request, form: SignInForm) -> SignedIn:
    """Begin a session for whom the form names. Raises HubError(NOT_FOUND) where nobody is linked under that id."""
    desk = _desk(request)
    with desk.store.read() as tx:
        actor = _person(desk, tx, form.person, "/person")
        person = _person(desk, tx, form.acts_for, "/for") if form.acts_for else actor
    return sign_in(
        desk.store,
        desk.keys,
        person=person,
        actor=actor,
        acr=form.assurance,
        now_us=desk.clock(),
        life_us=_settings(request).session_hours * US_PER_HOUR,
        before=cookie_of(request),
    )


def keep_session(request: Request, answered: Response, session: SignedIn) -> Response:
    """Give the browser the session's cookie."""
    set_cookie(request, answered, session.cookie, life_s=_settings(request).session_hours * 3600)
    return answered


def _person(desk: CitizenDesk, tx: Tx, handle: str, where: str) -> int:
    agency, _, local_id = handle.partition(":")
    person = person_of(tx, desk.keys, agency, local_id)
    if person is None:
        raise HubError(
            Kind.NOT_FOUND,
            "nobody is linked under this handle",
            where=where,
            remedy="Name an agency and its own id of the person, as in population-register:R-17.",
            code="person-unknown",
        )
    return person


def _me(desk: CitizenDesk, session: SignedIn) -> dict[str, str | int]:
    """Say who is signed in, by names that mean nothing anywhere else."""
    principal, secret = session.principal, desk.keys.pseudonym
    return {
        "person": pseudonym(secret, PORTAL, principal.person),
        "actor": pseudonym(secret, PORTAL, principal.actor),
        "capacity": principal.capacity,
        "assurance": principal.acr,
        "csrf": session.csrf,
    }


def _desk(request: Request) -> CitizenDesk:
    desk: CitizenDesk = request.app.state.hub.citizens
    return desk


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.hub.settings
    return settings


def _language(request: Request) -> str:
    return language_of(request, _settings(request).languages)


def _receipt(done: Done, status: int = 200) -> Response:
    return answer(receipt_json(done.receipt.canonical), status)
