"""Deliveries held under look-back, and how a grant lets them go."""

from collections.abc import Sequence

from hub.store.deliveries import QueueState, unpack_parts
from hub.store.engine import Tx, marks

AT_ONCE = 1_000  # rows per statement, far below what one may name


def release_held(
    tx: Tx, *, person: int, recipient: int, subscriptions: Sequence[int], now_us: int, other_roles: bool
) -> None:
    """Move what is held for this person to ready: the order of deliveries puts it ahead of anything newer.

    A hold that is over stays, to be swept. `other_roles`: the person may also be somebody else in the event than its
    subject; no index leads there, so everything held for the recipient is looked through.
    """
    here = marks(len(subscriptions))
    tx.run(
        "UPDATE queue INDEXED BY queue_held SET state = ?, due_us = 0"
        f" WHERE state = 2 AND person = ? AND subscription IN ({here}) AND recipient = ? AND due_us > ?",
        (QueueState.READY.value, person, *subscriptions, recipient, now_us),
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
            "UPDATE queue SET state = ?, due_us = 0"
            f" WHERE recipient = ? AND state = ? AND delivery IN ({marks(len(part))})",
            (QueueState.READY.value, recipient, QueueState.HELD.value, *part),
        )
