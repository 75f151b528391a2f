"""Rotate the wrapping key: what persons', days' and waiting events' keys, and texts that name nobody, are sealed under.

1. a new secret stands in the store beside the former, both wrapped under the root; everything is sealed under it from
   then on, and opened by either     2. all that the former sealed is sealed anew, in pieces, each its own transaction
3. what was read or sealed a moment before settles, and a round over everything finds nothing that the former opens
4. the former is destroyed, and the write-ahead log cut. A crash at any moment leaves all of it readable: both secrets
are there until 4., and where it stands is kept with each piece.
A row that neither secret opens is damaged. It stays as it is, and so does the former secret while there is one: were
it a defect of ours, that secret would be needed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag

from hub.core.errors import HubError, Kind
from hub.failpoints import reach
from hub.identity.day_keys import day_place
from hub.identity.keys import (
    FORMER_WRAPPING,
    Keyring,
    Wrapping,
    backfill_place,
    derive,
    new_key,
    person_place,
    waiting_place,
)
from hub.identity.ring import act_salt, root_name, wrap_secret
from hub.identity.webhook_keys import webhook_place
from hub.ports import Clock
from hub.store import wrapped
from hub.store.engine import Lane, Store, Tx
from hub.store.news import Topic, tell
from hub.store.operations import record
from hub.store.wal import overwriting, truncate_wal
from hub.store.wrapped import Column, Rotation, Wrapped, put_rotation, rotation_of
from hub.way import Way

NAME_BYTES = 8
US = 1_000_000
SETTLES_US = 60 * US  # longer than a batch is prepared, or a page opened, on what was read before
DAMAGED_US = 3_600 * US  # until the next look where something is damaged: somebody has to do something first


def _as_is(public: bytes) -> bytes:
    return public


SEALED: tuple[tuple[Column, Callable[..., bytes]], ...] = (  # everything, and what each value is bound to
    (wrapped.PERSONS, person_place),
    (wrapped.WAITING, waiting_place),
    (wrapped.DAYS, day_place),
    (wrapped.WEBHOOKS, webhook_place),
    (wrapped.BOOKMARKS, backfill_place),
    (wrapped.TEXTS, _as_is),
)


class WrappingRotated(NamedTuple):
    """Public names of the two secrets."""

    key: str
    former: str


def wrapping_name(secret: bytes) -> str:
    """Name a wrapping key by a value derived from it."""
    return derive(secret, "hub/1/wrapping-name", NAME_BYTES).hex()


def rotate_wrapping(store: Store, ring: Keyring, *, root: bytes, clock: Clock) -> WrappingRotated:
    """Seal under a new wrapping key from now on; `wrap_anew` does the rest. `root` is the root key itself.

    Raises HubError(CONFLICT) while a rotation of this key is under way, or of the root half done: the next root is not
    at hand to wrap the new key under.
    """
    wrapping, secret = ring.wrapping, new_key()

    def transaction(tx: Tx) -> tuple[WrappingRotated, bytes, int]:
        former = wrapping.present  # as of now: another process may have ended a rotation a moment ago
        done = WrappingRotated(wrapping_name(secret), wrapping_name(former))
        before, now_us = rotation_of(tx), clock()
        if before is not None and before.stage != "done":
            raise _conflict(
                "a rotation of the wrapping key is under way", "Wait until `hub status` says no more of it.", "running"
            )
        rows = tx.rows("SELECT root, max(since_us) FROM hub_key GROUP BY root")
        if [bytes(row[0]) for row in rows] != [root_name(root)]:
            raise _conflict(
                "a rotation of the root key is half done", "Restart with the new file first, then rotate.", "root-half"
            )
        with overwriting(tx):
            tx.run("UPDATE hub_key SET wrapped = ? WHERE name = 'wrapping'", (wrap_secret(root, "wrapping", secret),))
        kept = wrap_secret(root, FORMER_WRAPPING, former)
        tx.insert("hub_key(root, name, wrapped, since_us)", [(rows[0][0], FORMER_WRAPPING, kept, rows[0][1])])
        put_rotation(tx, Rotation("wrap", done.key, since_us=now_us, round_us=now_us, last_us=now_us))
        said: dict[str, object] = {"act": "rotate", "key": "wrapping", "from": done.former, "to": done.key}
        record(tx, said, now_us=now_us, salt=act_salt(ring))
        return done, former, tell(tx, Topic.WRAPPING)

    with wrapping.changing:
        done, former, number = store.write(transaction, lane=Lane.URGENT)
        reach("wrapping.stored")
        wrapping.take(secret, former, number)
    return done


def wrap_anew(store: Store, ring: Keyring, clock: Clock, way: Way) -> bool:
    """Do the next piece of 2. to 4. Returns whether there is more to do at once."""
    with store.read() as tx:
        now = rotation_of(tx)
    if now is None or now.stage == "done":
        return False
    if now.stage == "log":
        return _cut_log(store, now)
    if ring.wrapping.former is None or clock() < now.round_us:  # stored a moment ago, or it settles
        return False
    column, place = SEALED[now.column]
    most = way.portion(column.look)
    with store.read() as tx:
        rows = wrapped.piece(tx, column, now.after, most)
    changes, damaged = _renewed(ring.wrapping, rows, place)
    reach("wrapping.looked")
    way.give()
    following = now._replace(
        column=now.column + (len(rows) < most),
        after=rows[-1].key if len(rows) == most else (),
        damaged=damaged + (now.damaged if now.column or now.after else 0),  # a round counts from its beginning
    )

    def transaction(tx: Tx) -> int:
        if rotation_of(tx) != now:
            return 0  # another process was first with this piece
        renewed = sum(wrapped.replace(tx, column, one, sealed) for one, sealed in changes)
        moved = following._replace(renewed=now.renewed + renewed, total=now.total + renewed)
        if renewed:
            moved = moved._replace(last_us=clock())
        if moved.column == len(SEALED):
            return _end_round(tx, ring, moved, clock())
        put_rotation(tx, moved)
        reach("wrapping.piece")
        return 0

    with ring.wrapping.changing:
        if number := store.write(transaction):
            reach("wrapping.destroyed")
            ring.wrapping.take(ring.wrapping.present, None, number)
    return True


def _renewed(
    wrapping: Wrapping, rows: list[Wrapped], place: Callable[..., bytes]
) -> tuple[list[tuple[Wrapped, bytes]], int]:
    """Seal anew, outside of any transaction, what the former secret sealed; and count what neither opens."""
    changes: list[tuple[Wrapped, bytes]] = []
    damaged = 0
    for one in rows:
        if one.sealed:
            try:
                sealed = wrapping.renewed(one.sealed, place(*one.bound))
            except InvalidTag:
                damaged += 1
                continue
            if sealed is not None:
                changes.append((one, sealed))
    return changes, damaged


def _end_round(tx: Tx, ring: Keyring, now: Rotation, now_us: int) -> int:
    """3., 4.: destroy the former secret where a round that began late enough found nothing; else begin another.

    Returns the number that the keys have when it is destroyed, else 0.
    """
    found = now.renewed or now.damaged
    if found or now.round_us < now.last_us + SETTLES_US:
        next_us = now_us + DAMAGED_US if now.damaged and not now.renewed else now.last_us + SETTLES_US
        put_rotation(tx, now._replace(column=0, after=(), renewed=0, round_us=next_us, rounds=now.rounds + 1))
        return 0
    with overwriting(tx):
        tx.run("DELETE FROM hub_key WHERE name = ?", (FORMER_WRAPPING,))
    put_rotation(tx, now._replace(stage="log", column=0))
    said: dict[str, object] = {"act": "rotated", "key": "wrapping", "to": now.key, "renewed": now.total}
    record(tx, said, now_us=now_us, salt=act_salt(ring))
    return tell(tx, Topic.WRAPPING)


def _cut_log(store: Store, now: Rotation) -> bool:
    """4.: the log still holds the former secret as it was wrapped. A reader in its way lets it wait for a next try."""
    if truncate_wal(store, pause=lambda _seconds: None, patience_s=0.0):
        store.write(lambda tx: put_rotation(tx, now._replace(stage="done")))
    return False


def _conflict(what: str, remedy: str, why: str) -> HubError:
    return HubError(Kind.CONFLICT, what, where="wrapping", remedy=remedy, code=f"wrapping-{why}")


def progress(tx: Tx) -> dict[str, Any] | None:
    """Say how far a rotation is; None where none is under way. No key, nobody's row."""
    now = rotation_of(tx)
    if now is None or now.stage == "done":
        return None
    return {
        "key": now.key,
        "since_us": now.since_us,
        "stage": now.stage,
        "at": SEALED[now.column][0].table if now.stage == "wrap" else "",
        "round": now.rounds + 1,
        "next_us": now.round_us,
        "renewed": now.total,
        "damaged": now.damaged,
    }
