"""What webhooks are signed with: Standard Webhooks' asymmetric scheme, Ed25519 over `id.timestamp.body`.

https://github.com/standard-webhooks/standard-webhooks, spec version 1.0.0: the signature is `v1a,<base64>`, several are
separated by a space; a public key is shown as `whpk_<base64>`. A key is one agency's alone, random, and sealed under
the wrapping key. While one takes over from another both sign, so that a receiver may learn of it late.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.identity.keys import Wrapping, new_key
from hub.store.webhooks import KeyRow

OVERLAP_US = 24 * 3_600_000_000  # the former key signs too: a receiver that looks once a day misses nothing
FOR_EVER_US = 2**62
KID_BYTES = 8


class Signer(NamedTuple):
    """An opened key. `private` never leaves the process."""

    kid: str
    public: bytes
    private: Ed25519PrivateKey
    from_us: int
    until_us: int


def new_webhook_key(wrapping: Wrapping, agency: str, *, now_us: int) -> KeyRow:
    """Make a key that signs from now on."""
    seed = new_key()
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    kid = sha256(public).digest()[:KID_BYTES].hex()
    return KeyRow(agency, kid, public, wrapping.seal(seed, webhook_place(agency, kid)), now_us, FOR_EVER_US)


def signer(wrapping: Wrapping, row: KeyRow) -> Signer:
    """Open a key. Raises cryptography's InvalidTag where the row was altered, or moved to another agency."""
    seed = wrapping.unseal(row.sealed, webhook_place(row.agency, row.kid))
    return Signer(row.kid, row.public, Ed25519PrivateKey.from_private_bytes(seed), row.from_us, row.until_us)


def signed_headers(signers: Sequence[Signer], message: str, body: bytes, *, now_us: int) -> list[tuple[str, str]]:
    """Return the three headers of a message. `message` holds no full stop, so that the parts cannot run together."""
    assert "." not in message
    stamp = now_us // 1_000_000
    signed = b"%b.%d.%b" % (message.encode(), stamp, body)
    signatures = [
        "v1a," + b64encode(one.private.sign(signed)).decode() for one in signers if one.from_us <= now_us < one.until_us
    ]
    return [
        ("webhook-id", message),
        ("webhook-timestamp", str(stamp)),
        ("webhook-signature", " ".join(signatures)),
    ]


def shown(public: bytes) -> str:
    return "whpk_" + b64encode(public).decode()


def webhook_place(agency: str, kid: str) -> bytes:
    """Say what a sealed seed is bound to."""
    return f"webhook/{agency}/{kid}".encode()
