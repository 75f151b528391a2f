"""Citizens' sign-ins, kept on the server: a cookie names a session by a random value of which only a hash is stored.

Signing in always makes a new value, whatever cookie came with the request, and ends the session that one named; so
nobody can be made to use a session that somebody else knows. Every change also needs the session's CSRF token in a
header, which another site's page can neither read nor send.
"""

import secrets
from hmac import compare_digest
from typing import NamedTuple

import orjson

from hub.core.errors import HubError, Kind
from hub.identity.keys import Keyring, keyed
from hub.identity.principal import Principal
from hub.store.engine import Fences, Store, Tx
from hub.store.facts import SESSION_LOCK

COOKIE = "hub_session"
CSRF_HEADER = "x-csrf-token"
COOKIE_BYTES = 32
VALUE_CHARS = 200  # no cookie or token of ours is longer; a longer one is not looked up
_SESSIONS = Fences(changes=[(SESSION_LOCK, 0)])  # two sign-ins that clear away what has expired meet here


class SignedIn(NamedTuple):
    """A session. `cookie` is its secret value; `csrf` is what every change must bring along, hex."""

    cookie: str
    csrf: str
    principal: Principal


def sign_in(
    store: Store,
    keys: Keyring,
    *,
    person: int,
    actor: int,
    acr: int,
    now_us: int,
    life_us: int,
    before: str = "",
) -> SignedIn:
    """Begin a session in which `actor` acts for `person`. `before` is the cookie that came along: its session ends."""
    cookie = secrets.token_urlsafe(COOKIE_BYTES)
    capacity = "self" if actor == person else "guardian"
    principal = Principal(person, actor, capacity, acr, secrets.token_urlsafe(9))
    csrf = _csrf(keys, cookie)

    def transaction(tx: Tx) -> None:
        tx.run("DELETE FROM session WHERE expires_us <= ? OR token = ?", (now_us, _token(keys, before)))
        row = (_token(keys, cookie), orjson.dumps(principal._asdict()).decode(), _hash(keys, csrf), now_us + life_us)
        tx.insert("session(token, principal, csrf, expires_us)", [row])

    store.write(transaction, fences=_SESSIONS)
    return SignedIn(cookie, csrf, principal)


def find(store: Store, keys: Keyring, cookie: str | None, *, now_us: int) -> SignedIn:
    """Return the session of a cookie. Raises HubError(UNAUTHENTICATED) where there is none, or none any more."""
    if not cookie:
        raise HubError(
            Kind.UNAUTHENTICATED, "You are not signed in.", remedy="Sign in, then try again.", code="session-missing"
        )
    row = None
    if len(cookie) <= VALUE_CHARS:
        with store.read() as tx:
            row = tx.one("SELECT principal, expires_us FROM session WHERE token = ?", (_token(keys, cookie),))
    if row is None or now_us >= row[1]:
        raise HubError(
            Kind.UNAUTHENTICATED,
            "Your session has ended.",
            remedy="Sign in again; nothing you did before is lost.",
            code="session-ended",
        )
    return SignedIn(cookie, _csrf(keys, cookie), Principal(**orjson.loads(row[0])))


def check_csrf(session: SignedIn, given: str | None) -> None:
    """Raise HubError(FORBIDDEN) unless `given` is this session's CSRF token. Compared in constant time."""
    if given is None or not compare_digest(given.encode(), session.csrf.encode()):
        raise HubError(
            Kind.FORBIDDEN,
            f"The request does not carry this session's token in {CSRF_HEADER}; nothing was changed.",
            remedy=f"Send the `csrf` that the sign-in or GET /v1/me gave you in the header {CSRF_HEADER}.",
            code="csrf-missing",
        )


def end(store: Store, keys: Keyring, cookie: str) -> None:
    """Forget a session; nothing happens where there is none."""
    store.write(lambda tx: tx.run("DELETE FROM session WHERE token = ?", (_token(keys, cookie),)), fences=_SESSIONS)


def _token(keys: Keyring, cookie: str) -> bytes:
    return keyed(keys.session, "cookie", cookie)


def _csrf(keys: Keyring, cookie: str) -> str:
    """Derive the token from the cookie, so that a page that was loaded anew can ask for it again."""
    return keyed(keys.session, "csrf", cookie).hex()


def _hash(keys: Keyring, csrf: str) -> bytes:
    return keyed(keys.session, "csrf-hash", csrf)
