"""The public keys that agencies sign in with: what is accepted, how keys overlap, and what an unknown key costs.

An agency has several keys at once while it rotates: the new one is registered before the old one ends.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from joserfc import jwk
from joserfc.errors import JoseError

from hub.core.errors import HubError, Kind

KID = re.compile(r"[A-Za-z0-9._-]{1,64}")
RSA_BITS = (2048, 4096)  # NIST SP 800-131A asks for 2048; above 4096 a signature costs the hub too much
PRIVATE_PARTS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})  # RFC 7518 6.2.2, 6.3.2, 6.4.1
PUBLIC_PARTS = frozenset({"kty", "crv", "x", "y", "n", "e"})
KEYS_PER_AGENCY = 8
ED25519_P = 2**255 - 19  # RFC 8032 5.1
SMALL_ORDER = frozenset(  # the y of the eight points whose signatures anybody can make, for they fit almost any message
    {
        0, 1, ED25519_P - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)  # fmt: skip
REMEDY = "Register a public P-256, Ed25519 or RSA (2048 to 4096 bit) key as a JWK with a kid."


@dataclass(frozen=True, slots=True)
class AgencyKey:
    """One registered public key. It counts from `from_us` until just before `until_us`."""

    kid: str
    algorithms: tuple[str, ...]  # the names in `alg` that this key may be used with
    key: jwk.Key
    from_us: int
    until_us: int


KeysOf = Callable[[str], tuple[AgencyKey, ...]]
"""Return the registered keys of the agency with this code; an empty tuple, no error, for an unknown one."""


def agency_key(jwk_members: Mapping[str, Any], *, from_us: int, until_us: int) -> AgencyKey:
    """Accept one public JWK (RFC 7517). Raises `HubError(INVALID, code="key-refused")` with the reason."""
    members = dict(jwk_members)
    kid = members.get("kid")
    if not isinstance(kid, str) or not KID.fullmatch(kid):
        raise _refused("its kid is not 1 to 64 letters, digits, dots, dashes or underlines", "/kid")
    if PRIVATE_PARTS & members.keys():
        raise _refused("it holds the private part, which now counts as leaked: make a new key", "")
    operations = members.get("key_ops", ["verify"])
    if members.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise _refused("it is not meant for signatures", "/use")
    if from_us >= until_us:
        raise _refused("it ends before it begins", "")
    try:
        key = jwk.import_key({name: value for name, value in members.items() if name in PUBLIC_PARTS})
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise _refused("it is not a JWK", "") from error
    algorithms = _algorithms(key)
    if members.get("alg", algorithms[0]) not in algorithms:
        raise _refused("its alg does not fit its type", "/alg")
    return AgencyKey(kid, algorithms, key, from_us, until_us)


def agency_keys(jwks: Mapping[str, Any], *, from_us: int, until_us: int) -> tuple[AgencyKey, ...]:
    """Accept a JWK set (RFC 7517 5) whose keys all count in one period. Raises `HubError(INVALID)`."""
    listed = jwks.get("keys")
    if not isinstance(listed, list) or not all(isinstance(members, Mapping) for members in listed):
        raise _refused("the set has no list of keys", "/keys")
    if not 1 <= len(listed) <= KEYS_PER_AGENCY:
        raise _refused(f"the set does not hold 1 to {KEYS_PER_AGENCY} keys", "/keys")
    keys = tuple(agency_key(members, from_us=from_us, until_us=until_us) for members in listed)
    if len({key.kid for key in keys}) < len(keys):
        raise _refused("two keys of the set have the same kid", "/keys")
    return keys


def key_for(keys: tuple[AgencyKey, ...], *, kid: str, algorithm: str, now_us: int) -> tuple[jwk.Key, bool]:
    """Return the key to verify with, and whether it is the agency's own.

    Where the agency has no such key now, that is a decoy for the same algorithm: the caller verifies against it all the
    same and refuses, so that neither the answer nor the time it takes tells which agencies and keys exist.
    """
    for key in keys:
        if key.kid == kid and algorithm in key.algorithms and key.from_us <= now_us < key.until_us:
            return key.key, True
    return DECOYS[algorithm], False


def _algorithms(key: jwk.Key) -> tuple[str, ...]:
    """Name the algorithms for a key by its type and size."""
    if isinstance(key, jwk.ECKey) and key.curve_name == "P-256":
        return ("ES256",)
    if isinstance(key, jwk.OKPKey) and key.curve_name == "Ed25519":
        if is_small_order(key):
            raise _refused("it is a point under which anybody can sign", "/x")
        return ("EdDSA", "Ed25519")
    if isinstance(key, jwk.RSAKey) and RSA_BITS[0] <= key.public_key.key_size <= RSA_BITS[1]:
        return ("PS256",)
    raise _refused("its type, curve or size is not accepted", "/kty")


def is_small_order(key: jwk.OKPKey) -> bool:
    """Say whether anybody can sign under this Ed25519 key; texts of a point that are not the shortest count as well."""
    encoded = key.public_key.public_bytes_raw()
    return (int.from_bytes(encoded, "little") & (2**255 - 1)) % ED25519_P in SMALL_ORDER


def _refused(reason: str, where: str) -> HubError:
    return HubError(Kind.INVALID, f"The key is refused: {reason}.", where=where, remedy=REMEDY, code="key-refused")


def _base64url(number: bytes) -> str:
    return base64.urlsafe_b64encode(number).rstrip(b"=").decode()


def _decoys() -> Mapping[str, jwk.Key]:
    """Make a key per algorithm that costs what a real one costs. Whatever verifies against one of them is refused."""
    modulus = bytearray(hashlib.shake_256(b"a modulus that nobody chose the factors of").digest(RSA_BITS[0] // 8))
    modulus[0] |= 0x80
    modulus[-1] |= 1
    p256 = jwk.ECKey.import_key(  # the base point of P-256, SEC 2 2.4.2
        {
            "kty": "EC",
            "crv": "P-256",
            "x": _base64url(bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")),
            "y": _base64url(bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")),
        }
    )
    rsa = jwk.RSAKey.import_key({"kty": "RSA", "n": _base64url(bytes(modulus)), "e": "AQAB"})
    ed25519 = jwk.OKPKey.import_key(  # the base point of Ed25519, RFC 8032 5.1
        {"kty": "OKP", "crv": "Ed25519", "x": _base64url(b"\x58" + b"\x66" * 31)}
    )
    return MappingProxyType({"ES256": p256, "PS256": rsa, "EdDSA": ed25519, "Ed25519": ed25519})


DECOYS = _decoys()
