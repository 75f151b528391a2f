"""Sign a receipt, and verify one with nothing but public keys: compact JWS (RFC 7515), Ed25519 (RFC 8037), no library.

The payload is a receipt's canonical bytes. Verified more strictly than the standards ask, so that a signed receipt has
one form only and no byte of it can be another:
1. three base64url segments in their one canonical form    2. a canonical header of alg, kid and typ, with our values
3. a key that the set has                                  4. the signature
5. a payload that is a receipt of a kind and version we know, in canonical form
"""

import json
from base64 import urlsafe_b64decode
from binascii import Error as BinasciiError
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consent.canonical import canonical
from consent.errors import ConsentError
from consent.objection import objection_from_bytes
from consent.receipt import receipt_from_bytes
from hub.identity.receipt_keys import ReceiptKey, base64url, thumbprint

TYPE = "consent-receipt+jws"  # RFC 8725 3.11: says what the signature is for
ALGORITHM = "EdDSA"
PUBLIC_BYTES, SIGNATURE_BYTES = 32, 64  # RFC 8032 5.1.5, 5.1.6
KID_CHARS = 43  # base64url of a SHA-256
RECEIPT_BYTES_MAX = 10_000_000  # a withdrawal names every delivery opened before: 40,000 of them fit
SEGMENTS = ("header", "payload", "signature")
ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
READERS: Mapping[str, Callable[[bytes], Any]] = {
    "consent-receipt": receipt_from_bytes,
    "objection-receipt": objection_from_bytes,
}


class Fault(StrEnum):
    """Why a receipt is not believed. The values are stable: the exit codes of `hub verify receipt` hang on them."""

    MALFORMED = "not-a-receipt"
    KEY_UNKNOWN = "key-unknown"
    SIGNATURE = "signature-wrong"
    KEYS = "keys-unusable"


class NotBelieved(Exception):
    """A receipt, or a set of keys, that verifies nothing. `where` names the place as closely as it can be known."""

    def __init__(self, fault: Fault, what: str, *, where: str) -> None:
        super().__init__(what)
        self.fault, self.what, self.where = fault, what, where


class Verified(NamedTuple):
    """A receipt that one of the keys signed, exactly as it stands."""

    kid: str
    said: Mapping[str, Any]


def sign_receipt(said: bytes, key: ReceiptKey) -> bytes:
    """Sign canonical bytes; return the compact JWS in ASCII. The same bytes and key give the same signature."""
    header = canonical({"alg": ALGORITHM, "kid": key.kid, "typ": TYPE})
    signed = f"{base64url(header)}.{base64url(said)}".encode()
    return signed + b"." + base64url(key.private.sign(signed)).encode()


def payload_of(jws: bytes) -> bytes:
    """Return what a JWS of our own signing says, without verifying it: it comes from under a seal."""
    return _decoded(jws.split(b".")[1].decode(), "payload")


def read_keys(data: bytes) -> dict[str, Ed25519PublicKey]:
    """Read a JWK set into its Ed25519 keys by kid. Raises `NotBelieved(KEYS)`.

    A kid that is not the key's own thumbprint is refused: the set was put together by hand, and wrongly.
    """
    try:
        listed = json.loads(data)["keys"]
        found = [(one["kid"], _public(one["x"])) for one in listed if one["kty"] == "OKP" and one["crv"] == "Ed25519"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotBelieved(
            Fault.KEYS, "this is no set of public keys: a JSON object whose `keys` are JWKs", where="keys"
        ) from error
    if not found:
        raise NotBelieved(Fault.KEYS, "the set holds no Ed25519 key", where="keys")
    for at, (kid, public) in enumerate(found):
        if kid != thumbprint(public):
            raise NotBelieved(Fault.KEYS, "a key's kid is not its thumbprint (RFC 7638)", where=f"keys[{at}].kid")
    return {kid: Ed25519PublicKey.from_public_bytes(public) for kid, public in found}


def _public(text: str) -> bytes:
    public = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(public) != PUBLIC_BYTES:
        raise ValueError("not 32 bytes")
    return public


def verify_receipt(data: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Verified:
    """Verify a receipt as it was downloaded; one line feed at the end is the file's. Raises `NotBelieved`."""
    text = _text(data)
    header, payload, signature = _segments(text)  # 1.
    kid = _kid(header)  # 2.
    key = keys.get(kid)
    if key is None:  # 3.
        raise NotBelieved(
            Fault.KEY_UNKNOWN, f"it names the key {kid}, which the set of keys does not have", where="header.kid"
        )
    if len(signature) != SIGNATURE_BYTES:
        raise NotBelieved(Fault.SIGNATURE, "its signature has not the length of one", where="signature")
    try:
        key.verify(signature, text.rpartition(".")[0].encode())  # 4.
    except InvalidSignature as error:
        raise NotBelieved(
            Fault.SIGNATURE,
            "the signature does not fit: header, payload or signature is not as it was signed",
            where="header, payload or signature",
        ) from error
    return Verified(kid, _said(payload))  # 5.


def _text(data: bytes) -> str:
    if len(data) > RECEIPT_BYTES_MAX:
        raise _malformed(f"it is longer than {RECEIPT_BYTES_MAX} bytes", "file")
    try:
        return data.removesuffix(b"\n").decode("ascii")
    except UnicodeDecodeError as error:
        raise _malformed("it holds a byte that no JWS has", f"byte {error.start}") from error


def _segments(text: str) -> tuple[bytes, bytes, bytes]:
    parts = text.split(".")
    if len(parts) != len(SEGMENTS):
        raise _malformed("it is not three segments joined by dots, which a compact JWS is", "file")
    at = 0
    for name, part in zip(SEGMENTS, parts, strict=True):
        strange = next((place for place, letter in enumerate(part) if letter not in ALPHABET), None)
        if strange is not None:
            raise _malformed("it holds a byte that base64url has not", f"{name}, byte {at + strange}")
        at += len(part) + 1
    header, payload, signature = (_decoded(part, name) for name, part in zip(SEGMENTS, parts, strict=True))
    return header, payload, signature


def _decoded(part: str, name: str) -> bytes:
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (BinasciiError, ValueError) as error:
        raise _malformed("a segment has a length that base64url cannot have", name) from error
    if base64url(data) != part:  # the last character has bits that mean nothing; they must be zero
        raise _malformed("a segment is not in the one form that base64url has for it", f"{name}, its last character")
    return data


def _kid(header: bytes) -> str:
    try:
        said = json.loads(header)
        kid = said["kid"]
        wanted = canonical({"alg": ALGORITHM, "kid": kid, "typ": TYPE})
    except (ValueError, KeyError, TypeError, RecursionError, ConsentError) as error:
        raise _malformed("its header does not name a key", "header") from error
    if header != wanted:
        raise _malformed(f"its header is not exactly alg {ALGORITHM}, kid and typ {TYPE}", "header")
    if not isinstance(kid, str) or len(kid) != KID_CHARS or not ALPHABET.issuperset(kid):
        raise _malformed("its kid is no thumbprint of a key (RFC 7638)", "header.kid")  # unsigned: not to be shown
    return kid


def _said(payload: bytes) -> Mapping[str, Any]:
    try:
        said: Mapping[str, Any] = json.loads(payload)
        again = READERS[said["kind"]](payload).canonical
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConsentError) as error:
        raise _malformed("what was signed is not a receipt of a kind that this version knows", "payload") from error
    if again != payload:
        raise _malformed("what was signed says more, or other things, than a receipt does", "payload")
    return said


def _malformed(what: str, where: str) -> NotBelieved:
    return NotBelieved(Fault.MALFORMED, what, where=where)
