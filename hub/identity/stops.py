"""Tell a recipient what becomes of what it has: under its number, that it is stopped; or that it is to be deleted."""

from collections.abc import Sequence
from typing import Protocol

from hub.core.leaf import canonical
from hub.identity.keys import Keyring
from hub.store.aims import DELIVERY_AIM, AimRow, aims_at, was_opened
from hub.store.deliveries import DeliveryKind, NewDelivery, public_id, put_ready
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


def stop_opened(keys: Keyring, tx: Tx, recipient: int, rows: Sequence[WasOpened], *, audit: int, now_us: int) -> None:
    """Queue a `stop` for each: its number now stands for the stop."""
    for row in rows:
        public = public_id(keys.delivery, row.public, row.subscription)
        text = keys.wrapping.seal(canonical({"stops": row.public.hex()}), public)
        new = NewDelivery(public, DeliveryKind.STOP, recipient, audit, now_us, text, row.subscription, row.version)
        delivery = put_ready(tx, new._replace(person=row.person, number=row.number))
        tx.run(
            "UPDATE handout SET delivery = ?, ended = 1 WHERE recipient = ? AND number = ?",
            (delivery, recipient, row.number),
        )
        set_due(tx, [delivery], now_us + STOP_DUE_US)


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
        new = NewDelivery(public, DeliveryKind.DELETE, recipient, audit, now_us, text, row.subscription, row.version)
        at = put_ready(tx, new._replace(person=row.person))
        tx.insert(DELIVERY_AIM, [(at, *AimRow(aim.of, aim.original, 0, 0, 0)[:5])])
        set_due(tx, [at], now_us + STOP_DUE_US)


def had_original(keys: Keyring, tx: Tx, recipient: int, subscription: int, aim: AimRow) -> bool:
    """Say whether a recipient was ever handed what a correction or a delete is about."""
    stop = public_id(keys.delivery, aim.of, subscription)
    return was_opened(tx, recipient=recipient, delivery=aim.original, stop=stop)
