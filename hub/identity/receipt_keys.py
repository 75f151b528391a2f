"""The hub's own keys for receipts: one signs, and every one before it verifies for ever.

Each is derived from a secret of the ring by its number, so none can be lost while the store is there, and nothing is
stored but when each began to sign. A receipt is worth keeping for as long as its holder likes, so no key ever leaves
the published set. The next ones stand in it already: who keeps the set has a key before it signs, and a store that a
backup took back behind a rotation or two still publishes what it signed with meanwhile.
"""

from base64 import urlsafe_b64encode
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.canonical import canonical, sha256
from hub.identity.keys import ROOT_BYTES, Keyring, derive
from hub.identity.ring import act_salt
from hub.ports import Clock
from hub.store.engine import Store, Tx
from hub.store.operations import record
from hub.store.receipt_keys import add_receipt_rotation, receipt_rotations

AHEAD = 3  # keys that are published before they sign: more rotations than anybody makes between two backups
CACHED = 64  # keys kept derived; one derivation takes some 100 us


class ReceiptKey(NamedTuple):
    """A key that signs receipts. `kid` is its RFC 7638 thumbprint, `public` the 32 bytes of RFC 8032 5.1.5."""

    kid: str
    public: bytes
    private: Ed25519PrivateKey


class ReceiptRotation(NamedTuple):
    """What a rotation did, and how many keys the published set now has."""

    kid: str
    former: str
    published: int


@lru_cache(maxsize=CACHED)
def receipt_key(secret: bytes, number: int) -> ReceiptKey:
    """Derive a key; `secret` is the ring's (32 bytes), numbers begin with 1."""
    private = Ed25519PrivateKey.from_private_bytes(derive(secret, f"receipts/{number}", ROOT_BYTES))
    public = private.public_key().public_bytes_raw()
    return ReceiptKey(thumbprint(public), public, private)


def signing_key(tx: Tx, secret: bytes) -> ReceiptKey:
    """Return the key that signs in this transaction."""
    return receipt_key(secret, 1 + len(receipt_rotations(tx)))


def public_keys(tx: Tx, secret: bytes) -> dict[str, Any]:
    """Return the JWK set (RFC 7517, RFC 8037) of every key that ever signed, and of the `AHEAD` that will."""
    signed = 1 + len(receipt_rotations(tx))
    return {"keys": [public_jwk(receipt_key(secret, number)) for number in range(1, signed + AHEAD + 1)]}


def public_jwk(key: ReceiptKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public), "kid": key.kid, "use": "sig", "alg": "EdDSA"}


def thumbprint(public: bytes) -> str:
    """Name an Ed25519 key (RFC 7638, with the members that RFC 8037 section 2 makes required)."""
    return base64url(sha256(canonical({"crv": "Ed25519", "kty": "OKP", "x": base64url(public)})))


def base64url(data: bytes) -> str:
    """Encode as RFC 7515 appendix C does: no padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def rotate_receipt_key(store: Store, ring: Keyring, clock: Clock) -> ReceiptRotation:
    """Let the next key sign from now on, with an audit row. Receipts of before stay as they are, and verify."""

    def transaction(tx: Tx) -> ReceiptRotation:
        now_us = clock()
        number = add_receipt_rotation(tx, now_us)
        former, present = (receipt_key(ring.receipt, one) for one in (number - 1, number))
        said: dict[str, object] = {"act": "rotated", "key": "receipt", "to": present.kid}
        record(tx, said, now_us=now_us, salt=act_salt(ring))
        return ReceiptRotation(present.kid, former.kid, number + AHEAD)

    return store.write(transaction)
