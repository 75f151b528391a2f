"""File drop as the store knows it: which agencies have it, which batches they can see, and what is in each.

A batch is noted before its done-marker appears, in the transaction that puts off the redelivery of what is in it. So
whatever an agency can see is known here, and what never became visible comes again as any hand-out does.
"""

import json
import struct
from collections.abc import Sequence
from typing import NamedTuple

from hub.core.leaf import LeafKind
from hub.ports import Clock
from hub.store.audit import Salt, add_act
from hub.store.deliveries import DeliveryKind, QueueState
from hub.store.engine import Store, Tx, marks

NAMED = struct.Struct(">q16s")  # number, the delivery's public id
AT_ONCE = 1_000  # names per statement
HEAD = "id, batch, recipient, files, first, last, written_us, acked_us, unwanted"


class Drop(NamedTuple):
    agency: int
    format: str
    bom: bool
    since_us: int


class Batch(NamedTuple):
    """One batch, without what is in it."""

    id: int
    batch: str
    recipient: int
    files: tuple[str, ...]
    first: int
    last: int
    written_us: int
    acked_us: int | None
    unwanted: bool


Named = tuple[int, bytes]
"""A delivery in a batch: its number and its public id."""


def drops(tx: Tx) -> list[Drop]:
    """Return the agencies that have file drop, and those that had (no format), whose files may still be there."""
    rows = tx.rows("SELECT agency, format, bom, since_us FROM file_drop ORDER BY agency")
    return [Drop(agency, form, bool(bom), since_us) for agency, form, bom, since_us in rows]


def turn_on(store: Store, agency: int, *, form: str, bom: bool, clock: Clock, salt: Salt) -> None:
    """Send an agency's deliveries out as files from now on. Said again, the form changes."""

    def transaction(tx: Tx) -> None:
        now_us = clock()
        tx.run(
            "INSERT INTO file_drop(agency, format, bom, since_us, batches) VALUES (?, ?, ?, ?, 0)"
            " ON CONFLICT(agency) DO UPDATE SET format = excluded.format, bom = excluded.bom",
            (agency, form, int(bom), now_us),
        )
        _record(tx, {"act": "file-drop-on", "agency": agency, "format": form, "bom": bom}, now_us, salt)

    store.write(transaction)


def turn_off(store: Store, agency: int, *, clock: Clock, salt: Salt) -> bool:
    """Write no more files for an agency and take none in; False where it was off. Its queue is as it was."""

    def transaction(tx: Tx) -> bool:
        if not tx.run("UPDATE file_drop SET format = '' WHERE agency = ? AND format <> ''", (agency,)):
            return False
        _record(tx, {"act": "file-drop-off", "agency": agency}, clock(), salt)
        return True

    return store.write(transaction)


def add_batch(
    tx: Tx,
    *,
    batch: str,
    recipient: int,
    files: Sequence[str],
    sha256: bytes,
    named: Sequence[Named],
    now_us: int,
    due_us: int,
) -> None:
    """Note a batch that is about to be seen, count it, and let what is in it come again at `due_us` only."""
    numbers = [number for number, _ in named]
    at = tx.draw("file_batch")
    tx.insert(
        "file_batch(id, batch, recipient, files, sha256, first, last, written_us, unwanted, named)",
        [
            (at, batch, recipient, json.dumps(files), sha256, min(numbers), max(numbers), now_us, 0, pack(named)),
        ],
    )
    tx.run("UPDATE file_drop SET batches = batches + 1 WHERE agency = ?", (recipient,))
    come_again(tx, recipient, numbers, at_us=due_us)


def batches_written(tx: Tx, recipient: int) -> int:
    row = tx.one("SELECT batches FROM file_drop WHERE agency = ?", (recipient,))
    return int(row[0]) if row else 0


def come_again(tx: Tx, recipient: int, numbers: Sequence[int], *, at_us: int) -> None:
    """Let what was opened under these numbers and is not acknowledged come again then, decided again."""
    for at in range(0, len(numbers), AT_ONCE):
        some = numbers[at : at + AT_ONCE]
        tx.run(
            "UPDATE queue SET due_us = ? WHERE recipient = ? AND state = ? AND delivery IN"
            f" (SELECT delivery FROM handout WHERE recipient = ? AND number IN ({marks(len(some))}))",
            (at_us, recipient, QueueState.OPENED.value, recipient, *some),
        )


def there(tx: Tx, recipient: int) -> list[Batch]:
    """Return the batches whose files are still there, acknowledged or not, oldest first."""
    rows = tx.rows(f"SELECT {HEAD} FROM file_batch WHERE recipient = ? AND gone_us IS NULL ORDER BY id", (recipient,))
    return [_batch(row) for row in rows]


def batch_named(tx: Tx, recipient: int, name: str) -> tuple[Batch, list[Named]] | None:
    """Find a recipient's batch, its files removed or not, and what is in it."""
    row = tx.one(f"SELECT {HEAD}, named FROM file_batch WHERE batch = ? AND recipient = ?", (name, recipient))
    return None if row is None else (_batch(row[:-1]), unpack(row[-1]))


def named_in(tx: Tx, batch: int) -> list[Named]:
    row = tx.one("SELECT named FROM file_batch WHERE id = ?", (batch,))
    return [] if row is None else unpack(row[0])


def all_acknowledged(tx: Tx, batch: Batch) -> bool:
    """Say whether all that is in a batch was acknowledged, by file or otherwise."""
    numbers = [number for number, _ in named_in(tx, batch.id)]
    for at in range(0, len(numbers), AT_ONCE):
        some = numbers[at : at + AT_ONCE]
        if tx.rows(
            "SELECT 1 FROM handout WHERE recipient = ? AND acked_us IS NULL"
            f" AND number IN ({marks(len(some))}) LIMIT 1",
            (batch.recipient, *some),
        ):
            return False
    return True


def note_acknowledged(tx: Tx, batch: Batch, *, now_us: int) -> None:
    """Note that all that is in a batch was acknowledged, if so."""
    if all_acknowledged(tx, batch):
        tx.run("UPDATE file_batch SET acked_us = ? WHERE id = ? AND acked_us IS NULL", (now_us, batch.id))


def any_erased(tx: Tx, persons: Sequence[int]) -> bool:
    for at in range(0, len(persons), AT_ONCE):
        some = persons[at : at + AT_ONCE]
        if tx.rows(
            f"SELECT 1 FROM person WHERE id IN ({marks(len(some))}) AND erased_us IS NOT NULL LIMIT 1", tuple(some)
        ):
            return True
    return False


def note_gone(tx: Tx, batch: Batch, *, now_us: int) -> None:
    """Note that a batch's files are removed; what was not acknowledged comes again at once."""
    tx.run("UPDATE file_batch SET gone_us = ?, unwanted = 0 WHERE id = ?", (now_us, batch.id))
    if batch.acked_us is None:
        come_again(tx, batch.recipient, [number for number, _ in named_in(tx, batch.id)], at_us=now_us)


def unwanted(tx: Tx) -> frozenset[int]:
    """Return the recipients of batches that are to be removed at once."""
    rows = tx.rows("SELECT DISTINCT recipient FROM file_batch WHERE unwanted = 1 AND gone_us IS NULL")
    return frozenset(int(recipient) for (recipient,) in rows)


def forget_before(tx: Tx, recipient: int, before_us: int) -> int:
    """Forget batches whose files were removed before then: nobody acknowledges them any more."""
    return tx.run("DELETE FROM file_batch WHERE recipient = ? AND gone_us < ?", (recipient, before_us))


def known_names(tx: Tx, recipient: int) -> frozenset[str]:
    """Return the names of all batches whose files may be there."""
    return frozenset(
        str(name)
        for (name,) in tx.rows("SELECT batch FROM file_batch WHERE recipient = ? AND gone_us IS NULL", (recipient,))
    )


def numbers_of(tx: Tx, recipient: int, persons: Sequence[int]) -> frozenset[int]:
    """Return the numbers under which anything of these persons was ever opened for a recipient."""
    found: set[int] = set()
    for at in range(0, len(persons), AT_ONCE):
        some = persons[at : at + AT_ONCE]
        rows = tx.rows(
            f"SELECT number FROM handout_person WHERE person IN ({marks(len(some))}) AND recipient = ?",
            (*some, recipient),
        )
        found.update(int(number) for (number,) in rows)
    return frozenset(found)


def last_delivery(tx: Tx) -> int:
    row = tx.one("SELECT coalesce(max(id), 0) FROM delivery")
    assert row is not None
    return int(row[0])


def stopped_since(tx: Tx, recipient: int, delivery: int) -> frozenset[int]:
    """Return the persons about whom a `stop` was queued for a recipient after this delivery."""
    rows = tx.rows(
        "SELECT q.person FROM delivery d JOIN queue q ON q.recipient = d.recipient AND q.delivery = d.id"
        " AND q.state IN (?, ?) WHERE d.id > ? AND d.recipient = ? AND d.kind = ?",
        (QueueState.READY.value, QueueState.OPENED.value, delivery, recipient, DeliveryKind.STOP.value),
    )
    return frozenset(int(person) for (person,) in rows)


def mark_files_of(tx: Tx, person: int) -> int:
    """Mark every batch that holds anything of a person: its files are removed at once. For their erasure's transaction.

    Returns how many. What in them is about others and not acknowledged comes again in later files.
    """
    marked = 0
    rows = tx.rows("SELECT DISTINCT recipient FROM handout_person WHERE person = ?", (person,))
    for (recipient,) in rows:
        numbers = numbers_of(tx, recipient, [person])
        for batch in there(tx, recipient):
            if holds_any(tx, batch, numbers):
                marked += tx.run("UPDATE file_batch SET unwanted = 1 WHERE id = ?", (batch.id,))
    return marked


def holds_any(tx: Tx, batch: Batch, numbers: frozenset[int]) -> bool:
    if not any(batch.first <= number <= batch.last for number in numbers):
        return False
    return any(number in numbers for number, _ in named_in(tx, batch.id))


def pack(named: Sequence[Named]) -> bytes:
    return b"".join([NAMED.pack(*one) for one in named])


def unpack(packed: bytes) -> list[Named]:
    return list(NAMED.iter_unpack(packed))


def _batch(row: Sequence[object]) -> Batch:
    number, name, recipient, files, first, last, written_us, acked_us, unwanted = row
    return Batch._make(
        (number, name, recipient, tuple(json.loads(str(files))), first, last, written_us, acked_us, bool(unwanted))
    )


def _record(tx: Tx, said: dict[str, object], now_us: int, salt: Salt) -> int:
    """Write the act's audit row. It is about an agency and names no person. No decision reads what it changed."""
    return add_act(tx, LeafKind.WAY_OUT, said, at_us=now_us, salt=salt)
