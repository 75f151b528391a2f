"""Check the assertion that an agency signs in with: a JWT it signed, good for one use (RFC 7523, `private_key_jwt`)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hub.core.errors import HubError, Item, Kind
from hub.identity.agency_keys import KeysOf, key_for
from hub.identity.signed_tokens import Unverified, is_signed_by, read_token

CLOCK_SKEW_S = 30  # RFC 7519 4.1.4 allows "a few minutes"; agencies keep NTP, so half of one is generous.
ASSERTION_LIFE_S = 300  # longer ones only make a stolen assertion worth more
AGENCY_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
JTI_CHARS = 128
LAST_TIME_S = 253_402_300_799  # end of the year 9999
TYPES = ("JWT", "jwt", "client-authentication+jwt")  # never "at+jwt": an access token is no assertion
S = 1_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Assertion:
    """A believed assertion. Its `jti` has not been claimed yet."""

    agency: str
    jti: str
    exp_us: int  # the first moment at which it is refused for its age, clock skew included


def believed(text: str, *, client_id: str, issuer: str, keys_of: KeysOf, now_us: int) -> Assertion:
    """Believe the assertion `text`, or raise `HubError(UNAUTHENTICATED)` with what to change.

    1. it is well-formed            2. a current key of the agency it names signed it
    3. iss = sub = client_id        4. aud is exactly the issuer, as one string
    5. iat, nbf, exp and jti are there and of their types, and it lives at most `ASSERTION_LIFE_S`
    6. it is neither early nor expired, within `CLOCK_SKEW_S`
    Steps 3 to 6 speak of the content only to whoever holds the key. Unknown agency, unknown key and bad signature are
    one answer after the same work.
    """
    try:
        token = read_token(text)
    except ValueError as error:
        raise _malformed(f"The assertion cannot be read: {error}.") from error
    agency = token.claims.get("sub")
    if token.header.get("typ", "JWT") not in TYPES or not isinstance(agency, str) or not AGENCY_CODE.fullmatch(agency):
        raise _malformed("The assertion's typ is not JWT, or its sub is not an agency's code.", where="/sub")
    _check_signature(text, token, keys_of(agency), now_us=now_us)
    claims = token.claims
    if claims.get("iss") != agency or client_id not in ("", agency):
        raise _malformed("The assertion's iss, its sub and client_id are not one agency's code.", where="/iss")
    _check_audience(claims.get("aud"), issuer)
    _check_shape(claims)
    _check_time(claims, now_us=now_us)
    return Assertion(agency, claims["jti"], _us(claims["exp"]) + CLOCK_SKEW_S * S)


def _check_signature(text: str, token: Unverified, keys: tuple[Any, ...], *, now_us: int) -> None:
    key, own = key_for(keys, kid=token.kid, algorithm=token.algorithm, now_us=now_us)
    signed = is_signed_by(text, key)
    if not (signed and own):
        raise HubError(
            Kind.UNAUTHENTICATED,
            "The assertion is not signed by a registered key of the agency it names, in that key's period.",
            remedy="Check sub, the header's kid, and that this public key is registered at the hub and not ended.",
            code="assertion-unverified",
        )


def _check_audience(audience: object, issuer: str) -> None:
    if audience == issuer and isinstance(audience, str):
        return
    sent = "an array" if isinstance(audience, list) else "something else"
    raise HubError(
        Kind.UNAUTHENTICATED,
        f"The assertion's aud must be exactly the string {issuer} and is {sent}.",
        where="/aud",
        remedy="Send the issuer as one string: an array, the token endpoint's address or an added slash is refused.",
        code="assertion-audience",
    )


def _check_shape(claims: Mapping[str, Any]) -> None:
    """Check types and life; every error at once."""
    times = {name: claims.get(name) for name in ("iat", "exp", "nbf") if name != "nbf" or "nbf" in claims}
    items = [
        Item("must be there, in seconds since 1970", f"/{name}") for name, value in times.items() if not _is_time(value)
    ]
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 1 <= len(jti) <= JTI_CHARS:
        items.append(Item(f"must be a string of 1 to {JTI_CHARS} characters, new for each assertion", "/jti"))
    if not items and not 0 < claims["exp"] - claims["iat"] <= ASSERTION_LIFE_S:
        items.append(Item(f"must be 1 to {ASSERTION_LIFE_S} s after iat", "/exp"))
    if items:
        raise _malformed("Claims of the assertion are missing or not of their form.", items=tuple(items))


def _check_time(claims: Mapping[str, Any], *, now_us: int) -> None:
    """Refuse what is early or expired, and say by how many seconds the two clocks differ."""
    behind_s = round((now_us - _us(claims["iat"])) / S)
    clock = datetime.fromtimestamp(now_us // S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    remedy = f"Set the clock by NTP (the hub allows {CLOCK_SKEW_S} s) and sign a new assertion for each token."
    for name in ("iat", "nbf"):
        early_us = _us(claims.get(name, 0)) - now_us
        if early_us > CLOCK_SKEW_S * S:
            ahead_s = math.ceil(early_us / S)
            what = f"The assertion's {name} is {ahead_s} s ahead of the hub's clock, which says {clock}."
            what += f" If it was signed just now, your clock is {-behind_s} s fast." if behind_s < 0 else ""
            raise HubError(Kind.UNAUTHENTICATED, what, where=f"/{name}", remedy=remedy, code="assertion-early")
    if now_us >= _us(claims["exp"]) + CLOCK_SKEW_S * S:
        ago_s = (now_us - _us(claims["exp"])) // S
        what = (
            f"The assertion expired {ago_s} s ago by the hub's clock, which says {clock}; its iat is {behind_s} s ago."
            f" If it was signed just now, your clock is {behind_s} s slow."
        )
        raise HubError(Kind.UNAUTHENTICATED, what, where="/exp", remedy=remedy, code="assertion-expired")


def _is_time(value: object) -> bool:
    """Tell whether this is a NumericDate (RFC 7519 2): a number of seconds, and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LAST_TIME_S


def _us(seconds: float) -> int:
    return int(seconds * S)


def _malformed(what: str, *, where: str = "", items: tuple[Item, ...] = ()) -> HubError:
    remedy = "Sign a JWT with ES256, PS256 or EdDSA (Ed25519): header alg and kid; claims iss, sub, aud, iat, exp, jti."
    return HubError(Kind.UNAUTHENTICATED, what, where=where, remedy=remedy, items=items, code="assertion-malformed")
