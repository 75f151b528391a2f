"""The hub's own keys for access tokens: one signs, the one before it verifies until its last token is over.

Each is derived from the root by its number, so nothing is stored but when each began to sign, and none can be lost. A
store restored from a backup signs with an older number again: agencies meet one 401 and sign in anew.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwk

from hub.core.errors import HubError, Kind
from hub.identity.assertions import CLOCK_SKEW_S
from hub.identity.keys import ROOT_BYTES, derive
from hub.logs import Log
from hub.store.engine import Store
from hub.store.token_keys import add_rotation, rotations

TOKEN_LIFE_S = 300
KEPT_S = TOKEN_LIFE_S + CLOCK_SKEW_S  # how long a former key verifies: as long as a token that it signed lasts
KEPT_US = KEPT_S * 1_000_000


class TokenKeys(NamedTuple):
    """The keys that count at one moment. `others` verify and never sign."""

    signing: jwk.OKPKey
    others: tuple[jwk.OKPKey, ...] = ()

    def verifying(self) -> tuple[jwk.OKPKey, ...]:
        return (self.signing, *self.others)


KeysAt = Callable[[int], TokenKeys]
"""Return the keys that count at this moment, in microseconds."""


class Rotation(NamedTuple):
    """What a rotation did. The former key verifies for `kept_s` more."""

    kid: str
    former: str
    kept_s: int


class RotatingKeys:
    """The hub's keys in memory: signing in goes on while the store is down. Replaced whole on rotation."""

    def __init__(self, store: Store, secret: bytes, log: Log) -> None:
        """Read when each key began to sign; `secret` (32 bytes) is what all of them are derived from."""
        self._store, self._secret, self._log = store, secret, log
        self._rotated = 0
        self.load()

    def at(self, now_us: int) -> TokenKeys:
        """Return the signing key, the next one, and the former one while its tokens last.

        The next one is announced so that whoever keeps the published set has it before it signs.
        """
        former, signing, following, began_us = self._keys
        if former is not None and now_us < began_us + KEPT_US:
            return TokenKeys(signing, (following, former))
        return TokenKeys(signing, (following,))

    def rotate(self, now_us: int) -> Rotation:
        """Let the next key sign from now on. Raises `HubError(CONFLICT)` while the former one still counts."""
        moments = self._store.write(lambda tx: add_rotation(tx, now_us, apart_us=KEPT_US))
        if moments is None:
            raise HubError(
                Kind.CONFLICT,
                "the key was rotated a moment ago; tokens of the one before it are still good",
                remedy=f"Rotate again {KEPT_S} s after the last time.",
                code="token-key-fresh",
            )
        former = self._keys.signing
        self._take(moments)
        rotation = Rotation(self._keys.signing.thumbprint(), former.thumbprint(), KEPT_S)
        self._log.warning("token_key.rotated", count=len(moments))
        return rotation

    def load(self) -> None:
        """Read anew when each key began to sign: another process may have rotated them."""
        self._take(rotations(self._store))

    def _take(self, moments: tuple[int, ...]) -> None:
        if len(moments) < self._rotated:
            return  # read before a rotation that is known by now
        self._rotated, number = len(moments), 1 + len(moments)
        former = self._derived(number - 1) if moments else None
        began_us = moments[-1] if moments else 0
        self._keys = _Derived(former, self._derived(number), self._derived(number + 1), began_us)

    def _derived(self, number: int) -> jwk.OKPKey:
        return token_key(derive(self._secret, f"access-tokens/{number}", ROOT_BYTES))


class _Derived(NamedTuple):
    former: jwk.OKPKey | None
    signing: jwk.OKPKey
    following: jwk.OKPKey
    began_us: int


def token_key(seed: bytes) -> jwk.OKPKey:
    """Make an Ed25519 key from 32 secret bytes (RFC 8032 5.1.5)."""
    return jwk.OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(seed))


def public_jwk(key: jwk.OKPKey) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": "EdDSA"}
