"""The sign-in that asks for no proof, as a page: one button for each of the demo's people. Development and demo only.

The demo leaves a list of its people in the data directory; without one there is a field to type an id into.
"""

from typing import NamedTuple

import orjson
from fastapi import APIRouter, Request, Response

from hub.core.errors import HubError, Kind
from hub.settings import DEMO_PEOPLE, Settings
from hub.web.citizen import keep_session, signed_in_without_proof
from hub.web.citizen_forms import SignInForm
from hub.web.portal.failures import PageRoute, safe_next
from hub.web.portal.visit import DEV_SIGN_IN, HOME, Form, page, see, visit_of

TEXT_MOST = 256


class Somebody(NamedTuple):
    """Who can sign in: by which id, under which name, and for whom; `asked` where a question waits."""

    person: str
    name: str
    on: str
    other: str
    asked: bool


def people_routes() -> APIRouter:
    """Serve `GET /dev/sign-in`; `GET` and `POST /dev/sign-in/form`."""
    router = APIRouter(route_class=PageRoute)

    @router.get(DEV_SIGN_IN)
    def get_people(request: Request) -> Response:
        return _page(request, safe_next(request.query_params.get("next", HOME)))

    @router.post(f"{DEV_SIGN_IN}/form")
    def post_person(request: Request, form: Form) -> Response:
        there = safe_next(form.one("next"))
        person, on = form.one("person").strip(), form.one("for").strip()
        if not 0 < len(person) <= TEXT_MOST or len(on) > TEXT_MOST:
            return _page(request, there, unknown=True)
        try:
            session = signed_in_without_proof(request, SignInForm.model_validate({"person": person, "for": on or None}))
        except HubError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            return _page(request, there, unknown=True)
        return keep_session(request, see(there), session)

    @router.get(f"{DEV_SIGN_IN}/form")
    def get_form() -> Response:
        """Whoever chooses a language on the page that a form answered with is led back to the form."""
        return see(DEV_SIGN_IN)

    return router


def demo_people(settings: Settings) -> tuple[Somebody, ...]:
    """Read whom the demo says one can sign in as; nobody where it left no list."""
    try:
        said = orjson.loads((settings.data_dir / DEMO_PEOPLE).read_bytes())
    except FileNotFoundError:
        return ()
    return tuple(Somebody(**one) for one in said)


def _page(request: Request, there: str, *, unknown: bool = False) -> Response:
    visit = visit_of(request)
    people = demo_people(visit.hub.settings)
    return page(
        visit, "people.html", status=404 if unknown else 200, title=visit.texts.say("people.title"),
        people=people, next=there, unknown=unknown,
    )  # fmt: skip
