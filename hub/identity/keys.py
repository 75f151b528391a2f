"""Keys: one root in a file with tight permissions; everything else is derived from it, or random and wrapped by it.

Derived (HKDF-SHA256, RFC 5869, one label each): the wrapping key, keyed hashes, pseudonyms, status tokens.
Random and wrapped (AES-256-GCM): one key per person, per publisher and day, per waiting (publisher, person id): these
can be destroyed one by one, which is what erasure is.
"""

import os
import secrets
import stat
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hub.core.errors import HubError, Kind
from hub.store.engine import keys_changed

ROOT_BYTES = 32
NONCE_BYTES = 12  # AES-GCM, NIST SP 800-38D section 5.2.1.1: 96 bits
HASH_BYTES = 16
FORMER_WRAPPING = "wrapping.former"  # its name in the store, while the wrapping key is rotated
CACHED_KEYS = 200_000  # unwrapped person keys kept in memory: about 60 MB


class Wrapping:
    """The secret that other keys are wrapped under. While it is rotated there are two: the present and the former one.

    Everything is sealed under the present one, and opened by it first: AES-GCM tells which one it was. All who work
    with a hub's keys share this one object, so that a rotation reaches everybody at the same moment. Thread-safe.
    `number` is the one that `hub/store/news.py` has of them; where other processes rotate them too, `learn` reads them
    anew from the store.
    """

    def __init__(self, present: bytes, former: bytes | None = None, number: int = 0) -> None:
        self.changing = threading.RLock()  # held by whoever writes these to the store, until they are taken here
        self.learn: Callable[[], object] = _nothing
        self._taking = threading.Lock()
        self._held = _Held(present, AESGCM(present), former, AESGCM(former) if former else None, number)

    def take(self, present: bytes, former: bytes | None, number: int) -> None:
        """Hold these from now on, unless newer ones are held already.

        They stand in the store already, or what is sealed next could be lost.
        """
        with self._taking:
            if number > self._held.number:
                self._held = _Held(present, AESGCM(present), former, AESGCM(former) if former else None, number)

    @property
    def number(self) -> int:
        return self._held.number

    @property
    def present(self) -> bytes:
        return self._held.present

    @property
    def former(self) -> bytes | None:
        return self._held.former

    def seal(self, plain: bytes, bound: bytes) -> bytes:
        """See `seal`; under the present secret."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._held.seals.encrypt(nonce, plain, bound)

    def unseal(self, sealed: bytes, bound: bytes) -> bytes:
        """See `unseal`. Raises cryptography's InvalidTag where neither secret opens it, nor one that is learnt anew."""
        held = self._held  # once: a rotation may begin or end meanwhile
        try:
            return _open(held, sealed, bound)
        except InvalidTag:
            self.learn()
            if self._held is held:
                raise
            return _open(self._held, sealed, bound)

    def renewed(self, sealed: bytes, bound: bytes) -> bytes | None:
        """Seal anew what the former secret sealed; None where the present one did. Raises as `unseal` does."""
        try:
            self._held.seals.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except InvalidTag:
            return self.seal(self.unseal(sealed, bound), bound)
        return None

    def sound(self, sealed: bytes, bound: bytes) -> bytes:
        """Return what was sealed before a transaction began, as the transaction may store it: under the present secret.

        Raises HubError(UNAVAILABLE) where the secret that sealed it is destroyed: then it has to be made anew.
        """
        try:
            return self.renewed(sealed, bound) or sealed
        except InvalidTag:
            raise keys_changed() from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapping) and (self.present, self.former) == (other.present, other.former)

    __hash__ = None  # type: ignore[assignment]  # it changes


class _Held(NamedTuple):
    present: bytes
    seals: AESGCM
    former: bytes | None
    opens: AESGCM | None
    number: int


def _open(held: _Held, sealed: bytes, bound: bytes) -> bytes:
    nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return held.seals.decrypt(nonce, rest, bound)
    except InvalidTag:
        if held.opens is None:
            raise
        return held.opens.decrypt(nonce, rest, bound)


def _nothing() -> None:
    """Learn nothing: there is no other process."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The root's children. Named by what they are for, so that none can serve two purposes."""

    wrapping: Wrapping
    event: bytes
    content: bytes
    delivery: bytes
    local: bytes
    status: bytes
    pseudonym: bytes
    session: bytes
    leaf: bytes
    token: bytes
    erasure: bytes
    bundle: bytes
    marks: bytes
    receipt: bytes


def keyring(root: bytes) -> Keyring:
    """Derive every fixed key from the root (32 bytes)."""
    return ring_of({name: derive(root, f"hub/1/{name}", ROOT_BYTES) for name in Keyring.__dataclass_fields__})


def ring_of(secrets_: Mapping[str, bytes], number: int = 0) -> Keyring:
    """Put a ring together from its secrets by name, the former wrapping key's among them where there is one.

    `number` is the store's, of the wrapping keys.
    """
    names = Keyring.__dataclass_fields__.keys() - {"wrapping"}
    wrapping = Wrapping(secrets_["wrapping"], secrets_.get(FORMER_WRAPPING), number)
    return Keyring(wrapping=wrapping, **{name: secrets_[name] for name in names})


def secrets_of(ring: Keyring) -> dict[str, bytes]:
    """Return what `ring_of` takes: what the store keeps of a ring."""
    found: dict[str, bytes] = {name: getattr(ring, name) for name in Keyring.__dataclass_fields__ if name != "wrapping"}
    found["wrapping"] = ring.wrapping.present
    if ring.wrapping.former is not None:
        found[FORMER_WRAPPING] = ring.wrapping.former
    return found


def derive(secret: bytes, label: str, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=label.encode()).derive(secret)


def make_key_file(path: Path) -> None:
    """Write a new random root, readable by its owner only. Never replaces one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(urlsafe_b64encode(secrets.token_bytes(ROOT_BYTES)) + b"\n")


def read_key_file(path: Path) -> bytes:
    """Return the root. Raises HubError(STARTUP) when it is absent, readable by others, or not a key."""
    try:
        mode = path.stat().st_mode
        text = path.read_bytes().strip()
    except OSError as cause:
        raise HubError(
            Kind.STARTUP,
            "the key file cannot be read",
            where=path.name,
            remedy="Set HUB_KEY_FILE to the key's file, or make one: `hub keys new FILE`. Nothing opens without it.",
            code="key-file-missing",
        ) from cause
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise HubError(
            Kind.STARTUP,
            f"the key file can be read by others (mode {stat.S_IMODE(mode):o})",
            where=path.name,
            remedy="chmod 600 it, and replace the key when somebody else may have seen it.",
            code="key-file-open",
        )
    try:
        root = urlsafe_b64decode(text)
    except ValueError:
        root = b""
    if len(root) != ROOT_BYTES:
        raise HubError(
            Kind.STARTUP,
            "the key file does not hold a key",
            where=path.name,
            remedy="Restore it from its backup.",
            code="key-file-broken",
        )
    return root


def keyed(key: bytes, *parts: str) -> bytes:
    """Return a 16-byte keyed hash of texts that cannot run into each other (keyed BLAKE2b, RFC 7693)."""
    return blake2b("\x1f".join(parts).encode(), key=key, digest_size=HASH_BYTES).digest()


def new_key() -> bytes:
    return secrets.token_bytes(32)


def seal(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """Seal under a fresh nonce, bound to where it stands. Returns nonce | ciphertext | tag: 28 bytes more."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Open what `seal` sealed. Raises cryptography's InvalidTag when it was altered, moved, or is another key's."""
    return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)


class OpenKey(NamedTuple):
    """A person's key, ready for use: what seals their parts, and what their salts are derived from."""

    aead: AESGCM
    salt: bytes


def open_key(key: bytes) -> OpenKey:
    return OpenKey(AESGCM(key), blake2b(b"salt", key=key, digest_size=32).digest())


def seal_with(key: OpenKey, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + key.aead.encrypt(nonce, plain, bound)


def unseal_with(key: OpenKey, sealed: bytes, bound: bytes) -> bytes:
    return key.aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)


class OpenKeys:
    """Unwrapped person keys, those opened first forgotten first. Thread-safe; `forget` on erasure.

    Not the least recently used: to note each use costs more than to open a key again once in `CACHED_KEYS`.
    """

    def __init__(
        self,
        wrapping: Wrapping,
        read: Callable[[list[int]], dict[int, bytes | None]],
        *,
        current: Callable[[], bool] = lambda: True,
    ) -> None:
        """`read` returns the wrapped keys of persons; None for an erased one.

        `current` says whether every erasure of a while ago was heard of here; while it was not, nothing that is kept
        is believed, and each key is read.
        """
        self._wrapping, self._read, self._current = wrapping, read, current
        self._keys: OrderedDict[int, OpenKey] = OrderedDict()
        self._gone: set[int] = set()  # erased while this process runs: who read a key just before must not keep it
        self._lock, self._leaving = threading.Lock(), threading.Lock()

    def of(self, persons: list[int]) -> dict[int, OpenKey]:
        """Return the keys of those persons who still have one."""
        found: dict[int, OpenKey] = {}
        if self._current():
            with self._lock:
                keys = self._keys
                found = {person: key for person in persons if (key := keys.get(person)) is not None}
        if len(found) < len(persons):
            missing = [person for person in persons if person not in found]
            wrapped = self._read(missing)
            fresh = {p: open_key(unwrap_person(self._wrapping, p, w)) for p, w in wrapped.items() if w is not None}
            found.update(fresh)
            with self._lock:
                self._keys.update({person: key for person, key in fresh.items() if person not in self._gone})
                while len(self._keys) > CACHED_KEYS:
                    self._keys.popitem(last=False)
        return found

    @contextmanager
    def leaving(self, persons: Collection[int]) -> Iterator[bool]:
        """Say whether what is opened of these persons may still leave; until the block ends nobody is forgotten.

        For the moment in which bytes begin, and no longer: an erasure stands in its transaction meanwhile.
        """
        with self._leaving:
            yield self._gone.isdisjoint(persons)

    def forget(self, person: int) -> None:
        """Let nothing of this person be opened, nor leave that was opened before.

        In the erasure's transaction; in other processes when they hear of it.
        """
        with self._leaving, self._lock:
            self._gone.add(person)
            self._keys.pop(person, None)


def wrap_person(wrapping: Wrapping, person: int, key: bytes) -> bytes:
    return wrapping.seal(key, person_place(person))


def unwrap_person(wrapping: Wrapping, person: int, wrapped: bytes) -> bytes:
    return wrapping.unseal(wrapped, person_place(person))


def person_place(person: int) -> bytes:
    """Say what a person's wrapped key is bound to."""
    return b"person" + person.to_bytes(8)


def waiting_place(subject: bytes) -> bytes:
    """Say what the key of waiting events is bound to."""
    return b"waiting" + subject


def backfill_place(public: bytes) -> bytes:
    """Say what a provider's sealed bookmark is bound to."""
    return b"backfill" + public
