"""A person's name towards one agency: its own id where it is linked, else a pairwise pseudonym.

AES-SIV (RFC 5297) is deterministic, so the same person has the same name at the same agency, and no two agencies share
one. The key's version stands in the name, so that a later key does not break old ones. What the hub issues can therefore
not be joined across agencies; timing and free content can (DESIGN, promise 7).
"""

from base64 import urlsafe_b64encode
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from hub.identity.keys import derive

VERSION = 1
SIV_KEY_BYTES = 64


@lru_cache(maxsize=4096)
def _cipher(secret: bytes, agency: str) -> AESSIV:
    return AESSIV(derive(secret, f"pseudonym/{VERSION}/{agency}", SIV_KEY_BYTES))


def pseudonym(secret: bytes, agency: str, person: int) -> str:
    """Return the agency's own name of `person`: `p1.` and 32 characters of base64url."""
    sealed = _cipher(secret, agency).encrypt(person.to_bytes(8), None)
    return f"p{VERSION}." + urlsafe_b64encode(sealed).decode().rstrip("=")
