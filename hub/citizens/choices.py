"""A consent's life, top to bottom: asked, then given or refused; narrowed, paused and resumed; withdrawn (withdraw.py).

Each act is one transaction: the record's next event, what decisions read of it, the person's fence, the audit row and
the receipt stand or fall together.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from consent.chain import By, Capacity, Event
from consent.errors import ConsentError
from consent.notice import Notice
from consent.receipt import Receipt
from consent.record import Record, give, give_unasked, narrow, pause, refuse, request, resume, state_at
from consent.states import RUNNING, State
from consent.terms import Pair, Terms
from hub.citizens.desk import (
    US_PER_DAY,
    CitizenDesk,
    is_open,
    key_of,
    new_public,
    own_consent,
    project,
    purpose_asked,
    record_of,
    refused,
    save_step,
    terms_of,
    write_audit,
)
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.identity.keys import OpenKey, seal_with
from hub.identity.people import person_of
from hub.identity.principal import Principal, by
from hub.store.consents import ConsentRow, add_receipt, consents_of, latest_stretch, next_number
from hub.store.deliveries import QueueState, unpack_parts
from hub.store.engine import Lane, Tx, marks

ANSWER_DAYS = 30  # a request that nobody answers lapses after this
REFUSED_REST_DAYS = 30  # after a no, the same question is not put again for this long


class Done(NamedTuple):
    """An act as it was committed, and the receipt for it."""

    consent: str
    state: str
    receipt: Receipt


def ask(desk: CitizenDesk, agency: str, *, subject: str, purpose: str) -> str:
    """Put a question into a person's inbox; returns the request's public id.

    `subject` is the agency's own local id. Raises HubError: NOT_FOUND where the agency has linked nobody under it or has
    no agreement; CONFLICT where one is open, running, or was refused within the last 30 days.
    """
    wanted = purpose_asked(desk.catalogue, agency, purpose)
    recipient = desk.catalogue.agencies[agency].number

    def transaction(tx: Tx) -> str:
        person = person_of(tx, desk.keys, agency, subject)
        if person is None:
            raise HubError(
                Kind.NOT_FOUND,
                "nobody is linked to you under this id",
                where="/subject",
                remedy="Use your own id of the person; the register links it.",
                code="subject-unknown",
            )
        now_us, key = desk.clock(), key_of(desk, person)
        _check_may_ask(tx, key, person, recipient, wanted.number, now_us)
        public = new_public()
        record, event = request(
            record_id=public,
            person=person,
            terms=terms_of(desk.catalogue, agency, wanted),
            deadline_us=now_us + ANSWER_DAYS * US_PER_DAY,
            stretch_before=latest_stretch(tx, person, recipient, wanted.number),
            by=By(person, recipient, Capacity.AGENCY, 0, ""),
            at_us=now_us,
        )
        row = _first_row(tx, record, person, recipient, wanted.number, now_us)
        row = save_step(tx, key, row, record, (event,))
        if _running(tx, key, row, now_us) is None:
            project(tx, desk.catalogue, row, record)
        write_audit(tx, key, person, LeafKind.CONSENT, _detail(row, record, "request", agency, purpose), at_us=now_us)
        return public

    return desk.store.write(transaction)


def grant(
    desk: CitizenDesk,
    principal: Principal,
    public: str,
    *,
    items: Collection[Pair] | None,
    until_us: int | None,
    notice: Notice,
) -> Done:
    """Say yes to a request, to all of it or to `items`. Held deliveries of it become ready, in order, with it."""

    def step(tx: Tx, key: OpenKey, row: ConsentRow, record: Record) -> tuple[Record, Event]:
        now_us = desk.clock()
        before = _running(tx, key, row, now_us)
        return give(
            record,
            items=record.terms.pairs if items is None else items,
            until_us=now_us + record.terms.duration_us if until_us is None else until_us,
            notice=notice,
            by=by(principal),
            at_us=now_us,
            continues=before,
        )

    return _act(desk, principal, public, "grant", step, after=_release_held)


def grant_unasked(
    desk: CitizenDesk,
    principal: Principal,
    *,
    recipient: str,
    purpose: str,
    items: Collection[Pair] | None,
    notice: Notice,
) -> Done:
    """Say yes of one's own accord, without having been asked."""
    wanted = purpose_asked(desk.catalogue, recipient, purpose)
    number = desk.catalogue.agencies[recipient].number
    terms: Terms = terms_of(desk.catalogue, recipient, wanted)

    def transaction(tx: Tx) -> Done:
        now_us, key = desk.clock(), key_of(desk, principal.person)
        public = new_public()
        record, events = give_unasked(
            record_id=public,
            person=principal.person,
            terms=terms,
            items=terms.pairs if items is None else items,
            until_us=now_us + terms.duration_us,
            notice=notice,
            stretch_before=latest_stretch(tx, principal.person, number, wanted.number),
            by=by(principal),
            at_us=now_us,
        )
        row = _first_row(tx, record, principal.person, number, wanted.number, now_us)
        return _finish(desk, tx, key, row, record, events, "grant", after=_release_held)

    return _shaped(lambda: desk.store.write(transaction))


def say_no(desk: CitizenDesk, principal: Principal, public: str) -> Done:
    """Refuse a request."""
    return _act(
        desk, principal, public, "refuse", lambda tx, key, row, r: refuse(r, by=by(principal), at_us=desk.clock())
    )


def pause_it(desk: CitizenDesk, principal: Principal, public: str) -> Done:
    """Pause: nothing new is released, the stretch goes on. Holds the barrier like a withdrawal."""
    return _act(
        desk,
        principal,
        public,
        "pause",
        lambda tx, key, row, r: pause(r, by=by(principal), at_us=desk.clock()),
        lane=Lane.URGENT,
    )


def resume_it(desk: CitizenDesk, principal: Principal, public: str) -> Done:
    """Go on after a pause; what was held in between becomes ready, in order."""
    return _act(
        desk, principal, public, "resume", lambda tx, key, row, r: resume(r, by=by(principal), at_us=desk.clock()),
        after=_release_held,
    )  # fmt: skip


def narrow_it(desk: CitizenDesk, principal: Principal, public: str, *, items: Collection[Pair]) -> Done:
    """Take fields back; the stretch goes on. Holds the barrier for the fields that are gone."""
    return _act(
        desk, principal, public, "narrow",
        lambda tx, key, row, r: narrow(r, items=items, by=by(principal), at_us=desk.clock()), lane=Lane.URGENT,
    )  # fmt: skip


Step = Callable[[Tx, OpenKey, ConsentRow, Record], tuple[Record, Event]]
After = Callable[[CitizenDesk, Tx, ConsentRow, Record], None]


def _nothing(desk: CitizenDesk, tx: Tx, row: ConsentRow, record: Record) -> None:
    """Most acts change nothing in the queues: the hand-out decides again."""


def _act(
    desk: CitizenDesk,
    principal: Principal,
    public: str,
    kind: str,
    step: Step,
    *,
    after: After = _nothing,
    lane: Lane = Lane.ORDINARY,
) -> Done:
    """Run one act on one's own record in one transaction."""

    def transaction(tx: Tx) -> Done:
        row = own_consent(tx, public, principal.person)
        key = key_of(desk, principal.person)
        record, event = step(tx, key, row, record_of(tx, key, row))
        return _finish(desk, tx, key, row, record, (event,), kind, after=after)

    return _shaped(lambda: desk.store.write(transaction, lane=lane))


def _finish(
    desk: CitizenDesk,
    tx: Tx,
    key: OpenKey,
    row: ConsentRow,
    record: Record,
    events: Sequence[Event],
    kind: str,
    *,
    after: After,
) -> Done:
    row = save_step(tx, key, row, record, tuple(events))
    project(tx, desk.catalogue, row, record)
    after(desk, tx, row, record)
    moment_us = events[-1].said.at_us
    receipt = Receipt(new_public(), record.id, kind, record.state, record.stretch, moment_us, record.head)
    keep_receipt(tx, key, row, receipt)
    agency, purpose = record.terms.recipient, record.terms.purpose
    write_audit(tx, key, row.person, LeafKind.CONSENT, _detail(row, record, kind, agency, purpose), at_us=moment_us)
    return Done(record.id, record.state.value, receipt)


def keep_receipt(tx: Tx, key: OpenKey, row: ConsentRow, receipt: Receipt) -> None:
    """Keep a receipt as its bytes, sealed for the person: asked again, it is the same."""
    sealed = seal_with(key, receipt.canonical, b"receipt" + receipt.id.encode())
    add_receipt(
        tx,
        receipt=receipt.id,
        consent=row.number,
        kind=receipt.action,
        at_us=receipt.moment_us,
        person=row.person,
        sealed=sealed,
    )


def _release_held(desk: CitizenDesk, tx: Tx, row: ConsentRow, record: Record) -> None:
    """Move what was held for this consent to ready, in the same transaction: it goes ahead of anything newer."""
    agency, purpose = record.terms.recipient, record.terms.purpose
    lines = [
        one.number
        for one in desk.catalogue.subscriptions.values()
        if one.recipient == agency and one.purpose.code == purpose
    ]
    held = tx.rows(
        "SELECT q.delivery, d.parts FROM queue q JOIN delivery d ON d.id = q.delivery"
        f" WHERE q.recipient = ? AND q.state = ? AND q.subscription IN ({marks(len(lines))})",
        (row.recipient, QueueState.HELD.value, *lines),
    )
    theirs = [delivery for delivery, parts in held if any(part.person == row.person for part in unpack_parts(parts))]
    if theirs:
        tx.run(
            f"UPDATE queue SET state = ?, due_us = 0 WHERE recipient = ? AND state = ? AND delivery IN ({marks(len(theirs))})",
            (QueueState.READY.value, row.recipient, QueueState.HELD.value, *theirs),
        )
        desk.ring(row.recipient)


def _check_may_ask(tx: Tx, key: OpenKey, person: int, recipient: int, purpose: int, now_us: int) -> None:
    """One open request per purpose and person, none where consent runs, none for 30 days after a no."""
    for row in reversed(consents_of(tx, person)):
        if (row.recipient, row.purpose) != (recipient, purpose):
            continue
        state = state_at(record_of(tx, key, row), now_us)
        if is_open(state.value) or state in RUNNING:
            raise HubError(
                Kind.CONFLICT,
                "this person has been asked already, or has said yes",
                remedy="Wait for the answer; a running consent needs no second question.",
                code="request-open",
            )
        if state is State.REFUSED and now_us - row.requested_us < REFUSED_REST_DAYS * US_PER_DAY:
            raise HubError(
                Kind.CONFLICT,
                f"this person said no; the question rests for {REFUSED_REST_DAYS} days",
                remedy="Serve them without it, at the counter.",
                code="request-rests",
            )


def _running(tx: Tx, key: OpenKey, row: ConsentRow, now_us: int) -> Record | None:
    """Return another consent of the same matter that runs now."""
    for other in reversed(consents_of(tx, row.person)):
        if other.number != row.number and (other.recipient, other.purpose) == (row.recipient, row.purpose):
            record = record_of(tx, key, other)
            if state_at(record, now_us) in RUNNING:
                return record
    return None


def _first_row(tx: Tx, record: Record, person: int, recipient: int, purpose: int, now_us: int) -> ConsentRow:
    return ConsentRow(
        next_number(tx), record.id, person, recipient, purpose, record.stretch, record.state.value, now_us, 0, b""
    )


def _detail(row: ConsentRow, record: Record, act: str, agency: str, purpose: str) -> dict[str, object]:
    return {
        "act": act,
        "consent": row.public,
        "event": record.head.hex(),
        "fields": [f"{dataset}/{name}" for dataset, name in sorted(record.items)],
        "purpose": purpose,
        "recipient": agency,
        "state": record.state.value,
        "stretch": record.stretch,
    }


def _shaped(run: Callable[[], Done]) -> Done:
    try:
        return run()
    except ConsentError as error:
        raise refused(error) from error
