"""What recipients are to confirm, a stop or a delete: until when, and what they have not confirmed in time.

A row goes when its delivery is acknowledged, so what is here is open.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hub.store.deliveries import QueueState
from hub.store.engine import Tx, marks

DAY_US = 86_400_000_000
STOP_DUE_US = 30 * DAY_US  # GDPR 12(3) leaves a month for a deletion; a stop that nobody confirms by then is as late
AT_ONCE = 1_000
_STATES = ", ".join(str(state.value) for state in QueueState)  # named, so that its key finds a delivery's row


class Unconfirmed(NamedTuple):
    """A stop or delete that a recipient has not acknowledged and was to. `number` is 0 where it never asked for it."""

    recipient: int
    public: bytes
    kind: int
    number: int
    due_us: int


def set_due(tx: Tx, deliveries: Sequence[int], due_us: int) -> None:
    """Say until when deliveries are to be acknowledged."""
    tx.insert("delivery_due(delivery, due_us)", [(delivery, due_us) for delivery in deliveries])


def due_of(tx: Tx, deliveries: Sequence[int]) -> dict[int, int]:
    """Return until when each is to be acknowledged; what is acknowledged, or never had to be, is not in it."""
    found: dict[int, int] = {}
    for at in range(0, len(deliveries), AT_ONCE):
        some = deliveries[at : at + AT_ONCE]
        found.update(tx.rows(f"SELECT delivery, due_us FROM delivery_due WHERE delivery IN ({marks(len(some))})", some))
    return found


def due_under(tx: Tx, public: bytes) -> int | None:
    """Return until when the delivery of this name is to be acknowledged; None: it is. Reads what is open, no more."""
    row = tx.one(
        "SELECT u.due_us FROM delivery_due u JOIN delivery d ON d.id = u.delivery WHERE d.public = ?", (public,)
    )
    return None if row is None else int(row[0])


def confirmed(tx: Tx, deliveries: Sequence[int]) -> None:
    """Forget until when acknowledged deliveries were due."""
    tx.run(f"DELETE FROM delivery_due WHERE delivery IN ({marks(len(deliveries))})", deliveries)


def overdue(tx: Tx, now_us: int, *, recipient: int | None = None) -> list[Unconfirmed]:
    """Return what was to be acknowledged before now, longest overdue first: of one recipient, or of all."""
    rows = tx.rows(
        "SELECT d.recipient, d.public, d.kind, q.number, u.due_us FROM delivery_due u JOIN delivery d ON d.id ="
        f" u.delivery JOIN queue q ON q.recipient = d.recipient AND q.delivery = d.id AND q.state IN ({_STATES})"
        " WHERE u.due_us <= ? AND (CAST(? AS BIGINT) IS NULL OR d.recipient = ?) ORDER BY u.due_us, d.id",
        (now_us, recipient, recipient),
    )
    return [Unconfirmed._make(row) for row in rows]
