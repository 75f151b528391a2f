"""Tell a recipient what becomes of what it has: under its number, that it is stopped; or that it is to be deleted."""

from collections.abc import Sequence
from typing import Protocol

from hub.core.leaf import canonical
from hub.identity.keys import Keyring
from hub.store.aims import DELIVERY_AIM, AimRow, aims_at, was_opened
from hub.store.deliveries import DELIVERY, QUEUE, DeliveryKind, QueueState, next_delivery, public_id
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


class Correction(Protocol):
    """A correction that leaves the queue and may not go."""

    @property
    def delivery(self) -> int: ...
    @property
    def public(self) -> bytes: ...
    @property
    def subscription(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def person(self) -> int: ...


def delete_originals(
    keys: Keyring, tx: Tx, recipient: int, rows: Sequence[Correction], *, audit: int, now_us: int
) -> None:
    """Where corrections may not go any more, have their originals deleted by who got those: no data, own ids."""
    aims = aims_at(tx, [row.delivery for row in rows])
    for row in rows:
        aim = aims[row.delivery]
        if not had_original(keys, tx, recipient, row.subscription, aim):
            continue
        public = public_id(keys.delivery, row.public + aim.of, row.subscription)
        text = keys.wrapping.seal(canonical({"deletes": [aim.of.hex()]}), public)
        delivery_id = next_delivery(tx)
        kind, at = DeliveryKind.DELETE.value, delivery_id
        tx.insert(DELIVERY, [(at, public, kind, recipient, row.subscription, row.version, audit, now_us, b"", text)])
        tx.insert(QUEUE, [(recipient, QueueState.READY.value, at, row.subscription, row.person, 0, 0)])
        tx.insert(DELIVERY_AIM, [(at, *AimRow(aim.of, aim.original, 0, 0, 0)[:5])])
        set_due(tx, [at], now_us + STOP_DUE_US)


def had_original(keys: Keyring, tx: Tx, recipient: int, subscription: int, aim: AimRow) -> bool:
    """Say whether a recipient was ever handed what a correction or a delete is about."""
    stop = public_id(keys.delivery, aim.of, subscription)
    return was_opened(tx, recipient=recipient, delivery=aim.original, stop=stop)
