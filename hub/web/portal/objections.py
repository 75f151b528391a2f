"""Object to what the law allows, where it leaves that right, and take it back: each after a page that says what for."""

from anyio import CapacityLimiter
from fastapi import APIRouter, Request, Response

from hub.citizens.desk import NotTheirs
from hub.citizens.inbox import ByLaw, consents
from hub.citizens.objections import object_to, take_back
from hub.web.citizen import URGENT_THREADS
from hub.web.portal.failures import PageRoute
from hub.web.portal.urgent import urgently
from hub.web.portal.visit import HOME, Form, Me, Mine, page, see
from hub.web.portal.wording import all_items, basis_of
from hub.web.words import words

AT = f"{HOME}/objections/{{use}}"


def objection_routes() -> APIRouter:
    """Serve `GET` and `POST /my/objections/{use}`, a use being RECIPIENT:PURPOSE."""
    router = APIRouter(route_class=PageRoute)
    threads = CapacityLimiter(URGENT_THREADS)

    @router.get(AT)
    def get_use(me: Me, use: str, done: str = "") -> Response:
        one = _own(me, use)
        stands = "object" if one.objected else "take-back"
        return page(
            me,
            "objection.html",
            at="sharing",
            title=me.texts.say("object.title", recipient=one.offer.recipient_title)
            if not one.objected
            else me.texts.labelled(one.offer.recipient_title, one.offer.purpose_title),
            one=one,
            offer=one.offer,
            items=me.texts.listed(all_items(one.offer)),
            basis=basis_of(me.titles, me.texts, one.offer.purpose),
            refusal=words(one.offer.refusal, me.language),
            done=done if done == stands else "",
            back=f"{HOME}/sharing",
        )

    @router.post(AT)
    async def post_use(request: Request, form: Form, use: str) -> Response:
        def act(me: Mine) -> Response:
            recipient, _, purpose = use.partition(":")
            if form.one("act") == "take-back":
                take_back(me.desk, me.principal, use)
                return see(f"{HOME}/objections/{use}", done="take-back")
            object_to(me.desk, me.principal, recipient=recipient, purpose=purpose)
            return see(f"{HOME}/objections/{use}", done="object")

        return await urgently(request, form, threads, act)

    return router


def _own(me: Mine, use: str) -> ByLaw:
    """Find a use that can reach this person. Raises NotTheirs."""
    for one in consents(me.desk, me.principal, me.language).by_law:
        if one.objection == use and one.objectable:
            return one
    raise NotTheirs
