"""Tell a recipient, under the same running number, that what it may have got and never acknowledged is stopped."""

from collections.abc import Sequence
from typing import Protocol

from hub.core.leaf import canonical
from hub.identity.keys import Keyring
from hub.store.deliveries import DELIVERY, QUEUE, DeliveryKind, QueueState, public_id
from hub.store.engine import Tx
from hub.store.overdue import STOP_DUE_US, set_due


class WasOpened(Protocol):
    """A delivery that was opened under a number, and leaves the queue now."""

    @property
    def public(self) -> bytes: ...
    @property
    def subscription(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def person(self) -> int: ...
    @property
    def number(self) -> int: ...


def stop_opened(
    keys: Keyring, tx: Tx, recipient: int, rows: Sequence[WasOpened], *, first_delivery: int, audit: int, now_us: int
) -> None:
    """Queue a `stop` for each, as deliveries from `first_delivery` on: its number now stands for the stop."""
    for delivery, row in enumerate(rows, first_delivery):
        public = public_id(keys.delivery, row.public, row.subscription)
        text = keys.wrapping.seal(canonical({"stops": row.public.hex()}), public)
        kind = DeliveryKind.STOP.value
        tx.insert(
            DELIVERY, [(delivery, public, kind, recipient, row.subscription, row.version, audit, now_us, b"", text)]
        )
        tx.insert(QUEUE, [(recipient, QueueState.READY.value, delivery, row.subscription, row.person, row.number, 0)])
        tx.run(
            "UPDATE handout SET delivery = ?, ended = 1 WHERE recipient = ? AND number = ?",
            (delivery, recipient, row.number),
        )
    set_due(tx, range(first_delivery, first_delivery + len(rows)), now_us + STOP_DUE_US)
