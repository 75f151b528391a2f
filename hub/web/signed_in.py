"""Who is signed in, from the cookie of a request: the one place where citizens' cookies are read, set and taken away.

`SameSite=Lax`, so that somebody who comes back from the provider, or follows a link in a letter, is signed in when they
arrive. What changes anything is a POST with the session's CSRF token, which another site's page does not have.
"""

from typing import Protocol

from fastapi import Request, Response

from hub.citizens.desk import CitizenDesk
from hub.identity.sessions import COOKIE, CSRF_HEADER, SignedIn, check_csrf, cookie_name, find, is_token_of
from hub.settings import Settings

SIGNED_OUT = "/signed-out"  # a page of nobody's: it asks for no session, so it leads to no provider
CSRF_FIELD = "csrf"  # in a form, where there is no script to set a header


class Signs(Protocol):
    """A hub, as far as this needs one."""

    @property
    def settings(self) -> Settings: ...
    @property
    def citizens(self) -> CitizenDesk: ...


def is_https(request: Request) -> bool:
    settings: Settings = request.app.state.hub.settings
    return settings.behind_tls_proxy or request.url.scheme == "https"


def cookie_of(request: Request, name: str = COOKIE) -> str:
    """Return a cookie's value, "" where there is none."""
    return request.cookies.get(cookie_name(https=is_https(request), name=name), "")


def set_cookie(request: Request, answer: Response, value: str, *, life_s: int, name: str = COOKIE) -> None:
    https = is_https(request)
    named = cookie_name(https=https, name=name)
    answer.set_cookie(named, value, max_age=life_s, path="/", httponly=True, samesite="lax", secure=https)


def drop_cookie(request: Request, answer: Response, name: str = COOKIE) -> None:
    https = is_https(request)
    answer.delete_cookie(cookie_name(https=https, name=name), path="/", httponly=True, samesite="lax", secure=https)


def signed_in(request: Request) -> SignedIn:
    """Return the session. Raises HubError(UNAUTHENTICATED): session-missing, session-ended."""
    hub: Signs = request.app.state.hub
    desk = hub.citizens
    return find(desk.store, desk.keys, cookie_of(request), now_us=desk.clock())


def goes_first(request: Request, given: str) -> bool:
    """Say whether a request may go before others: its token, `given`, was made by this hub for its cookie.

    Looked at before anything is held for it, or whoever has no session at all could keep everybody waiting.
    """
    desk = request.app.state.hub.citizens
    return is_token_of(desk.keys, cookie_of(request), given)


def changing(request: Request, given: str | None = None) -> SignedIn:
    """Return the session of a request that changes something; `given` is the form's token, else the header's.

    Raises HubError as above, and FORBIDDEN csrf-missing.
    """
    session = signed_in(request)
    check_csrf(session, request.headers.get(CSRF_HEADER) if given is None else given)
    return session
