"""The hub's own secrets as the store keeps them, and the root key file that opens them.

At a store's first start each secret is derived from the root, as it was before secrets were stored, and kept wrapped
under a key that is derived from the root too. So a new root changes none of them: it wraps them anew, in one
transaction, beside the former wrapping. Whichever file is there opens the store, after a crash at any moment. The
former wrapping goes at the first start with the new file, which proves that it is in its place.
"""

from collections.abc import Callable, Container
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from hub.core.errors import HubError, Kind
from hub.identity.day_keys import day_place
from hub.identity.keys import (
    ROOT_BYTES,
    Keyring,
    derive,
    keyed,
    keyring,
    read_key_file,
    ring_of,
    seal,
    secrets_of,
    unseal,
    unwrap_person,
)
from hub.ports import Clock
from hub.store.engine import Lane, Row, Store, Tx
from hub.store.news import Topic, number_of
from hub.store.operations import record

NAME_BYTES = 8  # of a root's public name: enough to tell two files apart, and it says nothing of the key


class RootRotated(NamedTuple):
    """Names of the two roots. Until the first start with the new file both open the store."""

    root: str
    former: str


def read_new_root(path: Path) -> bytes:
    """Read the root that is to come. Raises HubError(INVALID): what is wrong with a file that somebody names."""
    try:
        return read_key_file(path)
    except HubError as error:
        raise HubError(Kind.INVALID, error.what, where="new_file", remedy=error.remedy, code=error.code) from error


def root_name(root: bytes) -> bytes:
    """Name a root key by a value derived from it, so that the wrong file is told from a damaged store."""
    return derive(root, "hub/1/root-name", NAME_BYTES)


def open_ring(store: Store, root: bytes, clock: Clock) -> Keyring:
    """Open the secrets under this root; at the first start with it, make that known. Raises HubError(STARTUP).

    1. wrapped under it: open them          2. wrapped under others only: the wrong file, refused
    3. none at all: a new store, or one of an older version, whose sealed rows must open under this root
    """
    here = root_name(root)
    with store.read() as tx:
        rows = tx.rows("SELECT root, name, wrapped, since_us FROM hub_key")
        theirs = [row for row in rows if row[0] == here]
        if rows and not theirs:  # 2.
            raise _wrong(here, {bytes(row[0]) for row in rows})
        if not rows:  # 3.
            prove(tx, keyring(root))
        number = number_of(tx, Topic.WRAPPING)
    ring = _opened(root, theirs, number)
    missing = Keyring.__dataclass_fields__.keys() - {row[1] for row in theirs}
    newest = max((row[3], row[0]) for row in rows)[1] if rows else here
    if missing or (len(rows) > len(theirs) and newest == here):
        store.write(lambda tx: _settle(tx, root, ring, missing, clock()), lane=Lane.URGENT)
    return ring


class RingWatch:
    """Keeps a ring's wrapping key the present one where other processes rotate it: see `hub.store.engine.Watch`.

    Where the root was rotated, whoever runs with the former file still knows all secrets, for a root changes none; it
    can open none that is made after that, and so writes nothing any more until it is started with the new file.
    """

    def __init__(self, store: Store, ring: Keyring, key_path: Path) -> None:
        self._store, self._wrapping, self._key_path = store, ring.wrapping, key_path

    def knows(self, number: int) -> bool:
        return self._wrapping.number == number

    def learn(self, number: int) -> bool:
        """See `Watch.learn`. Waits for a rotation that is under way in this process, which takes its keys itself."""
        with self._wrapping.changing:
            if self.knows(number):
                return False
            self.look()
            return True

    def look(self) -> None:
        """Take the wrapping keys that the store has, where they are others than those in memory.

        Raises HubError(UNAVAILABLE) where the key file does not open them, or the store is down.
        """
        with self._store.read() as tx:
            number = number_of(tx, Topic.WRAPPING)
            if self.knows(number):
                return
            rows = tx.rows("SELECT root, name, wrapped, since_us FROM hub_key")
        try:
            root = read_key_file(self._key_path)
            theirs = [row for row in rows if row[0] == root_name(root)]
            if not theirs:
                raise _wrong(root_name(root), {bytes(row[0]) for row in rows})
            fresh = _opened(root, theirs, number).wrapping
        except HubError as cause:
            raise HubError(
                Kind.UNAVAILABLE,
                f"this process does not know the hub's present keys, and can write nothing: {cause.what}",
                where=cause.where,
                remedy="Start it again with the root key file that the other processes run with.",
                code="keys-unknown",
            ) from cause
        self._wrapping.take(fresh.present, fresh.former, number)


def check_root(tx: Tx, root: bytes) -> Keyring:
    """Open the secrets under this root, reading only: also of a store of before. Raises as `open_ring` does."""
    here, there = root_name(root), tx.has_table("hub_key")
    rows = tx.rows("SELECT root, name, wrapped, since_us FROM hub_key") if there else []
    theirs = [row for row in rows if row[0] == here]
    if rows and not theirs:
        raise _wrong(here, {bytes(row[0]) for row in rows})
    ring = _opened(root, theirs)
    if not rows:
        prove(tx, ring)
    return ring


def rotate_root(store: Store, ring: Keyring, *, former: bytes, new: bytes, clock: Clock) -> RootRotated:
    """Wrap every secret under a new root as well, in one transaction. The store opens with either file afterwards.

    `former` is the name of the present root, `new` the next root itself.
    Raises HubError CONFLICT where both files hold the same key.
    """
    here, there = former, root_name(new)
    if here == there:
        raise HubError(
            Kind.CONFLICT,
            "the new file holds the key that is in use",
            where="new_file",
            remedy="Make another: `hub keys new FILE`.",
            code="root-same",
        )

    def transaction(tx: Tx) -> None:
        row = tx.one("SELECT coalesce(max(since_us), 0) FROM hub_key WHERE root = ?", (here,))
        assert row is not None
        now_us = max(clock(), row[0] + 1)  # a clock that was set back must not make the new one the older
        tx.run("DELETE FROM hub_key WHERE root <> ?", (here,))  # a rotation that no start has finished is taken back
        _wrap(tx, new, ring, secrets_of(ring).keys(), now_us)
        said: dict[str, object] = {"act": "rotate", "key": "root", "from": here.hex(), "to": there.hex()}
        record(tx, said, now_us=now_us, salt=act_salt(ring))

    with ring.wrapping.changing:  # else a wrapping key that is stored a moment later would not be wrapped
        store.write(transaction, lane=Lane.URGENT)
    return RootRotated(there.hex(), here.hex())


def act_salt(ring: Keyring) -> Callable[[bytes], bytes]:
    """Derive the salt of an audit row that is about no person from the row's nonce."""
    return lambda nonce: keyed(ring.leaf, nonce.hex())


def _opened(root: bytes, rows: list[Row], number: int = 0) -> Keyring:
    """Unwrap what is stored; what is not (a secret that this version is the first to know) is derived."""
    derived = secrets_of(keyring(root))
    try:
        found = {row[1]: unseal(_wrapping(root), row[2], row[1].encode()) for row in rows}
    except InvalidTag as cause:
        raise HubError(
            Kind.STARTUP,
            "the store's own keys are damaged: the key file is the right one, and they do not open",
            where="hub_key",
            remedy="Restore the store from its last good backup; `hub doctor` says what else is damaged.",
            code="hub-keys-damaged",
        ) from cause
    return ring_of({**derived, **found}, number)


def _settle(tx: Tx, root: bytes, ring: Keyring, missing: set[str], now_us: int) -> None:
    """Store what is not stored yet, and destroy the other wrapping: this start has proved the new file.

    A rotation that a version with more secrets finds half done, by the former file, is taken back: the new file is not
    at hand to wrap them under.
    """
    _wrap(tx, root, ring, missing, now_us)
    if tx.run("DELETE FROM hub_key WHERE root <> ?", (root_name(root),)):
        said: dict[str, object] = {"act": "rotated", "key": "root", "to": root_name(root).hex()}
        record(tx, said, now_us=now_us, salt=act_salt(ring))


def _wrap(tx: Tx, root: bytes, ring: Keyring, names: Container[str], now_us: int) -> None:
    rows = [
        (root_name(root), name, wrap_secret(root, name, secret), now_us)
        for name, secret in sorted(secrets_of(ring).items())
        if name in names
    ]
    tx.insert("hub_key(root, name, wrapped, since_us)", rows, or_ignore=True)  # two first starts derive the same


def wrap_secret(root: bytes, name: str, secret: bytes) -> bytes:
    """Wrap one of the hub's own secrets under the root, as `hub_key` holds it."""
    return seal(_wrapping(root), secret, name.encode())


def _wrapping(root: bytes) -> bytes:
    return derive(root, "hub/1/own-keys", ROOT_BYTES)


def prove(tx: Tx, ring: Keyring) -> None:
    """Open something that is sealed under what this root gives: no wrong key may become an older store's own.

    Raises HubError(STARTUP).
    """
    person = tx.one("SELECT id, key FROM person WHERE key IS NOT NULL LIMIT 1")
    day = tx.one("SELECT agency, day, key FROM day_key WHERE key IS NOT NULL LIMIT 1")
    try:
        if person is not None:
            unwrap_person(ring.wrapping, person[0], person[1])
        if day is not None:
            ring.wrapping.unseal(day[2], day_place(day[0], day[1]))
    except InvalidTag as cause:
        raise _wrong(b"", set()) from cause


def _wrong(here: bytes, known: set[bytes]) -> HubError:
    opens = " or ".join(sorted(name.hex() for name in known))
    what = f"it is key {here.hex()}, and this store opens with key {opens}" if known else "it does not open this store"
    return HubError(
        Kind.STARTUP,
        f"the key file holds another store's key: {what}",
        where="key_file",
        remedy="Point HUB_KEY_FILE to the file that belongs to this store; an older backup needs the file of its time.",
        code="key-file-wrong",
    )
