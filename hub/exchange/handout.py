"""The hand-out: the only exit. What leaves is decided again, in the transaction that opens it. An event's life, part 3.

In one transaction per recipient page:
1. to 3. candidates in order, facts read again under the fence, each decided again (`choose`): release opens, hold
   holds, refusal cancels, wait leaves untouched         4. running numbers, audit row, commit
1. to 3. are done on a snapshot first. They stand in the transaction only where, under the fence, no fact has changed
since and every chosen row is where it was; else they are done again inside it, and everybody else waits.
Then, and only then, payloads are opened and bytes leave. What is not acknowledged comes again and is decided again.
The moment of release is the commit; the bytes of a hand-out that took too long after it are dropped, and come again.
"""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hub.core.errors import HubError, Kind
from hub.core.leaf import NONCE_BYTES, LeafKind, leaf, merkle_root
from hub.exchange.aimed_out import settle_aimed
from hub.exchange.choose import Candidate, Chosen, Judged, choose, gather
from hub.exchange.feed import Opened
from hub.exchange.stopped import leave_stopped
from hub.exchange.turns import WHOLE, Turn
from hub.exchange.world import World
from hub.failpoints import reach
from hub.identity.sealing import SealTo
from hub.identity.stops import stop_opened
from hub.store.audit import AUDIT
from hub.store.deliveries import QUEUE, DeliveryKind, QueueState
from hub.store.engine import Fences, Tx, marks
from hub.store.facts import RECIPIENT_LOCK, of_persons
from hub.store.held import destroy_hold_keys, hold_keys_of, was_held
from hub.store.history import HANDED
from hub.store.overdue import due_of
from hub.store.quarantine import numbers_of, quarantined, refuse_quarantined
from hub.traces import Traces

US_PER_DAY = 86_400_000_000
_CONFIRMED = (DeliveryKind.STOP.value, DeliveryKind.DELETE.value)  # what is to be acknowledged by a due date


class Overtaken(HubError):
    """A row that was chosen is not where it was. The transaction rolls back; nothing is lost."""

    def __init__(self) -> None:
        super().__init__(Kind.CONFLICT, "the queue changed meanwhile", remedy="Pull again.", code="queue-changed")


class Page(NamedTuple):
    """One committed hand-out. Its payloads are still sealed."""

    opened: tuple[Opened, ...]
    more: bool
    cancelled: int
    held: int
    committed_us: int


def hand_out(world: World, agency: str, limit: int, turn: Turn = WHOLE) -> Page:
    """Open up to `limit` deliveries for an agency, in order; in portions, while releases are being stopped.

    A sender that shares its agency with others names its `turn`. Raises HubError: UNAVAILABLE when nothing can be
    decided, or the operator stopped all releases; LeaseLost where it is another's turn now. What one portion opened
    leaves, whatever becomes of the next.
    """
    recipient, limit = world.catalogue.agencies[agency].number, min(limit, world.limits.page)
    whole = _portion(world, recipient, world.way.portion(limit), turn)
    while whole.more and whole.opened and len(whole.opened) < limit:
        try:
            one = _portion(world, recipient, min(limit - len(whole.opened), world.way.portion(limit)), turn)
        except HubError:
            break
        whole = Page(
            whole.opened + one.opened, one.more, whole.cancelled + one.cancelled, whole.held + one.held,
            whole.committed_us,
        )  # fmt: skip
        if not one.opened:
            break
    return whole


def trace_page(traces: Traces, agency: str, page: Page, began_us: int) -> None:
    """Record a hand-out up to its commit, under the ids that its recipient knows the deliveries by."""
    traces.record(
        "handout.page", began_us, page.committed_us, agency=agency, deliveries=[one.public for one in page.opened],
        counts={"handed": len(page.opened), "cancelled": page.cancelled, "held": page.held},
    )  # fmt: skip


def _portion(world: World, recipient: int, limit: int, turn: Turn) -> Page:
    """Open up to `limit` deliveries in one transaction."""
    if world.timely is not None:
        world.timely.require()
    chosen = _choose_with_verdicts(world, recipient, limit, turn)
    if not chosen.candidates:
        return Page((), False, 0, 0, world.clock())
    fences = _fences(recipient, chosen, turn)
    try:
        page = world.store.write(lambda tx: _transaction(world, tx, recipient, limit, chosen, turn), fences=fences)
    except Overtaken:  # another pull of this agency, or an acknowledgement, took some of these meanwhile
        page = world.store.write(lambda tx: _transaction(world, tx, recipient, limit, None, turn))
    reach("handout.committed")
    return page


def _fences(recipient: int, chosen: Chosen, turn: Turn) -> Fences | None:
    """Name what the page relies on: its persons. It changes what is the recipient's own: queue, numbers, hand-outs.

    What an act of a person moves in the queue meanwhile is of somebody it relies on. Corrections, answers and what is
    backfilled change more than the recipient's own: a page with one of those excludes all other writes.
    """
    if any(one.aim is not None or one.candidate.state == QueueState.LATER.value for one in chosen.judged):
        return None
    persons = {part.person for one in chosen.candidates for part in one.parts}
    persons.update(one.person for one in chosen.candidates)
    return Fences([*of_persons(persons), *turn.relies()], [(RECIPIENT_LOCK, recipient)])


def _choose_with_verdicts(world: World, recipient: int, limit: int, turn: Turn) -> Chosen:
    """Choose on a snapshot, after asking for verdicts that nobody had asked for. What waits for one stays untouched."""
    chosen = _choose_outside(world, recipient, limit, turn)
    if not chosen.missing:
        return chosen
    try:
        world.verdicts.ask(chosen.missing)
    except HubError:
        if not any(one.outcome == "release" for one in chosen.judged):
            raise
        return chosen  # what can be decided leaves, whatever the engine says
    return _choose_outside(world, recipient, limit, turn)


def _choose_outside(world: World, recipient: int, limit: int, turn: Turn) -> Chosen:
    with world.store.read() as tx:
        gathered = gather(world, tx, recipient, limit, turn)
    if gathered.facts.rules.quarantined:  # said to who has nothing to get as well; the transaction looks again
        raise quarantined()
    return choose(world, gathered, give_way=world.way.give)


def _transaction(world: World, tx: Tx, recipient: int, limit: int, chosen: Chosen | None, turn: Turn) -> Page:
    """Open what was chosen, where under the fence nothing has changed since; else choose and decide here.

    Raises Overtaken when rows that were chosen outside are not where they were; LeaseLost.
    """
    reach("handout.begun")
    turn.check(tx)
    refuse_quarantined(tx)
    if world.timely is not None:
        world.timely.require_still()
    now_us = world.clock()
    if chosen is None or now_us >= chosen.until_us or not chosen.grounds.hold(tx):
        if not tx.alone:
            raise Overtaken  # what is chosen now may be of others: again, with everybody else excluded
        chosen = choose(world, gather(world, tx, recipient, limit, turn))
    reach("handout.decided")
    if stops := world.stopped():
        chosen = leave_stopped(world, stops, recipient, chosen)
    more = len(chosen.candidates) >= limit
    page = _write(world, tx, recipient, chosen.judged, more, now_us)  # 4.
    reach("handout.before_commit")
    return page


def _write(world: World, tx: Tx, recipient: int, judged: Sequence[Judged], more: bool, now_us: int) -> Page:
    """Number, move in the queue, and write the page's audit row: one row over a root of everything it did."""
    settled = [one for one in judged if one.outcome != "wait"]
    if not settled:
        return Page((), False, 0, 0, now_us)
    row = tx.one("SELECT number FROM recipient_counter WHERE recipient = ?", (recipient,))
    audit, last = tx.draw("audit"), row[0] if row else 0
    opened = [one for one in settled if one.outcome == "release"]
    held = [one for one in settled if one.outcome == "hold"]
    cancelled = [one for one in settled if one.outcome == "refusal"]
    first = [one for one in opened if not one.candidate.number]
    numbers = {one.candidate.delivery: one.candidate.number for one in opened}
    numbers.update({one.candidate.delivery: last + at for at, one in enumerate(first, 1)})
    _leave(tx, recipient, [one.candidate for one in settled])
    due_us = now_us + world.limits.redeliver_us
    rows = [
        (recipient, QueueState.OPENED.value, c.delivery, c.subscription, c.person, numbers[c.delivery], due_us)
        for c in (one.candidate for one in opened)
    ]
    tx.insert(QUEUE, rows + [_held_row(world, tx, recipient, one.candidate) for one in held])
    _note_opened(tx, recipient, opened, first, numbers, audit, now_us)
    if first:
        tx.outside.reserve(numbers_of(recipient), last + len(first))
        tx.run(
            "INSERT INTO recipient_counter(recipient, number) VALUES (?, ?)"
            " ON CONFLICT(recipient) DO UPDATE SET number = excluded.number",
            (recipient, last + len(first)),
        )
    stopped = [one.candidate for one in cancelled if one.candidate.number]
    stop_opened(world.keys, tx, recipient, stopped, audit=audit, now_us=now_us)
    if any(one.aim is not None or one.candidate.state == QueueState.LATER.value for one in settled):
        settle_aimed(world, tx, recipient, settled, audit=audit, now_us=now_us)
    destroy_hold_keys(tx, [one.candidate.delivery for one in cancelled if was_held(one.candidate.parts)])
    due = due_of(tx, [one.candidate.delivery for one in opened if one.candidate.kind in _CONFIRMED])
    keys = hold_keys_of(tx, [one.candidate.delivery for one in opened if was_held(one.candidate.parts)])
    seal_to = world.seal_to(recipient)
    _audit(tx, audit, settled, numbers, now_us)
    leaving = tuple(
        [
            _opened(
                world, one, numbers[one.candidate.delivery], keys.get(one.candidate.delivery, ()),
                due.get(one.candidate.delivery, 0), seal_to,
            )
            for one in opened
        ]
    )  # fmt: skip
    return Page(leaving, more, len(cancelled), len(held), now_us)


def _note_opened(
    tx: Tx,
    recipient: int,
    opened: Sequence[Judged],
    first: Sequence[Judged],
    numbers: Mapping[int, int],
    audit: int,
    now_us: int,
) -> None:
    """Note under which number each delivery was opened, and whose parts it held under which stretch of consent."""
    tx.insert(
        "handout(recipient, number, delivery, opened_us, ended)",
        [(recipient, numbers[one.candidate.delivery], one.candidate.delivery, now_us, 0) for one in first],
    )
    tx.insert(
        "handout_person(person, recipient, number, stretch, audit)",
        sorted(
            (part.person, recipient, numbers[one.candidate.delivery], stretch, audit)
            for one in opened
            for part, fields, stretch in zip(one.candidate.parts, one.fields, one.stretches, strict=False)
            if fields  # a stop or a notice has no stretches: it released nothing
        ),
        or_ignore=True,
    )


def _leave(tx: Tx, recipient: int, rows: Sequence[Candidate]) -> None:
    """Take rows out of the states they were chosen in. Fewer than chosen means somebody settled one meanwhile."""
    for state in (QueueState.READY.value, QueueState.OPENED.value, QueueState.LATER.value):
        ids = [row.delivery for row in rows if row.state == state]
        if ids:
            gone = tx.run(
                f"DELETE FROM queue WHERE recipient = ? AND state = ? AND delivery IN ({marks(len(ids))})",
                (recipient, state, *ids),
            )
            if gone != len(ids):
                raise Overtaken


def _held_row(world: World, tx: Tx, recipient: int, row: Candidate) -> tuple[int, ...]:
    """Hold a delivery until its look-back is over, counted from its first decision: pausing again prolongs nothing."""
    decided = tx.one("SELECT a.at_us FROM delivery d JOIN audit a ON a.id = d.audit WHERE d.id = ?", (row.delivery,))
    assert decided is not None
    days = world.catalogue.subscriptions[row.subscription].agreement.look_back_days
    return (
        recipient,
        QueueState.HELD.value,
        row.delivery,
        row.subscription,
        row.person,
        row.number,
        decided[0] + days * US_PER_DAY,
    )


def _audit(tx: Tx, audit: int, settled: Sequence[Judged], numbers: Mapping[int, int], now_us: int) -> None:
    """Write one row for the page: a commitment to the RFC 6962 root of its entries, each salted by its own name."""
    nonce = os.urandom(NONCE_BYTES)
    entries, detail = [], []
    for one in settled:
        number = numbers.get(one.candidate.delivery, one.candidate.number)
        entries.append(nonce + one.candidate.public + number.to_bytes(8) + one.body[1])
        stretch = one.stretches[0] if one.stretches else 0
        detail.append(HANDED.pack(one.candidate.delivery, number, one.body[0], stretch))
    row_leaf = leaf(LeafKind.HANDOUT, at_us=now_us, nonce=nonce, commitments=[merkle_root(entries)])
    tx.insert(
        AUDIT,
        [(audit, LeafKind.HANDOUT.value, now_us, row_leaf, b"", b"".join(detail))],
    )
    bodies = dict([one.body for one in settled])
    tx.insert(
        "interned(id, body)", [(number, body.decode()) for number, body in sorted(bodies.items())], or_ignore=True
    )


def _opened(
    world: World, one: Judged, number: int, hold_keys: Sequence[bytes], due_us: int, seal_to: SealTo | None
) -> Opened:
    row = one.candidate
    subscription = world.catalogue.subscriptions.get(row.subscription)
    return Opened(
        row.public, row.kind, number, subscription, row.version, row.time_us, row.parts, one.fields, row.payload,
        hold_keys, one.aim.of if one.aim is not None else b"", due_us, row.person, seal_to,
    )  # fmt: skip
