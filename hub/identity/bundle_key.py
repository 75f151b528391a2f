"""The key that signs the policy's bundle for a policy server. ECDSA over P-256: what OPA verifies, and no Ed25519.

Derived from the ring's secret of this name, so it is the same after every start and survives a rotation of the root.
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hub.identity.keys import derive

ALGORITHM = "ES256"  # RFC 7518 section 3.4
KEY_ID_CHARS = 16
WIDE_BYTES = 48  # FIPS 186-5 A.2.1: 128 bits more than the order, so that no key is likelier than another
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-5, SP 800-186 3.2.1.3
SCALAR_BYTES = 32


class BundleKey(NamedTuple):
    """`kid` is a digest of the public key, `pem` its SubjectPublicKeyInfo; `private` signs."""

    kid: str
    pem: str
    private: ec.EllipticCurvePrivateKey


def bundle_key(secret: bytes) -> BundleKey:
    """Make the key of a ring's secret."""
    wide = int.from_bytes(derive(secret, "policy-bundle/1", WIDE_BYTES))
    private = ec.derive_private_key(wide % (P256_ORDER - 1) + 1, ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return BundleKey(sha256(pem).hexdigest()[:KEY_ID_CHARS], pem.decode(), private)


def sign(key: BundleKey, payload: Mapping[str, Any]) -> str:
    """Sign as a compact JWS (RFC 7515). The same payload gives the same text: RFC 6979, no randomness."""
    header = orjson.dumps({"alg": ALGORITHM, "kid": key.kid})
    signed = _segment(header) + b"." + _segment(orjson.dumps(payload))
    r, s = decode_dss_signature(key.private.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return (signed + b"." + _segment(r.to_bytes(SCALAR_BYTES) + s.to_bytes(SCALAR_BYTES))).decode()


def _segment(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")
