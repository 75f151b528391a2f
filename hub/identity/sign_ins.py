"""A citizen's sign-in from its beginning to its end: away to the provider, back with a proof, into a session.

1. `begin`: state, nonce and PKCE verifier are drawn; a sealed cookie takes them along, so the store is not asked
2. the browser goes to the provider and comes back with state and code    3. `finish`: the state is this browser's own
4. the provider's proof is checked (`provider.py`)                        5. it is as sure as was asked for
6. in one transaction: whom the register's links say it is (`accounts.py`), and a new session; the former one ends

The cookie is sealed, lasts ten minutes and is bound to nothing but this browser: whoever is sent a link that somebody
else's sign-in would end with has no such cookie, and is not signed in by it.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hmac import compare_digest
from typing import NamedTuple

import orjson
from cryptography.exceptions import InvalidTag

from hub.core.errors import HubError, Kind
from hub.identity.accounts import holder_of
from hub.identity.client_key import read_client_key
from hub.identity.keys import Keyring, derive, seal, unseal
from hub.identity.provider import Asked, Party, Provider
from hub.identity.sessions import SESSIONS, SignedIn
from hub.identity.sessions import begin as begin_session
from hub.ports import Clock
from hub.settings import Settings
from hub.store.engine import Store, Tx
from hub.token_file import read_token

BACK = "/sign-in/back"  # where a provider sends people to, below the hub's own address
PENDING = "hub_sign_in"  # the cookie's name
PENDING_S = 600  # to find a card reader, or a telephone
RANDOM_BYTES = 32  # RFC 7636 section 4.1 asks for as much in a verifier
PATH_CHARS = 512
COOKIE_CHARS = 3_072  # a browser keeps 4,096 with name and attributes
HOUR_US = 3_600_000_000
US = 1_000_000
_PLACE = b"sign-in/1"


class SignInDesk(NamedTuple):
    """What signing in works with. `agency`: whose ids the claim holds; `least`: nobody is let in below it."""

    store: Store
    keys: Keyring
    provider: Provider
    agency: str
    least: int
    clock: Clock
    life_us: int


class Begun(NamedTuple):
    """Where the browser goes, and the cookie that it keeps meanwhile."""

    address: str
    cookie: str


class Entered(NamedTuple):
    """A session that has begun, and the page that was wanted."""

    session: SignedIn
    back: str


def open_sign_in(settings: Settings, store: Store, keys: Keyring, clock: Clock) -> SignInDesk | None:
    """Put it together from the settings; None where no provider is named. Asks nobody yet. Raises HubError(STARTUP)."""
    if not settings.sign_in_issuer:
        return None
    secret = settings.sign_in_secret_file
    party = Party(
        issuer=settings.sign_in_issuer,
        client_id=settings.sign_in_client_id,
        back=settings.issuer + BACK,
        levels=settings.assurance_of,
        secret=read_token(secret, "the provider", setting="HUB_SIGN_IN_SECRET_FILE", code="sign-in-secret-file")
        if secret
        else "",
        key=read_client_key(settings.sign_in_key_file) if settings.sign_in_key_file else None,
        scope=settings.sign_in_scope,
        claim=settings.sign_in_claim,
    )
    return SignInDesk(
        store,
        keys,
        Provider(party, clock, ca_file=settings.sign_in_ca_file),
        settings.sign_in_agency,
        settings.sign_in_least_level,
        clock,
        settings.session_hours * HOUR_US,
    )


def begin(desk: SignInDesk, *, back: str, least: int = 0) -> Begun:
    """Begin a sign-in that ends on the page `back`, with at least this assurance. Raises HubError(UNAVAILABLE)."""
    asked = Asked(*(secrets.token_urlsafe(RANDOM_BYTES) for _ in Asked._fields))
    address = desk.provider.address(asked, least=max(least, desk.least))
    until_us = desk.clock() + PENDING_S * US
    sealed = seal(_key(desk.keys), orjson.dumps([*asked, own_path(back), least, until_us]), _PLACE)
    return Begun(address, urlsafe_b64encode(sealed).decode().rstrip("="))


def finish(desk: SignInDesk, given: Mapping[str, str], *, pending: str, before: str = "") -> Entered:
    """End a sign-in with what the provider sent along. `pending` is the cookie of `begin`, `before` a session's.

    Raises HubError: UNAUTHENTICATED sign-in-unknown (not begun here, or too long ago), and as `Provider.identify`;
    FORBIDDEN assurance-too-low, and as `holder_of`. Then nothing is changed: a session that there was goes on.
    """
    asked, back, least = _opened(desk, pending)
    if not compare_digest(given.get("state", "").encode(), asked.state.encode()):  # 3.
        raise _unknown()
    who = desk.provider.identify(asked, given)  # 4.
    needed = max(least, desk.least)
    if who.level < needed:  # 5.
        raise HubError(
            Kind.FORBIDDEN,
            f"This sign-in has assurance P{who.level}; P{needed} is needed here.",
            remedy="Sign in again with a stronger means, such as an identity card.",
            code="assurance-too-low",
        )
    now_us = desk.clock()

    def transaction(tx: Tx) -> SignedIn:  # 6.
        holder = holder_of(tx, desk.keys, who, agency=desk.agency, now_us=now_us)
        return begin_session(
            tx, desk.keys, who=(holder.person, holder.person, who.level), local=holder.local, now_us=now_us,
            life_us=desk.life_us, before=before,
        )  # fmt: skip

    return Entered(desk.store.write(transaction, fences=SESSIONS), back)


def wanted(desk: SignInDesk, pending: str) -> tuple[str, int]:
    """Return which page and which assurance this browser's sign-in was begun for, however long ago; else `/` and 0."""
    try:
        _, back, least, _ = _unsealed(desk, pending)
    except HubError:
        return "/", 0
    return back, least


def own_path(back: str) -> str:
    """Return a path of this hub's, `/` where `back` is anything else: nobody is led away by a link to a sign-in."""
    plain = len(back) <= PATH_CHARS and back.startswith("/") and all("!" <= one <= "~" for one in back)
    return back if plain and "\\" not in back and not back.startswith("//") else "/"


def needs(session: SignedIn, least: int) -> None:
    """Raise HubError(FORBIDDEN, "assurance-too-low") where a sign-in is less sure than a purpose wants: step up."""
    if session.principal.acr < least:
        raise HubError(
            Kind.FORBIDDEN,
            f"This needs a sign-in of assurance P{least}; yours has P{session.principal.acr}. Nothing was changed.",
            remedy="Sign in with a stronger means, such as an identity card; what you filled in is kept meanwhile.",
            code="assurance-too-low",
        )


def _opened(desk: SignInDesk, pending: str) -> tuple[Asked, str, int]:
    asked, back, least, until_us = _unsealed(desk, pending)
    if desk.clock() >= until_us:
        raise _unknown()
    return asked, back, least


def _unsealed(desk: SignInDesk, pending: str) -> tuple[Asked, str, int, int]:
    try:
        if len(pending) > COOKIE_CHARS:
            raise ValueError("too long")
        sealed = urlsafe_b64decode(pending + "=" * (-len(pending) % 4))
        state, nonce, verifier, back, least, until_us = orjson.loads(unseal(_key(desk.keys), sealed, _PLACE))
    except (InvalidTag, ValueError) as cause:
        raise _unknown() from cause
    return Asked(state, nonce, verifier), back, least, until_us


def _unknown() -> HubError:
    return HubError(
        Kind.UNAUTHENTICATED,
        "This sign-in was not begun in this browser, or is over already, or took too long.",
        remedy="Begin again from the page you wanted to see.",
        code="sign-in-unknown",
    )


def _key(keys: Keyring) -> bytes:
    return derive(keys.session, "pending-sign-ins/1", 32)
