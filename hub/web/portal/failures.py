"""What went wrong, as a page that says what it means and what to do: nothing is ever left ambiguous."""

import secrets
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from hub.citizens.inbox import Given
from hub.core.errors import HubError, Kind
from hub.web.portal.interrupted import ended, renewed
from hub.web.portal.own import own_given
from hub.web.portal.visit import HOME, Visit, mine, page, switched, texts_of, to_sign_in, visit_of
from hub.web.portal.wording import all_items
from hub.web.problems import STATUS, UNFORESEEN, retry_after_s
from hub.web.running import hub_of

REFERENCE_BYTES = 4
STALE = "consent-illegal-transition"
WEAK = frozenset({"assurance-too-low", "consent-assurance-too-low"})
AGAIN = frozenset({"csrf-missing", "form-malformed"})


class PageRoute(APIRoute):
    """A route whose failures are pages, and at whose address a language can be chosen (FastAPI's own place for it)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            if (elsewhere := switched(request)) is not None:
                return elsewhere
            try:
                return await handler(request)
            except HubError as error:
                return await to_thread.run_sync(failure, request, error)
            except (HTTPException, RequestValidationError):
                raise  # the framework's own refusals have an answer (hub/web/problems.py)
            except Exception as error:  # noqa: BLE001 - whoever came with a browser gets a page; logged with a reference
                reference = secrets.token_hex(REFERENCE_BYTES)
                hub_of(request).log.error(UNFORESEEN, request=reference, exc_info=error)
                return await to_thread.run_sync(unforeseen, request, reference)

        return answered


def failure(request: Request, error: HubError) -> Response:
    """Answer with the page of what went wrong."""
    if error.kind is Kind.UNAUTHENTICATED:
        return to_sign_in(request) if request.method == "GET" else ended(request)
    if error.code == "csrf-missing" and (again := renewed(request)) is not None:
        return again
    visit, status = _whoever(request), STATUS[error.kind]
    if error.kind is Kind.NOT_FOUND:
        return _plainly(visit, "error.missing_title", "error.missing", status)
    if error.code in AGAIN:
        return _plainly(visit, "error.csrf_title", "error.csrf", status, back=request.url.path)
    if error.code in WEAK:
        return _plainly(visit, "error.weak_title", "error.weak", status)
    given = _concerned(request)
    if error.code == STALE and given is not None:
        return stale(visit, given)
    reference = secrets.token_hex(REFERENCE_BYTES)
    visit.hub.log.warning("portal.failed", request=reference, code=error.code)
    answered = _failed(visit, given, reference, status)
    if retry_after_s(error):
        answered.headers["retry-after"] = str(retry_after_s(error))
    return answered


def unforeseen(request: Request, reference: str) -> Response:
    """Say that something failed of which nobody knows how far it came, and where to look."""
    visit, said = _whoever(request), texts_of(request).say
    return page(
        visit,
        "failure.html",
        status=500,
        title=said("error.unforeseen_title"),
        text=said("error.unforeseen", reference=reference),
        href=request.url.path,
        label=said("error.retry" if request.method == "GET" else "error.stale_now"),
    )


def stale(visit: Visit, given: Given) -> Response:
    """Say that a form showed an earlier state, and how it stands now."""
    return page(
        visit,
        "stale.html",
        status=409,
        title=visit.texts.say("error.stale_title"),
        given=given,
        href=f"{HOME}/sharing/{given.consent}",
    )


def safe_next(given: str) -> str:
    """Return where to go after signing in: a page of ours, whatever the address said."""
    parts = urlsplit(given)
    ours = not parts.scheme and not parts.netloc and "\\" not in given
    return given if ours and (parts.path == HOME or parts.path.startswith(f"{HOME}/")) else HOME


def _plainly(visit: Visit, title: str, text: str, status: int, *, back: str = "") -> Response:
    said = visit.texts.say
    label = said("error.retry") if back else said("error.home")
    return page(
        visit, "failure.html", status=status, title=said(title), text=said(text), href=back or HOME, label=label
    )


def _failed(visit: Visit, given: Given | None, reference: str, status: int) -> Response:
    said, back = visit.texts.say, visit.request.url.path
    if given is None or not back.endswith("/stop"):
        title, text = said("error.failed_title"), said("error.failed", reference=reference)
    else:
        items = visit.texts.listed(all_items(given.offer))
        title = said("error.not_stopped_title")
        text = said("error.not_stopped", recipient=given.offer.recipient_title, items=items, reference=reference)
    return page(visit, "failure.html", status=status, title=title, text=text, href=back, label=said("error.retry"))


def _whoever(request: Request) -> Visit:
    """Return the visit of whoever is signed in, so that the way around stays on the page, or of anybody."""
    try:
        return mine(request)
    except HubError:
        return visit_of(request)


def _concerned(request: Request) -> Given | None:
    """Find the consent that an address is about, as far as that can be read just now."""
    consent = request.path_params.get("consent", "")
    if not consent:
        return None
    try:
        return own_given(mine(request), consent)[0]
    except HubError:
        return None
