"""What an agency signs in for: an access token of five minutes (RFC 9068), and who calls when one comes back.

A token carries the rights of the moment it was issued. What must stop at once (a suspended agency, an ended agreement)
is a fact behind a fence, read again at every release; tokens only open the door to asking.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from hub.core.errors import HubError, Kind
from hub.identity.agency_keys import KeysOf
from hub.identity.assertions import Assertion, believed
from hub.identity.signed_tokens import is_signed_by, read_token, signed
from hub.identity.token_keys import TOKEN_LIFE_S, KeysAt, public_jwk
from hub.ports import Clock

RECENT_TOKENS = 4_096  # remembered as verified: ten times the agencies of a large country, 1 MB
SCOPES_OF_RIGHT = {
    # notices come in a publisher's feed too
    "publish": ("events:write", "deliveries:read", "agreements:write", "ways-out:write"),
    "subscribe": ("deliveries:read", "consent-requests:write", "asks:write", "agreements:write", "ways-out:write"),
    "link": ("links:write",),
}
SCOPES_OF_ALL = ("agency:read",)
SCOPES = tuple(dict.fromkeys([*SCOPES_OF_ALL, *(scope for scopes in SCOPES_OF_RIGHT.values() for scope in scopes)]))


class Claims(Protocol):
    """Where assertions are used up."""

    def claim_jti(self, agency: str, jti: str, exp_us: int) -> bool:
        """Take an assertion for good; False when it was taken before. See `LocalStore.claim_jti`."""


RightsOf = Callable[[str], frozenset[str]]
"""Return the rights of the agency with this code, of `publish`, `subscribe`, `link`."""


class Caller(NamedTuple):
    """An agency that showed a valid access token."""

    agency: str
    scopes: frozenset[str]
    token_id: str


class Issued(NamedTuple):
    token: str
    scopes: tuple[str, ...]
    life_s: int


class RecentTokens:
    """The callers of tokens verified lately, by the SHA-256 of the token, oldest use forgotten first. Thread safe.

    Only good tokens get in, so that nobody can push them out with bad ones. It never holds a token itself.
    """

    def __init__(self, limit: int = RECENT_TOKENS) -> None:
        self._limit, self._lock = limit, Lock()
        self._callers: OrderedDict[bytes, tuple[Caller, int]] = OrderedDict()

    def get(self, digest: bytes, *, now_us: int) -> Caller | None:
        """Return the caller while the token lasts; None when it is not known or has expired."""
        with self._lock:
            found = self._callers.get(digest)
            if found is None:
                return None
            if now_us >= found[1]:
                del self._callers[digest]
                return None
            self._callers.move_to_end(digest)
            return found[0]

    def add(self, digest: bytes, caller: Caller, *, exp_us: int) -> None:
        with self._lock:
            self._callers[digest] = caller, exp_us
            if len(self._callers) > self._limit:
                self._callers.popitem(last=False)


def count_nothing(_agency: str) -> None:
    """Stand in for a quota where none is wanted."""


def nothing_new() -> bool:
    """Hear of nothing, where there is no other process."""
    return False


def everybody(_agency: str) -> bool:
    """Know every agency, where nobody keeps a list."""
    return True


@dataclass(frozen=True, slots=True)
class AgencyTokens:
    """Signs agencies in."""

    issuer: str  # https://host, without path or slash at the end; http on loopback only
    keys_at: KeysAt  # the hub's own: what access tokens are signed and verified with
    keys_of: KeysOf
    rights_of: RightsOf
    claims: Claims
    clock: Clock
    knows: Callable[[str], bool] = everybody  # an agency that left the catalogue is a stranger, whatever token it has
    count: Callable[[str], None] = count_nothing  # raises HubError(TOO_MANY); called before anything is written
    hear: Callable[[], bool] = nothing_new  # reads anew what other processes changed, seldom; says whether anything was
    recent: RecentTokens = field(default_factory=RecentTokens, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse an issuer that agencies could not name exactly. Raises `HubError(STARTUP)`."""
        parts = urlsplit(self.issuer)
        local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
        if not (parts.scheme == "https" or local) or self.issuer != f"{parts.scheme}://{parts.netloc}":
            raise HubError(
                Kind.STARTUP,
                "The issuer must be https://host[:port] without path or slash at the end (http on loopback only).",
                where="issuer",
                remedy="Set it to the hub's public address exactly as agencies will write it in aud.",
                code="issuer-unusable",
            )

    def sign_in(self, assertion: str, *, client_id: str = "") -> str:
        """Believe an agency's assertion and use it up. Return the agency's code.

        Raises `HubError` UNAUTHENTICATED; TOO_MANY (the assertion can be sent again); UNAVAILABLE.
        """
        try:
            believable = self._believed(assertion, client_id)
        except HubError as refused:
            if refused.code != "assertion-unverified" or not self.hear():
                raise
            believable = self._believed(assertion, client_id)  # the key may have been registered at another process
        self.count(believable.agency)
        if not self.claims.claim_jti(believable.agency, believable.jti, believable.exp_us):
            raise HubError(
                Kind.UNAUTHENTICATED,
                "This assertion was used before: its jti is known.",
                where="/jti",
                remedy="Sign a new assertion with a new random jti for each token, also when a request is repeated.",
                code="assertion-replayed",
            )
        return believable.agency

    def _believed(self, assertion: str, client_id: str) -> Assertion:
        return believed(assertion, client_id=client_id, issuer=self.issuer, keys_of=self.keys_of, now_us=self.clock())

    def granted(self, agency: str, requested: str) -> tuple[str, ...]:
        """Return what of the `requested` scopes (space-separated; "" asks for all) the agency has the right to.

        Raises `HubError(MALFORMED)` for a scope that does not exist, and where nothing is left.
        """
        asked = set(requested.split(" ")) - {""}
        if not asked <= set(SCOPES):
            raise _scope_refused("scope-unknown", "A requested scope does not exist.")
        rights = self.rights_of(agency)
        held = {*SCOPES_OF_ALL, *(scope for right in rights for scope in SCOPES_OF_RIGHT.get(right, ()))}
        scopes = tuple(scope for scope in SCOPES if scope in held and (not asked or scope in asked))
        if not scopes:
            raise _scope_refused("scope-not-held", "The agency has the right to none of the requested scopes.")
        return scopes

    def issue(self, agency: str, requested: str) -> Issued:
        """Issue an access token to an agency that has just signed in. Raises as `granted` does."""
        scopes, now_us = self.granted(agency, requested), self.clock()
        iat = now_us // 1_000_000
        claims = {
            "iss": self.issuer,
            "sub": agency,
            "client_id": agency,
            "aud": self.issuer,
            "iat": iat,
            "exp": iat + TOKEN_LIFE_S,
            "jti": secrets.token_urlsafe(16),
            "scope": " ".join(scopes),
        }
        return Issued(signed(claims, self.keys_at(now_us).signing, typ="at+jwt"), scopes, TOKEN_LIFE_S)

    def authenticate(self, token: str, *, now_us: int) -> Caller:
        """Say who calls. Raises `HubError(UNAUTHENTICATED)`: token-invalid or token-expired.

        A signature is verified once per token; afterwards its SHA-256 is looked up. The digest is no secret's prefix,
        so the time of the look-up tells nothing about other tokens.
        """
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        caller = self.recent.get(digest, now_us=now_us) or self._verify(token, digest, now_us=now_us)
        if not self.knows(caller.agency):
            raise _token_invalid()
        return caller

    def public_keys(self) -> dict[str, list[dict[str, Any]]]:
        """Return the JWK set (RFC 7517) of the keys that access tokens are verified with."""
        return {"keys": [public_jwk(key) for key in self.keys_at(self.clock()).verifying()]}

    def _verify(self, token: str, digest: bytes, *, now_us: int) -> Caller:
        try:
            unverified = read_token(token)
        except ValueError as error:
            raise _token_invalid() from error
        claims = unverified.claims
        keys = self.keys_at(now_us)
        key = next((key for key in keys.verifying() if key.thumbprint() == unverified.kid), keys.signing)
        if unverified.header.get("typ") != "at+jwt" or not is_signed_by(token, key):
            raise _token_invalid()
        if claims.get("iss") != self.issuer or claims.get("aud") != self.issuer:  # another hub with the same key
            raise _token_invalid()
        exp_us = int(claims["exp"]) * 1_000_000  # from here on these are claims that this hub wrote
        if now_us >= exp_us:
            raise HubError(
                Kind.UNAUTHENTICATED,
                f"The access token expired {(now_us - exp_us) // 1_000_000} s ago.",
                remedy=f"Get a new one at {self.issuer}/oauth/token; each lasts {TOKEN_LIFE_S} s.",
                code="token-expired",
            )
        caller = Caller(claims["sub"], frozenset(claims["scope"].split(" ")), claims["jti"])
        self.recent.add(digest, caller, exp_us=exp_us)
        return caller


def _scope_refused(code: str, what: str) -> HubError:
    remedy = f"Ask for one or more of {', '.join(SCOPES)}, as far as the agency is registered for them."
    return HubError(Kind.MALFORMED, what, where="scope", remedy=remedy, code=code)


def _token_invalid() -> HubError:
    remedy = "Get an access token at the token endpoint and send it as `Authorization: Bearer ...`."
    return HubError(
        Kind.UNAUTHENTICATED, "The access token is not one that this hub issued.", remedy=remedy, code="token-invalid"
    )
