"""A form that could not be taken as it was sent, for want of a session or of a surer one: what was chosen is kept.

It is answered by a page that says so, with a link to the way on. To lead on at once would say nothing to whoever has
pressed a button; and a browser stops a form's answer that leads to another site, as the provider's is
(`form-action 'self'`, hub/web/page_headers.py). What was kept is shown again by the form's own page, and done by
nothing but being sent once more.
"""

from fastapi import Request, Response

from hub.core.errors import HubError
from hub.web.portal.visit import Mine, Sent, Visit, mine, page, sign_in_at, visit_of
from hub.web.posted import given_back, kept_at, was_shown


def ended(request: Request) -> Response:
    """Answer a form that came without a session."""
    kept = _kept(request)
    there = sign_in_at(request, kept or request.url.path)
    text = "error.ended_kept" if kept else "error.ended"
    return _page(visit_of(request), 401, "error.ended_title", text, href=there, label="frame.sign_in")


def renewed(request: Request) -> Response | None:
    """Answer a form that was shown to the same person in a former session; None where nothing proves that it was."""
    sent = _sent(request)
    try:
        me = mine(request)
        kept = _kept(request) if was_shown(request, me.session, sent.pairs, form=request.url.path) else ""
    except HubError:
        return None
    if not kept:
        return None
    return _page(me, 409, "error.renewed_title", "error.renewed", href=kept, label="error.show_again")


def too_weak(me: Mine, least: int) -> Response:
    """Answer a form that wants a sign-in of this assurance, 1..3: say so, and how to get there."""
    kept = _kept(me.request)
    there = sign_in_at(me.request, kept or me.request.url.path, least=least)
    text = "error.weak_kept" if kept else "error.weak"
    return _page(me, 403, "error.weak_title", text, href=there, label="error.stronger")


def chosen_before(me: Mine) -> Sent:
    """Return what this person had filled in on this page before they had to sign in again; empty where nothing was."""
    return Sent(tuple(given_back(me.request, me.session, form=me.request.url.path)))


def _kept(request: Request) -> str:
    """Keep what was sent; returns the address that shows it again, "" where no good ticket came along."""
    path = request.url.path
    try:
        return kept_at(request, _sent(request).pairs, form=path, back=path)
    except HubError:
        return ""


def _sent(request: Request) -> Sent:
    found: Sent = getattr(request.state, "sent", Sent(()))
    return found


def _page(visit: Visit, status: int, title: str, text: str, *, href: str, label: str) -> Response:
    said = visit.texts.say
    return page(visit, "failure.html", status=status, title=said(title), text=said(text), href=href, label=said(label))
