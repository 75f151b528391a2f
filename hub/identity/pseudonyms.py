"""A person's name towards one agency: its own id where it is linked, else a pairwise pseudonym.

AES-SIV (RFC 5297) is deterministic, so the same person has the same name at the same agency, and no two agencies share
one. The key's version stands in the name, so that a later key does not break old ones. What the hub issues can
therefore not be joined across agencies; timing and free content can, and are outside this promise.
"""

from base64 import urlsafe_b64encode
from binascii import b2a_base64
from functools import lru_cache
from hashlib import blake2b

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from hub.identity.keys import derive

VERSION = 1
_PREFIX = f"p{VERSION}."
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
SIV_KEY_BYTES = 64


@lru_cache(maxsize=4096)
def _cipher(secret: bytes, agency: str) -> AESSIV:
    return AESSIV(derive(secret, f"pseudonym/{VERSION}/{agency}", SIV_KEY_BYTES))


def pseudonym(secret: bytes, agency: str, person: int) -> str:
    """Return the agency's own name of `person`: `p1.` and 32 characters of base64url."""
    sealed = _cipher(secret, agency).encrypt(person.to_bytes(8), None)
    return _PREFIX + b2a_base64(sealed, newline=False).translate(_URL_SAFE).decode()  # 24 bytes: never padded


def alias(secret: bytes, agency: str, field: str, value: str) -> str:
    """Return what stands for an identifier towards one agency: the same each time, and unlike any other agency's.

    Keyed BLAKE2b (RFC 7693) under the agency's own key: `i1.` and 22 characters of base64url. It cannot be turned back.
    """
    key = _alias_key(secret, agency)
    digest = blake2b(f"{field}\x1f{value}".encode(), key=key, digest_size=16).digest()
    return f"i{VERSION}." + urlsafe_b64encode(digest).decode().rstrip("=")


@lru_cache(maxsize=4096)
def _alias_key(secret: bytes, agency: str) -> bytes:
    return derive(secret, f"alias/{VERSION}/{agency}", 32)
