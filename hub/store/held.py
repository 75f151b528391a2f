"""Deliveries held under look-back: how a grant lets them go, and the keys that their expiry destroys.

What is held is sealed under a key of its own, which is kept here, sealed for its person. The payload cannot be deleted
(`delivery` is insert-only), so its key is. A delivery that was released at once has no row here.
"""

from collections.abc import Sequence

from hub.store.deliveries import Part, QueueState, unpack_parts
from hub.store.engine import Tx, marks

HOLD_KEY = "hold_key(delivery, part, sealed)"
AT_ONCE = 1_000  # rows per statement, far below what one may name
_FREED = (  # of what was opened before, nothing that is backfilled stands ahead
    "CASE WHEN queue.number = 0 AND EXISTS (SELECT 1 FROM backfill b INDEXED BY backfill_open"
    " WHERE b.closed_us IS NULL AND b.subscription = queue.subscription AND NOT EXISTS"
    " (SELECT 1 FROM backfill_person p WHERE p.backfill = b.id AND p.person = queue.person AND p.cleared > 0))"
    f" THEN {QueueState.BEHIND.value} ELSE {QueueState.READY.value} END"
)


def release_held(
    tx: Tx, *, person: int, recipient: int, subscriptions: Sequence[int], now_us: int, other_roles: bool
) -> None:
    """Move what is held for this person to ready: the order of deliveries puts it ahead of anything newer.

    Of a person whose backfill has not left yet, it stands behind that.
    A hold that is over stays, to be swept. `other_roles`: the person may also be somebody else in the event than its
    subject; no index leads there, so everything held for the recipient is looked through.
    """
    here = marks(len(subscriptions))
    tx.run(
        f"UPDATE queue INDEXED BY queue_held SET state = {_FREED}, due_us = 0"
        f" WHERE state = 2 AND person = ? AND subscription IN ({here}) AND recipient = ? AND due_us > ?",
        (person, *subscriptions, recipient, now_us),
    )
    if not other_roles:
        return
    held = tx.rows(
        "SELECT q.delivery, d.parts FROM queue q JOIN delivery d ON d.id = q.delivery WHERE q.recipient = ?"
        f" AND q.state = ? AND q.subscription IN ({here}) AND q.due_us > ? AND instr(d.parts, ?) > 0",
        (recipient, QueueState.HELD.value, *subscriptions, now_us, person.to_bytes(8, "little")),
    )
    theirs = [delivery for delivery, parts in held if any(part.person == person for part in unpack_parts(parts))]
    for at in range(0, len(theirs), AT_ONCE):
        part = theirs[at : at + AT_ONCE]
        tx.run(
            f"UPDATE queue SET state = {_FREED}, due_us = 0"
            f" WHERE recipient = ? AND state = ? AND delivery IN ({marks(len(part))})",
            (recipient, QueueState.HELD.value, *part),
        )


def was_held(parts: Sequence[Part]) -> bool:
    """Say whether a delivery was held when it was decided: then each of its parts has a key of its own."""
    return bool(parts) and parts[0].sealed_bytes < 0


def hold_keys_of(tx: Tx, deliveries: Sequence[int]) -> dict[int, list[bytes]]:
    """Return the sealed keys of deliveries that were held, in the order of their parts."""
    keys: dict[int, list[bytes]] = {}
    for at in range(0, len(deliveries), AT_ONCE):
        some = deliveries[at : at + AT_ONCE]
        for delivery, sealed in tx.rows(
            f"SELECT delivery, sealed FROM hold_key WHERE delivery IN ({marks(len(some))}) ORDER BY delivery, part",
            some,
        ):
            keys.setdefault(delivery, []).append(sealed)
    return keys


def destroy_hold_keys(tx: Tx, deliveries: Sequence[int]) -> None:
    """Make unreadable, for everybody and for good, what was held and will never go; others have no row."""
    for at in range(0, len(deliveries), AT_ONCE):
        some = deliveries[at : at + AT_ONCE]
        tx.run(f"DELETE FROM hold_key WHERE delivery IN ({marks(len(some))})", some)
