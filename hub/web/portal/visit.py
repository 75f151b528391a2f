"""One visit to the pages: who looks, in which language, what they sent; and the answer as a page.

A page is shown in the language of the cookie that the language switch sets, else in the browser's. `?language=` at any
address sets it and leads back to the same page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from fastapi import Depends, Request, Response

from hub.citizens.desk import CitizenDesk
from hub.citizens.offers import Titles
from hub.core.errors import HubError, Kind
from hub.identity.principal import Principal
from hub.identity.sessions import SignedIn, check_csrf
from hub.settings import Settings
from hub.web.bodies import media_type, read_body
from hub.web.citizen_forms import language_of
from hub.web.plain_pages import sign_in_again
from hub.web.portal.assets import built
from hub.web.portal.templates import render
from hub.web.portal.texts import NAMES, Texts
from hub.web.posted import TICKET_FIELD, hidden_fields
from hub.web.running import Running, hub_of
from hub.web.signed_in import is_https, signed_in

HOME = "/my"
DEV_SIGN_IN = "/dev/sign-in"
PATH_MOST = 512  # characters of a page's address that signing in leads back to
LANGUAGE_COOKIE = "hub_language"
LANGUAGE_S = 31_536_000  # a year
FORM_TYPE = "application/x-www-form-urlencoded"
FORM_BYTES = 65_536  # every item that terms may ask for, ticked, with the token
FORM_FIELDS = 600
PAGES = {"home": HOME, "sharing": f"{HOME}/sharing", "history": f"{HOME}/history"}
PAGES |= {"settings": f"{HOME}/settings", "help": f"{HOME}/help"}


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page, by anybody."""

    request: Request
    texts: Texts

    @property
    def hub(self) -> Running:
        return hub_of(self.request)

    @property
    def desk(self) -> CitizenDesk:
        return self.hub.citizens

    @property
    def language(self) -> str:
        return self.texts.language

    @property
    def titles(self) -> Titles:
        return Titles(self.desk.catalogue, self.language)


@dataclass(frozen=True, slots=True)
class Mine(Visit):
    """A request by somebody who is signed in."""

    session: SignedIn

    @property
    def principal(self) -> Principal:
        return self.session.principal


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form brought: every value of every name, in order."""

    pairs: tuple[tuple[str, str], ...]

    def one(self, name: str) -> str:
        """Return the first value of a name; empty where there is none."""
        return next((value for known, value in self.pairs if known == name), "")

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.pairs if known == name]


async def sent(request: Request) -> Sent:
    """Read a form. Raises HubError MALFORMED, TOO_LARGE; FORBIDDEN where another site's page has sent it."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HubError(Kind.FORBIDDEN, "Another site has sent this form.", code="csrf-missing")
    body = await read_body(request, FORM_BYTES)
    if media_type(request) != FORM_TYPE:
        return Sent(())
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FORM_FIELDS)
    except ValueError as cause:
        raise HubError(Kind.MALFORMED, "The body is not a form.", code="form-malformed") from cause
    found = Sent(tuple(pairs))
    request.state.sent = found  # for the page that says why it was not taken
    return found


def visit_of(request: Request) -> Visit:
    return Visit(request, texts_of(request))


def mine(request: Request) -> Mine:
    """Return the visit of somebody signed in. Raises HubError(UNAUTHENTICATED), answered by leading to the sign-in."""
    return Mine(request, texts_of(request), signed_in(request))


def changing(request: Request, form: Annotated[Sent, Depends(sent)]) -> Mine:
    """The same of a request that changes something: its form brought the session's token. Raises HubError."""
    visit = mine(request)
    check_csrf(visit.session, form.one("csrf"))
    return visit


Form = Annotated[Sent, Depends(sent)]
Me = Annotated[Mine, Depends(mine)]
Changing = Annotated[Mine, Depends(changing)]


def texts_of(request: Request) -> Texts:
    settings = hub_of(request).settings
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    known = [one for one in settings.languages if one in NAMES] or ["en"]
    language = chosen if chosen in known else language_of(request, tuple(known))
    return Texts(language, ZoneInfo(settings.timezone))


def page(visit: Visit, template: str, *, at: str = "", status: int = 200, **context: Any) -> Response:
    """Answer with a page. `at` names the main page it belongs to; `title` in `context` stands in the browser's tab."""
    request, settings, assets = visit.request, visit.hub.settings, built()
    session = visit.session if isinstance(visit, Mine) else None
    body = render(
        template,
        t=visit.texts.say,
        texts=visit.texts,
        at=at,
        session=session,
        csrf=session.csrf if session else "",
        ticket=_ticket(request, session) if session else "",
        pages=PAGES,
        languages=_switches(request, settings),
        sheet=assets.address("portal.rtl.css" if visit.texts.direction == "rtl" else "portal.css"),
        script=assets.address("portal.js"),
        icon=assets.address("icon.svg"),
        demo=settings.mode == "demo",
        **context,
    )
    headers = {"vary": "accept-language, cookie", "content-language": visit.language}  # the rest: `PageHeaders`
    return Response(body, status, headers, "text/html; charset=utf-8")  # not packed: a token is in it (BREACH, 2013)


def see(address: str, **query: str) -> Response:
    """Lead on with GET, so that loading the page anew sends nothing twice (RFC 9110 section 15.4.4)."""
    location = f"{address}?{urlencode(query)}" if query else address
    return Response(status_code=303, headers={"location": location, "cache-control": "no-store"})


def to_sign_in(request: Request) -> Response:
    """Lead to the sign-in, and back to the same page with the same filter."""
    path, query = request.url.path, request.url.query
    return see(sign_in_at(request, f"{path}?{query}" if query and len(path) + len(query) < PATH_MOST else path))


def sign_in_at(request: Request, back: str, *, least: int = 0) -> str:
    """Return where to sign in, with at least this assurance, and end on `back`.

    That is at the provider; without one, in development, where nobody has to prove anything.
    """
    hub = hub_of(request)
    if hub.sign_in is None and (hub.settings.dev_sign_in or hub.settings.mode == "demo"):
        return f"{DEV_SIGN_IN}?{urlencode({'next': back})}"
    return sign_in_again(back, least)


def keep_language(response: Response, language: str, *, secure: bool) -> Response:
    response.set_cookie(
        LANGUAGE_COOKIE, language, max_age=LANGUAGE_S, path="/", httponly=True, samesite="lax", secure=secure
    )
    return response


def switched(request: Request) -> Response | None:
    """Answer a request that chooses a language: the same page again, without the choice in its address."""
    chosen = request.query_params.get("language", "")
    if request.method != "GET" or chosen not in hub_of(request).settings.languages or chosen not in NAMES:
        return None
    rest = [(name, value) for name, value in request.query_params.multi_items() if name != "language"]
    there = request.url.path + (f"?{urlencode(rest)}" if rest else "")
    return keep_language(see(there), chosen, secure=is_https(request))


def _ticket(request: Request, session: SignedIn) -> str:
    """Make what proves that the form of this page was shown to this person, should their session end meanwhile."""
    return hidden_fields(request, session, form=request.url.path)[TICKET_FIELD]


def _switches(request: Request, settings: Settings) -> list[Mapping[str, str]]:
    """List the languages, each with the address of this very page in it."""
    path = request.url.path if request.method == "GET" else str(request.scope["path"])
    rest = [(name, value) for name, value in request.query_params.multi_items() if name not in ("language", "done")]
    return [
        {"code": one, "name": NAMES[one], "href": f"{path}?{urlencode([*rest, ('language', one)])}"}
        for one in settings.languages
        if one in NAMES
    ]
