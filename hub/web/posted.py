"""Forms that people send from a page: read within a limit, by their session or not at all, and never lost.

`fields_of` reads one; `sender_of` says whose it is. Where the session has ended meanwhile, was renewed in another
window, or is too weak for what is wanted, what was filled in is kept (`hub/identity/kept_forms.py`) and the answer is a
page that says so, with the way on; the form's own page shows it again by `given_back`. Nothing is done without being
sent once more.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response

from hub.core.errors import HubError, Kind
from hub.identity.kept_forms import FORM_BYTES, Fields, give_back, keep, shown_to, ticket
from hub.identity.sessions import SignedIn, check_csrf
from hub.identity.sign_ins import needs
from hub.web.bodies import read_body
from hub.web.plain_pages import refusal_page, sign_in_again
from hub.web.signed_in import CSRF_FIELD, signed_in

TICKET_FIELD = "ticket"
KEPT = "kept"  # in the address of a form's page: under which token there is something to show again
FORM_TYPE = "application/x-www-form-urlencoded"
FIELDS_MOST = 1_024


async def fields_of(request: Request) -> Fields:
    """Read a form in its order; without a body there are no fields. Raises HubError MALFORMED, TOO_LARGE."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return []
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise _malformed(f"The body must be {FORM_TYPE}.")
    body = await read_body(request, FORM_BYTES)
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MOST, errors="strict")
    except ValueError as cause:
        raise _malformed("The body is not a form, or has too many fields.") from cause


def field(fields: Fields, name: str) -> str:
    """Return the only value of a field, "" where it is not there or not alone."""
    found = [value for one, value in fields if one == name]
    return found[0] if len(found) == 1 else ""


def hidden_fields(request: Request, session: SignedIn, *, form: str) -> Mapping[str, str]:
    """Return what a page puts into a form besides its own fields. `form` names it and what it is about, `narrow:ID`."""
    desk = request.app.state.hub.citizens
    shown = ticket(desk.keys, person=session.principal.person, form=form, now_us=desk.clock())
    return {CSRF_FIELD: session.csrf, TICKET_FIELD: shown}


def sender_of(request: Request, fields: Fields, *, form: str, back: str, least: int = 0) -> SignedIn | Response:
    """Return the session that sent a form and may, with the assurance that it needs; else the page that leads on.

    `back` is the path of the form's page. Raises HubError(FORBIDDEN): csrf-missing where the form was shown to somebody
    else or to nobody, form-ticket. Then nothing is kept.
    """
    try:
        session = signed_in(request)
    except HubError as ended:
        return _keep(request, fields, ended, form=form, back=back, least=least)
    try:
        check_csrf(session, field(fields, CSRF_FIELD))
    except HubError:
        if _shown_to(request, fields, form) != session.principal.person:
            raise
        renewed = HubError(
            Kind.CONFLICT,
            "You have signed in anew since this page was shown. Nothing was changed yet; what you filled in is kept.",
            remedy="Look at it once more, then send it.",
            code="session-renewed",
        )
        return _keep(request, fields, renewed, form=form, back=back, signed=True)
    try:
        needs(session, least)
    except HubError as weak:
        return _keep(request, fields, weak, form=form, back=back, least=least)
    return session


def given_back(request: Request, session: SignedIn, *, form: str) -> Fields:
    """Return what this person had filled in on this form before they had to sign in again; empty where nothing was."""
    desk = request.app.state.hub.citizens
    return give_back(
        desk.store, desk.keys, request.query_params.get(KEPT, ""), person=session.principal.person, form=form,
        now_us=desk.clock(),
    )  # fmt: skip


def was_shown(request: Request, session: SignedIn, fields: Fields, *, form: str) -> bool:
    """Say whether a form's ticket proves that it was shown to the person of this session."""
    return _shown_to(request, fields, form) == session.principal.person


def kept_at(request: Request, fields: Fields, *, form: str, back: str) -> str:
    """Keep what was sent; returns the address of its page, `back`, that shows it again. Raises HubError as `keep`."""
    desk = request.app.state.hub.citizens
    own = [one for one in fields if one[0] not in (CSRF_FIELD, TICKET_FIELD)]
    token = keep(desk.store, desk.keys, field(fields, TICKET_FIELD), form=form, fields=own, now_us=desk.clock())
    return back + ("&" if "?" in back else "?") + urlencode({KEPT: token})


def _shown_to(request: Request, fields: Fields, form: str) -> int | None:
    desk = request.app.state.hub.citizens
    return shown_to(desk.keys, field(fields, TICKET_FIELD), form=form, now_us=desk.clock())


def _keep(
    request: Request, fields: Fields, why: HubError, *, form: str, back: str, least: int = 0, signed: bool = False
) -> Response:
    """Keep a form; answer with why, and a link to where it goes on."""
    again = kept_at(request, fields, form=form, back=back)
    link = (again, "Show it again") if signed else (sign_in_again(again, least), "Sign in again, and go on")
    return refusal_page(request, why, links=(link,))


def _malformed(what: str) -> HubError:
    return HubError(Kind.MALFORMED, what, remedy="Open the page again, then send its form.", code="form-malformed")
