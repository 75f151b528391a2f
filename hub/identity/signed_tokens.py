"""Read, sign and verify compact JWS (RFC 7515, RFC 7519), more strictly than the standards ask, by joserfc.

Only these are accepted: three base64url segments of at most `TOKEN_CHARS`, a header of `alg`, `kid` and `typ` alone,
and an algorithm of `ALGORITHMS`. So no `none`, no HMAC, no RS256, and no header that brings or points to its own key.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from joserfc import jwk, jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError

ALGORITHMS = ("ES256", "PS256", "EdDSA", "Ed25519")  # "EdDSA" with Ed25519 keys alone; RFC 9864 names that "Ed25519"
HEADERS = frozenset({"alg", "kid", "typ"})
TOKEN_CHARS = 8192  # a PS256 assertion with a 4096 bit key takes about 1,200; the rest is generosity
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class ClosedSet(jws.JWSRegistry):
    """joserfc's registry, cut down to `ALGORITHMS`. joserfc asks for a subclass to do that."""

    def get_alg(self, name: str) -> Any:
        """Return the algorithm. Never warns: that "EdDSA" has a newer name is not the caller's concern."""
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError()
        return self.algorithms[name]


CLOSED_SET = ClosedSet()


class Unverified(NamedTuple):
    """A well-formed token that nobody vouches for yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def algorithm(self) -> str:
        return str(self.header["alg"])

    @property
    def kid(self) -> str:
        return str(self.header["kid"])


def read_token(text: str) -> Unverified:
    """Take a compact JWS apart without believing it.

    Raises `ValueError` with what is wrong in it, in words that repeat nothing of it.
    """
    if len(text) > TOKEN_CHARS:
        raise ValueError(f"it is longer than {TOKEN_CHARS} characters")
    if not COMPACT.fullmatch(text):
        raise ValueError("it is not three base64url segments joined by dots")
    head, body, _signature = text.split(".")
    header, claims = _json_object(head, "header"), _json_object(body, "payload")
    if not HEADERS.issuperset(header):
        raise ValueError("its header holds other members than alg, kid and typ")
    if not all(isinstance(value, str) for value in header.values()):
        raise ValueError("a member of its header is not a string")
    if header.get("alg") not in ALGORITHMS:
        raise ValueError("its algorithm is not one of ES256, PS256, EdDSA (Ed25519)")
    if not header.get("kid"):
        raise ValueError("its header does not name its key in kid")
    return Unverified(header, claims)


def _json_object(segment: str, name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as error:  # binascii's and orjson's errors are ValueErrors
        raise ValueError(f"its {name} is not JSON in base64url") from error
    if not isinstance(value, dict):
        raise ValueError(f"its {name} is not a JSON object")
    return value


def is_signed_by(text: str, key: jwk.Key) -> bool:
    """Tell whether `key` signed `text`, with the algorithm that the header names and the key allows."""
    try:
        return jws.validate_compact(jws.extract_compact(text.encode(), registry=CLOSED_SET), key, registry=CLOSED_SET)
    except (JoseError, ValueError):
        return False


def signed(claims: Mapping[str, Any], key: jwk.OKPKey, *, typ: str) -> str:
    """Sign `claims` with an Ed25519 `key`; `typ` says what the token is for (RFC 8725 3.11)."""
    header = {"alg": "EdDSA", "typ": typ, "kid": key.thumbprint()}
    return jws.serialize_compact(header, orjson.dumps(claims), key, registry=CLOSED_SET)
