"""Payloads that the hub sealed to this agency: HPKE (RFC 9180), opened with a private key that never leaves here.

Base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. `info` is "hub/1/sealed", the delivery's id
(16 bytes) and its number (8 bytes, big-endian): what was sealed for one delivery opens under no other.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from agency_adapters.errors import AgencyError
from agency_adapters.profile import read_private, write_private

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
LABEL = b"hub/1/sealed"
KEPT_KEYS = 10  # former ones open what was on its way, or lies in a file

SealKeys = Sequence[OKPKey]


def new_seal_key() -> OKPKey:
    """Make an X25519 key."""
    return OKPKey.generate_key("X25519", auto_kid=False)


def public_seal_jwk(key: OKPKey) -> dict[str, Any]:
    """Return the public half to register; `kid` is its RFC 7638 thumbprint."""
    return {**key.as_dict(private=False), "kid": key.thumbprint()}


def seal_path(directory: Path, name: str) -> Path:
    """Return where a profile keeps the keys that its payloads are sealed to."""
    return directory / f"{name}.seal"


def read_seal_keys(directory: Path, name: str) -> SealKeys:
    """Read a profile's keys, the newest first; none where it never made one. Raises `AgencyError`."""
    path = seal_path(directory, name)
    if not path.exists():
        return ()
    remedy = "Restore it from its backup; what was sealed to its keys opens with nothing else."
    try:
        return tuple(OKPKey.import_key(each) for each in json.loads(read_private(path, remedy=remedy)))
    except (ValueError, TypeError, JoseError) as error:
        raise AgencyError(f"{path} holds no readable keys", remedy=remedy) from error


def add_seal_key(directory: Path, name: str, key: OKPKey) -> None:
    """Keep a new key before the former ones. It is written before it is registered, so that none is ever missing."""
    keys = (key, *read_seal_keys(directory, name))[:KEPT_KEYS]
    write_private(seal_path(directory, name), json.dumps([each.as_dict(private=True) for each in keys]).encode())


def open_sealed(delivery: Mapping[str, Any], keys: SealKeys) -> Mapping[str, Any]:
    """Return a delivery with `data` and `subject` in place of `sealed`; one that is not sealed as it is.

    Raises `AgencyError` where no key opens it: then nothing may be acknowledged.
    """
    sealed = delivery.get("sealed")
    if sealed is None:
        return delivery
    try:
        kid, whole = str(sealed["kid"]), _bytes(sealed["enc"]) + _bytes(sealed["ciphertext"])
        info = LABEL + bytes.fromhex(delivery["id"]) + int(delivery["number"]).to_bytes(8, "big")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise AgencyError("a sealed delivery is not of the form agreed on", remedy="Update hub-agency.") from error
    key = next((each for each in keys if each.thumbprint() == kid), None)
    if key is None:
        raise AgencyError(
            "a delivery is sealed to a key that is not here",
            remedy="Restore the profile's .seal file, or run `hub-agency seal-key new` and wait for it to come again.",
        )
    private = X25519PrivateKey.from_private_bytes(_url_bytes(key.as_dict(private=True)["d"]))
    try:
        inner: Mapping[str, Any] = json.loads(SUITE.decrypt(whole, private, info=info))
    except (InvalidTag, ValueError) as error:
        raise AgencyError(
            "a sealed delivery does not open", remedy="It was altered on its way; nothing of it was used."
        ) from error
    return {name: value for name, value in delivery.items() if name != "sealed"} | dict(inner)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _url_bytes(text: Any) -> bytes:
    return base64.urlsafe_b64decode(str(text) + "==")
