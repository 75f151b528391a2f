"""What is left of an erasure after the key is gone: in small pieces, each its own transaction, resumed after a crash.

1. each recipient that was handed data gets a `delete` that names its deliveries, under a new number, with a due date
2. events that wait for somebody else and name the person are written anew without them     3. the log is cut
Then it rests until nothing that was published before can be opened, and does 2. and 3. once more: an event that lay on
the bus may have begun to wait meanwhile. Whoever erases does this at once; the retention worker does what is left.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from hub.core.leaf import canonical
from hub.core.minimise import mentions, without_person
from hub.exchange.world import World, dumps
from hub.failpoints import reach
from hub.identity.keys import keyed, seal, unseal, waiting_place
from hub.identity.people import local_of
from hub.store.deliveries import DeliveryKind, NewDelivery, put_ready, unpack_parts
from hub.store.engine import Tx, marks
from hub.store.erasures import ErasureRow, Stage, count_told, erasure_of, move_on, open_erasures
from hub.store.history import deliveries_at, details_at, handed_as
from hub.store.overdue import set_due
from hub.store.waiting import keys_of
from hub.store.wal import overwriting, truncate_wal

PIECE = 200  # deliveries that one `delete` names, and waiting events of one look: a withdrawal waits a few ms at most
AT_ONCE = 50  # erasures of one round

PATIENCE_S = 3.0  # that whoever erases waits for readers to leave the log

Pause = Callable[[float], object]


def go_on(world: World, person: int, *, pause: Pause) -> None:
    """Do what can be done now of one erasure."""
    while True:
        with world.store.read() as tx:
            row = erasure_of(tx, person)
        if row is None or row.stage in (Stage.DONE, Stage.REST) or not _piece(world, row, pause, PATIENCE_S):
            return


def finish_erasures(world: World) -> int:
    """Do one piece of each erasure that has something left; returns how many pieces were done."""
    with world.store.read() as tx:
        rows = open_erasures(tx, world.clock(), AT_ONCE)
    return sum(_piece(world, row, _no_pause, 0.0) for row in rows)


def _piece(world: World, row: ErasureRow, pause: Pause, patience_s: float) -> bool:
    """Do one piece; False where it has to wait for something."""
    stage = Stage(row.stage)
    if stage == Stage.TELL:
        world.store.write(lambda tx: _tell(world, tx, row.person))
        reach("erase.told")
    elif stage in (Stage.WAITING, Stage.WAITING_AGAIN):
        _forget_in_waiting(world, row)
    elif stage in (Stage.LOG, Stage.LOG_AGAIN):
        if not truncate_wal(world.store, pause=pause, patience_s=patience_s):
            return False
        _move(world, row, Stage.REST if stage == Stage.LOG else Stage.DONE)
    elif stage == Stage.REST and world.clock() >= row.bus_until_us:
        _move(world, row, Stage.WAITING_AGAIN)
    else:
        return False
    return True


def _no_pause(_seconds: float) -> None:
    """Do not wait: the next round tries again."""


def _move(world: World, row: ErasureRow, stage: Stage) -> None:
    def transaction(tx: Tx) -> None:
        now = erasure_of(tx, row.person)
        if now is not None and now.stage == row.stage:  # else somebody else was here first
            move_on(tx, now._replace(stage=stage.value, scanned=0))

    world.store.write(transaction)


class _Handed(NamedTuple):
    """One delivery that a recipient has: its name, and of a shared one the fields that were the person's."""

    public: bytes
    fields: tuple[str, ...]  # empty: all of it


def _tell(world: World, tx: Tx, person: int) -> None:
    """1.: tell the next recipient of up to `PIECE` deliveries."""
    row = erasure_of(tx, person)
    if row is None or row.stage != Stage.TELL:
        return
    found = tx.rows(
        "SELECT p.recipient, p.number, min(p.audit), h.delivery, h.ended FROM handout_person p"
        " JOIN handout h ON h.recipient = p.recipient AND h.number = p.number"
        " WHERE p.person = ? AND (p.recipient, p.number) > (?, ?) GROUP BY p.recipient, p.number, h.delivery, h.ended"
        " ORDER BY p.recipient, p.number LIMIT ?",
        (person, row.recipient, row.number, PIECE),
    )
    theirs = [one for one in found if one[0] == found[0][0]]
    if not theirs:
        move_on(tx, row._replace(stage=Stage.WAITING.value))
        return
    recipient, last = theirs[0][0], theirs[-1][1]
    _queue_delete(world, tx, row, recipient, theirs[0][1], _handed(world, tx, person, theirs))
    count_told(tx, person, recipient, len(theirs))
    move_on(tx, row._replace(recipient=recipient, number=last))


def _handed(world: World, tx: Tx, person: int, rows: Sequence[tuple[Any, ...]]) -> list[_Handed]:
    """Name what each number was first given to: a stop may have taken it over since."""
    pages = details_at(tx, sorted({audit for _, _, audit, _, ended in rows if ended}))
    first = [handed_as(pages[audit], number)[0] if ended else at for _, number, audit, at, ended in rows]
    heads = deliveries_at(tx, sorted(set(first)))
    parts = {at: unpack_parts(head.parts) for at, head in heads.items()}
    shapes = world.shapes.of(tx, {part.shape for some in parts.values() for part in some})
    found = []
    for at in first:
        own: set[str] = set()
        if any(part.person != person for part in parts[at]):
            own.update(*(shapes[part.shape][1] for part in parts[at] if part.person == person))
        found.append(_Handed(heads[at].public, tuple(sorted(own))))
    return found


def _queue_delete(world: World, tx: Tx, row: ErasureRow, recipient: int, first: int, handed: Iterable[_Handed]) -> None:
    """Queue a `delete`. It names deliveries and fields, and nobody; it is no data, so nothing holds it back."""
    says: dict[str, Any] = {"deletes": [one.public.hex() for one in handed if not one.fields]}
    if partly := {one.public.hex(): list(one.fields) for one in handed if one.fields}:
        says["fields"] = partly
    public = keyed(world.keys.delivery, "delete", str(row.person), str(recipient), str(first))
    sealed = world.keys.wrapping.seal(canonical(says), public)
    new = NewDelivery(public, DeliveryKind.DELETE, recipient, row.audit, world.clock(), sealed)
    set_due(tx, [put_ready(tx, new)], row.due_us)


def _forget_in_waiting(world: World, row: ErasureRow) -> None:
    """2.: look through the next waiting events of the publishers that know the person."""
    with world.store.read() as tx:
        links = tx.rows("SELECT local, agency FROM link WHERE person = ? AND until_us IS NULL", (row.person,))
        agencies = sorted({agency for _, agency in links})
        rows = tx.rows(
            "SELECT id, publisher, dataset, subject, sealed FROM waiting"
            f" WHERE id > ? AND publisher IN ({marks(len(agencies))}) ORDER BY id LIMIT ?",
            (row.scanned, *agencies, PIECE),
        )
        keys = keys_of(tx, list({one[3] for one in rows}))
    locals_ = {bytes(local) for local, _ in links}
    changed = [new for one in rows if (new := _without(world, one, keys, locals_)) is not None]

    def transaction(tx: Tx) -> None:
        now = erasure_of(tx, row.person)
        if now is None or (now.stage, now.scanned) != (row.stage, row.scanned):
            return
        with overwriting(tx):
            for at, before, after in changed:
                tx.run("UPDATE waiting SET sealed = ? WHERE id = ? AND sealed = ?", (after, at, before))
        following = Stage.LOG if row.stage == Stage.WAITING else Stage.LOG_AGAIN
        done = len(rows) < PIECE
        move_on(tx, now._replace(scanned=rows[-1][0]) if not done else now._replace(stage=following.value))

    world.store.write(transaction)


def _without(
    world: World, row: tuple[Any, ...], keys: Mapping[bytes, bytes], locals_: set[bytes]
) -> tuple[int, bytes, bytes] | None:
    """Write a waiting event anew without the person; None where it does not name them."""
    at, publisher, dataset, subject, sealed = row
    codes = {agency.number: agency.code for agency in world.catalogue.agencies.values()}
    names = {one.number: one.name for one in world.datasets.values()}
    if publisher not in codes or dataset not in names:
        return None  # it is not decided under this catalogue either
    key = world.keys.wrapping.unseal(keys[subject], waiting_place(subject))
    said = orjson.loads(unseal(key, sealed, subject))
    form = world.datasets.get((names[dataset], said[2]))
    if form is None:
        return None
    gone = [
        one
        for one in mentions(form, said[3], said[5])[1:]  # as its subject they would have had no event left
        if local_of(world.keys, codes[publisher], one.local_id) in locals_
    ]
    if not gone:
        return None
    for one in gone:
        said[5] = without_person(form, said[5], one)
    return at, sealed, seal(key, dumps(said), subject)
