"""The way out as files: one batch after its hand-out's commit, seen whole or not at all.

1. hand out, page by page, and open each page right after its commit     2. data files      3. manifest
4. note the batch, and put off the redelivery of what is in it           5. done-marker: from here on it is there
Each file is written beside its place, made durable and renamed. What is begun and not finished is removed at the next
start, and what was in it comes again as after any hand-out, decided again, under the same ids and numbers.
A person's stop that comes in between keeps the batch back; one that comes later removes it, acknowledged or not, and
what is left of it is decided again.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple

from hub.core.errors import HubError, Kind
from hub.exchange.feed import rfc3339
from hub.exchange.file_forms import DataFile, csv, manifest, ndjson
from hub.exchange.handout import hand_out
from hub.exchange.opening import Leaving, is_fresh, open_all
from hub.exchange.turns import WHOLE, Turn
from hub.exchange.world import World
from hub.failpoints import reach
from hub.identity.keys import Wrapping
from hub.store.deliveries import DeliveryKind
from hub.store.engine import Tx
from hub.store.file_drop import (
    Batch,
    Drop,
    add_batch,
    all_acknowledged,
    any_erased,
    batch_named,
    batches_written,
    come_again,
    forget_before,
    holds_any,
    known_names,
    last_delivery,
    note_acknowledged,
    note_gone,
    numbers_of,
    stopped_since,
    there,
)
from hub.store.leases import LeaseLost
from hub.workers.folders import PART, Place, free_bytes, names, put, remove, settled

US = 1_000_000
COLLECT_S = 1.0  # a batch takes what is handed out within this: its first bytes are written soon after their commit
FRESH_US = 30 * US  # a batch that took longer to write rests on decisions that are too old: it is decided again
LEAST_FREE_BYTES = 64 * 1024 * 1024  # below it nothing is handed out: it could not be written
MANIFEST, DONE = ".manifest.json", ".done"
OURS = re.compile(r"\.?([a-z0-9-]+-\d{10}-\d{8}T\d{6}Z-[0-9a-f]{8})\..+")  # our own files, begun or finished


class Limits(NamedTuple):
    """Knobs of file drop, from the settings."""

    batch_max: int = 5_000
    redeliver_us: int = 24 * 3_600 * US
    keep_us: int = 7 * 86_400 * US
    outstanding: int = 200_000


class Sent(NamedTuple):
    """What one step put out."""

    batch: str
    kinds: Counter[str]
    full: bool  # there is more right now


class Noted(NamedTuple):
    """What is noted of a batch before it is shown."""

    batch: str
    recipient: int
    files: tuple[str, ...]
    digest: bytes
    due_us: int


NOTHING = Sent("", Counter(), full=False)


def for_files(world: World, limits: Limits) -> World:
    """The same world, where as much may be unacknowledged as an agency takes that reads its files once a day."""
    return replace(world, limits=replace(world.limits, outstanding=limits.outstanding))


def write_batch(
    world: World,
    wrapping: Wrapping,
    place: Place,
    drop: Drop,
    agency: str,
    limits: Limits,
    turn: Callable[[], Turn | None] = lambda: WHOLE,
) -> Sent:
    """Put out what may leave now as one batch. `turn` says whether this process still looks after the agency's files.

    Raises HubError: UNAVAILABLE, LeaseLost; then nothing of it is there.
    """
    mine = turn()
    if mine is None:
        return NOTHING
    if free_bytes(place.out) < LEAST_FREE_BYTES:
        raise HubError(
            Kind.UNAVAILABLE,
            "the disk of the agency's folder is full; nothing is handed out to it",
            remedy="Make room; what waits is written then.",
            code="file-drop-full",
        )
    with world.store.read() as tx:
        before, written_so_far = last_delivery(tx), batches_written(tx, drop.agency)
    leaving, more = _collect(for_files(world, limits), wrapping, agency, limits.batch_max, mine)  # 1.
    if not leaving:
        return NOTHING
    began_us = world.clock()
    batch = _name(agency, written_so_far + 1, began_us)
    files = csv(batch, leaving, bom=drop.bom) if drop.format == "csv" else ndjson(batch, leaving)
    written: list[str] = []
    try:
        _write_data(place, files, written)  # 2.
        text = manifest(batch, agency, files, created=rfc3339(began_us))
        written.append(batch + MANIFEST)
        digest = put(place.out, batch + MANIFEST, [text]).digest  # 3.
        reach("files.manifest")
        noted_us = world.clock()
        stale = noted_us - began_us > FRESH_US or _overtaken(world, drop.agency, before, leaving)
        noted = Noted(batch, drop.agency, tuple(written), digest, world.clock() + limits.redeliver_us)
        if stale or not world.store.write(lambda tx: _note(world, tx, noted, leaving, mine)):  # 4.
            _drop(place, written)
            numbers = [one.opened.number for one in leaving]
            world.store.write(lambda tx: come_again(tx, drop.agency, numbers, at_us=world.clock()))
            return NOTHING._replace(full=True)
        if turn() != mine:  # it slept past its time: who took over has cleared this away, and it comes again
            raise LeaseLost
    except BaseException:
        _drop(place, written)
        raise
    if not _show(world, place, drop, batch, noted_us):  # 5.
        return NOTHING._replace(full=True)
    _recall_stopped(world, place, drop, batch, leaving)
    return Sent(batch, Counter(DeliveryKind(one.opened.kind).name.lower() for one in leaving), full=more)


def _note(world: World, tx: Tx, noted: Noted, leaving: Sequence[Leaving], turn: Turn) -> bool:
    """Note a batch; False where somebody in it was erased meanwhile. An erasure after this finds and marks it."""
    turn.check(tx)
    if any_erased(tx, sorted({part.person for one in leaving for part in one.opened.parts})):
        return False
    add_batch(
        tx,
        batch=noted.batch,
        recipient=noted.recipient,
        files=noted.files,
        sha256=noted.digest,
        named=[(one.opened.number, one.opened.public) for one in leaving],
        now_us=world.clock(),
        due_us=noted.due_us,
    )
    return True


def recover(world: World, place: Place, drop: Drop) -> int:
    """Clear away what a process that died had begun; returns how many batches it was. Call it before any is written."""
    present = names(place.out)
    finished = {name.removesuffix(DONE) for name in present if name.endswith(DONE)}
    with world.store.read() as tx:
        known, batches = known_names(tx, drop.agency), there(tx, drop.agency)
    cleared = set()
    for name in present:
        ours = OURS.fullmatch(name)
        if ours and (name.endswith(PART) or ours[1] not in finished or ours[1] not in known):
            remove(place.out, name)
            cleared.add(ours[1])
    for batch in batches:
        if batch.batch not in finished:
            world.store.write(lambda tx, batch=batch: note_gone(tx, batch, now_us=world.clock()))  # type: ignore[misc]  # each its own
            cleared.add(batch.batch)
    return len(cleared)


def keep_house(world: World, place: Place, drop: Drop, limits: Limits) -> int:
    """Remove what nobody needs there any more; returns how many batches.

    What was acknowledged goes after its time; what was not, when it is to come again: it is decided again then. What
    holds anything of somebody who was erased goes at once.
    """
    now_us = world.clock()
    with world.store.read() as tx:
        batches = there(tx, drop.agency)
    gone = 0
    for batch in batches:
        acked_us = batch.acked_us
        if acked_us is None and _is_acknowledged(world, batch):
            world.store.write(lambda tx, one=batch: note_acknowledged(tx, one, now_us=now_us))  # type: ignore[misc]  # each its own
            acked_us = now_us
        over = acked_us + limits.keep_us if acked_us is not None else batch.written_us + limits.redeliver_us
        if batch.unwanted or over <= now_us:
            take_back(world, place, batch)
            gone += 1
    world.store.write(lambda tx: forget_before(tx, drop.agency, now_us - limits.keep_us))
    return gone


def _is_acknowledged(world: World, batch: Batch) -> bool:
    with world.store.read() as tx:
        return all_acknowledged(tx, batch)


def take_back(world: World, place: Place, batch: Batch) -> None:
    """Remove a batch's files, the marker first; what in it was not acknowledged comes again at once."""
    remove(place.out, batch.batch + DONE)
    _drop(place, [*batch.files, batch.batch + MANIFEST])
    world.store.write(lambda tx: note_gone(tx, batch, now_us=world.clock()))


def _collect(world: World, wrapping: Wrapping, agency: str, most: int, turn: Turn) -> tuple[list[Leaving], bool]:
    leaving: list[Leaving] = []
    until_s, more = monotonic() + COLLECT_S, True
    while more and len(leaving) < most and monotonic() < until_s:
        try:
            page = hand_out(world, agency, most - len(leaving), turn)
        except HubError:
            if leaving:  # what has left its queue is written, whatever becomes of the next page
                break
            raise
        leaving += open_all(world, page.opened, wrapping)
        more = page.more and bool(page.opened or page.cancelled or page.held)  # else all of them wait
    return leaving, more


def _write_data(place: Place, files: Sequence[DataFile], written: list[str]) -> None:
    for file in files:
        written.append(file.name)
        put(place.out, file.name, [file.body], settle=False)
    settled(place.out)
    reach("files.written")


def _show(world: World, place: Place, drop: Drop, batch: str, noted_us: int) -> bool:
    """Let the batch be seen, soon after it was noted or not at all: since then somebody in it may have been erased."""
    reach("files.noted")
    try:
        shown = is_fresh(noted_us, world.clock())
        if shown:
            put(place.out, batch + DONE, ())
    except HubError:
        _take_back_named(world, place, drop, batch)
        raise
    if shown:
        reach("files.done")
    else:
        _take_back_named(world, place, drop, batch)
    return shown


def _take_back_named(world: World, place: Place, drop: Drop, batch: str) -> None:
    with world.store.read() as tx:
        found = batch_named(tx, drop.agency, batch)
    if found is not None:
        take_back(world, place, found[0])


def _overtaken(world: World, recipient: int, before: int, leaving: Sequence[Leaving]) -> bool:
    """Say whether anybody in the batch has stopped a release since its first hand-out."""
    with world.store.read() as tx:
        stopped = stopped_since(tx, recipient, before)
    return any(part.person in stopped for one in leaving if _is_data(one) for part in one.opened.parts)


def _recall_stopped(world: World, place: Place, drop: Drop, present: str, leaving: Sequence[Leaving]) -> None:
    """Remove earlier batches, not acknowledged yet, that hold what a stop in this one is about."""
    stops = [one.opened for one in leaving if one.opened.kind == DeliveryKind.STOP]
    if not stops:
        return
    with world.store.read() as tx:
        persons = sorted({part.person for one in stops for part in one.parts})
        numbers = numbers_of(tx, drop.agency, persons) | {one.number for one in stops if not one.parts}
        recalled = [
            batch
            for batch in there(tx, drop.agency)
            if batch.acked_us is None and batch.batch != present and holds_any(tx, batch, numbers)
        ]
    for batch in recalled:
        take_back(world, place, batch)


def _is_data(one: Leaving) -> bool:
    return one.opened.kind not in (DeliveryKind.STOP, DeliveryKind.NOTICE)


def _drop(place: Place, written: Sequence[str]) -> None:
    for name in reversed(written):  # the manifest before what it names
        remove(place.out, name)


def _name(agency: str, place: int, now_us: int) -> str:
    """Name a batch: whose it is, its place in their order, when it was made, and chance against two of a name.

    The place keeps the order of the hand-outs, whatever the clock does: who reads by name reads in order.
    """
    moment = datetime.fromtimestamp(now_us // US, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{agency}-{place:010d}-{moment}-{os.urandom(4).hex()}"
