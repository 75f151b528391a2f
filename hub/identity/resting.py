"""What rests on a link, on the queues: found by its parts, and taken off where the link carries it no more.

In whatever role: the parent of a child that was born as well as the child. Such a delivery goes as a whole. Only data:
a `stop` is the person's own word, and stays.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hub.core.agreement import Catalogue, Subscription
from hub.identity.keys import Keyring
from hub.identity.stops import delete_originals, stop_opened
from hub.store.deliveries import DECIDED, DeliveryKind
from hub.store.engine import Tx, marks
from hub.store.held import destroy_hold_keys

NOBODY = 0  # as a recipient: numbers of agencies begin at 1


class Resting(NamedTuple):
    """The end of a query: from `queue q` and `delivery d`, what rests on a link."""

    sql: str
    values: tuple[int | bytes, ...]


class Taken(NamedTuple):
    """A delivery that leaves the queue now. `number` is 0 where it was not opened."""

    delivery: int
    kind: int
    recipient: int
    public: bytes
    subscription: int
    version: int
    person: int
    number: int


_TOLD = "d.id, d.kind, q.recipient, d.public, q.subscription, d.version, q.person, q.number"


def on_link(catalogue: Catalogue, *, agency: str, person: int) -> Resting:
    """Find what the agency published of the person, and what names the person to it."""
    return _resting(_published_by(catalogue, agency), catalogue.agencies[agency].number, person)


def on_level(catalogue: Catalogue, *, agency: str, person: int, above: int) -> Resting:
    """Find what the agency published of the person for purposes that need a higher level of the link than `above`.

    Where there is consent, the assurance at its grant counts, and the link's level does not.
    """
    lines = [
        one
        for one in _published_by(catalogue, agency)
        if not one.purpose.basis.needs_consent and one.purpose.assurance > above
    ]
    return _resting(lines, NOBODY, person)


def take_off(tx: Tx, resting: Resting) -> tuple[list[Taken], int]:
    """Take it off the queues; returns what `stop_taken` is to tell of, and how many in all."""
    told = f"SELECT {_TOLD} {resting.sql} AND (q.number > 0 OR d.kind = {DeliveryKind.CORRECTION.value})"
    taken = [Taken._make(row) for row in tx.rows(told, resting.values)]
    cancelled = tx.rows(
        f"DELETE FROM queue WHERE delivery IN (SELECT q.delivery {resting.sql}) RETURNING delivery", resting.values
    )
    destroy_hold_keys(tx, [delivery for (delivery,) in cancelled])
    return taken, len(cancelled)


def stop_taken(keys: Keyring, tx: Tx, taken: Sequence[Taken], *, audit: int, now_us: int) -> None:
    """Queue a `stop` under the number of each that was opened; who got what a correction was of is to delete that."""
    for one in taken:
        if one.number:
            stop_opened(keys, tx, one.recipient, [one], audit=audit, now_us=now_us)
    for one in taken:
        if one.kind == DeliveryKind.CORRECTION:
            delete_originals(keys, tx, one.recipient, [one], audit=audit, now_us=now_us)


def _published_by(catalogue: Catalogue, agency: str) -> list[Subscription]:
    return [one for one in catalogue.subscriptions.values() if one.agreement.provider == agency]


def _resting(lines: list[Subscription], recipient: int, person: int) -> Resting:
    named = person.to_bytes(8, "little")  # as the parts of a delivery name them (hub/store/deliveries.py)
    return Resting(
        f"FROM queue q JOIN delivery d ON d.id = q.delivery WHERE (q.recipient = ? OR q.subscription IN"
        f" ({marks(len(lines))})) AND d.kind IN ({marks(len(DECIDED))}) AND (q.person = ? OR instr(d.parts, ?) > 0)",
        (recipient, *[one.number for one in lines], *sorted(DECIDED), person, named),
    )
