"""Officers and what they sign: their public keys, and detached signatures over an agreement's terms.

A signature is a JWS without its payload (RFC 7515 appendix F): HEADER..SIGNATURE, over the terms' canonical bytes,
by Ed25519, with a header of `alg`, `kid` and `typ` alone. Whoever checks it has the terms already, or computes them.
"""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from joserfc.jwk import OKPKey

from hub.core.errors import HubError, Kind
from hub.identity.agency_keys import agency_key, is_small_order
from hub.store.agency_keys import FOR_EVER_US
from hub.store.signatures import OfficerRow

TYPE = "agreement-signature+jws"
ALGORITHMS = ("Ed25519", "EdDSA")  # RFC 9864's name and the older one; the key is Ed25519 under both
DETACHED = re.compile(r"([A-Za-z0-9_-]{1,400})\.\.([A-Za-z0-9_-]{86})")  # 86: an Ed25519 signature of 64 bytes
HEADER = {"alg", "kid", "typ"}
TEXT_CHARS = 120  # of a name or an office, on a page that is printed
STORED_PARTS = ("kty", "crv", "x", "kid")
REMEDY = "Sign with `hub-agency agreement sign`, and send the one line that it makes."


class Detached(NamedTuple):
    """A well-formed signature that nobody vouches for yet."""

    kid: str
    header: str  # as it was signed, base64url
    signature: bytes


def read_detached(text: str) -> Detached:
    """Take a signature apart without believing it. Raises HubError(INVALID) in words that repeat none of it."""
    match = DETACHED.fullmatch(text.strip())
    if match is None:
        raise _malformed("it is not HEADER..SIGNATURE in base64url, with nothing between the dots")
    try:
        header = orjson.loads(_decoded(match[1]))
        signature = _decoded(match[2])
    except ValueError as cause:
        raise _malformed("its header is not JSON in base64url") from cause
    if not isinstance(header, dict) or header.keys() != HEADER or not all(isinstance(v, str) for v in header.values()):
        raise _malformed("its header does not hold alg, kid and typ, as texts, and nothing else")
    if header["alg"] not in ALGORITHMS:
        raise _malformed("its algorithm is not Ed25519", code="signature-algorithm")
    if header["typ"] != TYPE:
        raise _malformed(f"its typ is not {TYPE}: it was made for something else")
    return Detached(header["kid"], match[1], signature)


def signs(detached: Detached, payload: bytes, row: OfficerRow) -> bool:
    """Say whether this officer's key, and it alone, can have made the signature over `payload`."""
    if is_weak(row):  # the library says yes to what anybody made (RFC 8032 5.1.7 lets points of small order verify)
        return False
    key = OKPKey.import_key(orjson.loads(row.jwk)).public_key
    try:
        key.verify(detached.signature, f"{detached.header}.{_encoded(payload)}".encode())  # type: ignore[union-attr]  # officer_row lets nothing but Ed25519 in
    except InvalidSignature:
        return False
    return True


def is_weak(row: OfficerRow) -> bool:
    """Say whether anybody can sign under this key: registered before such keys were refused, and kept like all."""
    return is_small_order(OKPKey.import_key(orjson.loads(row.jwk)))


def sign_detached(payload: bytes, key: OKPKey, *, kid: str) -> str:
    """Sign as an officer's own tool does. The hub does so for invented officers only."""
    header = _encoded(orjson.dumps({"alg": "Ed25519", "kid": kid, "typ": TYPE}))
    signature = key.private_key.sign(f"{header}.{_encoded(payload)}".encode())  # type: ignore[union-attr]  # an Ed25519 key, made a moment ago
    return f"{header}..{_encoded(signature)}"


def officer_row(agency: str, jwk: Mapping[str, Any], *, name: str, office: str, now_us: int) -> OfficerRow:
    """Accept an officer's public Ed25519 key, from now on. Raises HubError(INVALID)."""
    for where, text in (("name", name), ("office", office)):
        if not 1 <= len(text.strip()) <= TEXT_CHARS or not text.isprintable():
            raise HubError(
                Kind.INVALID,
                f"the officer's {where} is not a text of 1 to {TEXT_CHARS} characters",
                where=where,
                remedy="It is printed under the agreement.",
                code="officer-unusable",
            )
    key = agency_key(jwk, from_us=now_us, until_us=FOR_EVER_US)
    if "Ed25519" not in key.algorithms:
        raise HubError(
            Kind.INVALID,
            "The key is refused: officers sign with Ed25519.",
            where="/kty",
            remedy="Make one with `hub-agency officer new`.",
            code="key-refused",
        )
    text = orjson.dumps({part: jwk[part] for part in STORED_PARTS if part in jwk}).decode()
    return OfficerRow(agency, key.kid, name.strip(), office.strip(), text, now_us, FOR_EVER_US)


def same_key(one: OfficerRow, other: OfficerRow) -> bool:
    """Say whether two rows hold one key, however each of them writes it."""
    first, second = (OKPKey.import_key(orjson.loads(row.jwk)).thumbprint() for row in (one, other))
    return first == second


def day_and_time(instant_us: int) -> str:
    """Write an instant as people read it, in UTC."""
    return datetime.fromtimestamp(instant_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _decoded(segment: str) -> bytes:
    decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if _encoded(decoded) != segment:  # two texts for the same bytes would be two signatures
        raise ValueError("not the shortest form")
    return decoded


def _encoded(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def _malformed(why: str, *, code: str = "signature-malformed") -> HubError:
    return HubError(Kind.INVALID, f"The signature is refused: {why}.", where="/jws", remedy=REMEDY, code=code)
