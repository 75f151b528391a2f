"""Payloads sealed to their recipient, on any way out: what lies between the hub and the agency's own key reads nothing.

HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305; one encapsulation per delivery.
Its `info` names the delivery and its number, so a ciphertext opens under no other; the associated data are empty.
The keys that count are kept in memory: whoever has none pays one look into a dictionary per page.
"""

from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from joserfc import jwk as jose
from joserfc.errors import JoseError

from hub.core.errors import HubError, Kind
from hub.store.engine import Store, Tx
from hub.store.outside import Act
from hub.store.sealing_keys import FOR_EVER_US, SealingRow, end_sealing_key, put_sealing_key, sealing_rows

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
SUITE_NAME = "DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305"
ENC_BYTES = 32  # of the encapsulated key, RFC 9180 section 7.1
LABEL = b"hub/1/sealed"
SEALED_MEMBERS = ("data", "subject")
PUBLIC_PARTS = frozenset({"kty", "crv", "x", "kid", "alg", "use", "key_ops"})


class SealTo(NamedTuple):
    """The key that an agency's payloads are sealed to."""

    kid: str
    public: X25519PublicKey


Noted = Callable[[Tx], None]
"""Writes the audit row of an act in the act's own transaction."""


def seal_event(to: SealTo, event: dict[str, Any], *, public: bytes, number: int) -> dict[str, Any]:
    """Replace `data` and `subject` by `sealed`. Everything else stays readable: it is how a delivery is handled."""
    inner = {name: event.pop(name) for name in SEALED_MEMBERS if name in event}
    whole = SUITE.encrypt(orjson.dumps(inner), to.public, info=place(public, number))
    event["sealed"] = {
        "kid": to.kid,
        "enc": b64encode(whole[:ENC_BYTES]).decode(),
        "ciphertext": b64encode(whole[ENC_BYTES:]).decode(),
    }
    return event


def place(public: bytes, number: int) -> bytes:
    """Name a delivery for `info`: fixed lengths, so nothing can run into anything."""
    return LABEL + public + number.to_bytes(8)


class SealingKeys:
    """The keys that count, in memory. Replaced whole on every change, so that readers need no lock."""

    def __init__(self, store: Store) -> None:
        self._store, self._loading = store, Lock()
        self._by_agency: Mapping[str, SealTo] = {}
        self.load()

    def of(self, agency: str) -> SealTo | None:
        return self._by_agency.get(agency)

    def put(self, agency: str, given: Mapping[str, Any], *, now_us: int, noted: Callable[[Tx, str], None]) -> str:
        """Seal this agency's payloads to a key from now on; returns its kid. Raises HubError(INVALID)."""
        kid, public = read_sealing_key(given)

        def transaction(tx: Tx) -> None:
            tx.outside.note(Act("sealing-key", agency, now_us))
            put_sealing_key(tx, SealingRow(agency, kid, public, now_us, FOR_EVER_US))
            noted(tx, kid)

        self._store.write(transaction)
        self.load()
        return kid

    def end(self, agency: str, *, now_us: int, noted: Noted) -> None:
        """Seal nothing any more. Raises HubError(NOT_FOUND) where nothing was."""

        def transaction(tx: Tx) -> None:
            if not end_sealing_key(tx, agency, now_us):
                raise no_sealing_key()
            tx.outside.note(Act("sealing-key", agency, now_us))
            noted(tx)

        self._store.write(transaction)
        self.load()

    def load(self) -> None:
        """Read them anew: they were changed, here or in another process."""
        with self._loading:  # so that what was read later is what stays
            self._by_agency = {
                row.agency: SealTo(row.kid, X25519PublicKey.from_public_bytes(row.public))
                for row in sealing_rows(self._store)
            }


def read_sealing_key(given: Mapping[str, Any]) -> tuple[str, bytes]:
    """Read a public X25519 JWK (RFC 8037); returns its kid, the RFC 7638 thumbprint, and its 32 bytes.

    Raises HubError(INVALID), for a private key as well, and for a point that every secret would be known for.
    """
    if given.get("kty") != "OKP" or given.get("crv") != "X25519" or not set(given) <= PUBLIC_PARTS:
        raise _refused("It is not a public X25519 key, or holds members that such a key does not have.")
    try:
        key = jose.OKPKey.import_key({"kty": "OKP", "crv": "X25519", "x": str(given.get("x", ""))})
        public = urlsafe_b64decode(str(given["x"]) + "=")
        SUITE.encrypt(b"", X25519PublicKey.from_public_bytes(public))  # refuses the points of small order
    except (ValueError, KeyError, JoseError) as cause:
        raise _refused("Its `x` is no point that anything could be sealed to.") from cause
    return key.thumbprint(), public


def no_sealing_key() -> HubError:
    return HubError(
        Kind.NOT_FOUND,
        "no key is registered that payloads are sealed to",
        remedy="Register one: `hub-agency seal-key new`.",
        code="sealing-key-unknown",
    )


def _refused(what: str) -> HubError:
    return HubError(
        Kind.INVALID,
        f"The key is refused. {what}",
        where="/jwk",
        remedy='Send {"jwk": {"kty": "OKP", "crv": "X25519", "x": "..."}}; `hub-agency seal-key new` makes one.',
        code="sealing-key-refused",
    )
