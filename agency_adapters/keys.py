"""The agency's signing key, and the assertion it signs: RFC 7523 section 3, `private_key_jwt`."""

import secrets
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from agency_adapters.errors import AgencyError

ALGORITHM = "Ed25519"  # RFC 9864; the older name "EdDSA" leaves the curve open and is deprecated by it
ASSERTION_LIFE_S = 240  # the hub accepts 300; the rest is room for two clocks that differ
_REMEDY = "Run `hub-agency init NAME --replace` for a new one, and register it."


def new_key() -> OKPKey:
    """Make an Ed25519 key."""
    return OKPKey.generate_key("Ed25519", auto_kid=False)


def key_from_pem(pem: bytes) -> OKPKey:
    """Read a private Ed25519 key. Raises `AgencyError` when it is anything else; the key is never repeated."""
    try:
        key = OKPKey.import_key(pem)
    except (ValueError, TypeError, JoseError) as error:
        raise AgencyError("the key file holds no readable key", remedy=_REMEDY) from error
    if not key.is_private or key.curve_name != "Ed25519":
        raise AgencyError("the key is not a private Ed25519 key", remedy=_REMEDY)
    return key


def public_jwk(key: OKPKey) -> dict[str, Any]:
    """Return the public half to register; `kid` is its RFC 7638 thumbprint."""
    return {**key.as_dict(private=False), "kid": key.thumbprint(), "alg": ALGORITHM, "use": "sig"}


def assertion(key: OKPKey, *, agency: str, issuer: str, now_us: int) -> str:
    """Sign one client assertion. `aud` is the issuer as one string, `jti` is drawn anew each time: it works once."""
    now_s = now_us // 1_000_000
    claims = {
        "iss": agency,
        "sub": agency,
        "aud": issuer,
        "jti": secrets.token_urlsafe(16),
        "iat": now_s,
        "exp": now_s + ASSERTION_LIFE_S,
    }
    header = {"alg": ALGORITHM, "kid": key.thumbprint(), "typ": "JWT"}
    return jwt.encode(header, claims, key, algorithms=[ALGORITHM])
