"""Citizens' sign-ins, kept on the server: a cookie names a session by a random value of which only a hash is stored.

Signing in always makes a new value, whatever cookie came with the request, and ends the session that one named; so
nobody can be made to use a session that somebody else knows. Every change also needs the session's CSRF token in a
header or in the form, which another site's page can neither read nor send.

Where there is TLS the cookie's name begins with `__Host-` (RFC 6265bis, 4.1.3.2): a browser takes it from this very
host over TLS only, so no neighbouring name can plant one; and the bare name is not looked at there.
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
HOST_PREFIX = "__Host-"
CSRF_HEADER = "x-csrf-token"
COOKIE_BYTES = 32
VALUE_CHARS = 200  # no cookie or token of ours is longer; a longer one is not looked up
SESSIONS = Fences(changes=[(SESSION_LOCK, 0)])  # two sign-ins that clear away what has expired meet here


class SignedIn(NamedTuple):
    """A session. `cookie` is its secret value; `csrf` is what every change must bring along, hex."""

    cookie: str
    csrf: str
    principal: Principal


def cookie_name(*, https: bool, name: str = COOKIE) -> str:
    """Return what a cookie of ours is called."""
    return HOST_PREFIX + name if https else name


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
    who = (person, actor, acr)
    return store.write(
        lambda tx: begin(tx, keys, who=who, local=None, now_us=now_us, life_us=life_us, before=before),
        fences=SESSIONS,
    )


def begin(
    tx: Tx,
    keys: Keyring,
    *,
    who: tuple[int, int, int],
    local: bytes | None,
    now_us: int,
    life_us: int,
    before: str,
) -> SignedIn:
    """Begin a session inside a transaction under `SESSIONS`. `who` is (person, actor, assurance).

    `local` is the link that said so: where it is undone or doubted, the session ends with it.
    """
    person, actor, acr = who
    cookie = secrets.token_urlsafe(COOKIE_BYTES)
    principal = Principal(person, actor, "self" if actor == person else "guardian", acr, secrets.token_urlsafe(9))
    csrf = _csrf(keys, cookie)
    tx.run("DELETE FROM session WHERE expires_us <= ? OR token = ?", (now_us, _token(keys, before)))
    said = orjson.dumps(principal._asdict()).decode()
    row = (_token(keys, cookie), said, _hash(keys, csrf), now_us + life_us, actor, local)
    tx.insert("session(token, principal, csrf, expires_us, actor, local)", [row])
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


def is_token_of(keys: Keyring, cookie: str, given: str) -> bool:
    """Say whether this is the CSRF token of this cookie, whose session may have ended. Asks nothing of the store."""
    known = bool(cookie) and len(cookie) <= VALUE_CHARS
    return known and compare_digest(given.encode(), _csrf(keys, cookie).encode())


def end(store: Store, keys: Keyring, cookie: str) -> None:
    """Forget a session; nothing happens where there is none."""
    store.write(lambda tx: tx.run("DELETE FROM session WHERE token = ?", (_token(keys, cookie),)), fences=SESSIONS)


def end_everywhere(store: Store, actor: int) -> int:
    """End every session that this person has begun, on whatever device. Returns how many.

    Those in which somebody else acts for them stay: they are not theirs.
    """
    return store.write(lambda tx: _end_of(tx, actor), fences=SESSIONS)


def end_by_link(tx: Tx, local: bytes) -> int:
    """End what rests on a link that is undone or doubted: somebody else may have been signed in as this person.

    Inside a transaction that excludes sign-ins. Returns how many.
    """
    return tx.run("DELETE FROM session WHERE local = ?", (local,))


def _end_of(tx: Tx, actor: int) -> int:
    """The second is for rows of a hub that wrote no `actor` yet; they are gone a few hours after an upgrade."""
    return tx.run("DELETE FROM session WHERE actor = ?", (actor,)) + tx.run(
        "DELETE FROM session WHERE actor IS NULL AND CAST(json_extract(principal, '$.actor') AS BIGINT) = ?", (actor,)
    )


def _token(keys: Keyring, cookie: str) -> bytes:
    return keyed(keys.session, "cookie", cookie)


def _csrf(keys: Keyring, cookie: str) -> str:
    """Derive the token from the cookie, so that a page that was loaded anew can ask for it again."""
    return keyed(keys.session, "csrf", cookie).hex()


def _hash(keys: Keyring, csrf: str) -> bytes:
    return keyed(keys.session, "csrf-hash", csrf)
