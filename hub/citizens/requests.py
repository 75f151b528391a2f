"""Put a question into a person's inbox: an agency asks, once, and waits for the answer."""

from consent.chain import By, Capacity
from consent.errors import ConsentError
from consent.record import Record, request, state_at
from consent.states import RUNNING, State
from hub.citizens.desk import (
    US_PER_DAY,
    CitizenDesk,
    act_detail,
    is_there,
    lines_of,
    new_public,
    project,
    record_of,
    refused,
    save_step,
    terms_of,
)
from hub.core.agreement import Catalogue, Purpose
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.identity.acts import write_audit
from hub.identity.keys import OpenKey
from hub.identity.people import person_of
from hub.store.consents import ConsentRow, consents_of, latest_stretch, next_number
from hub.store.engine import Tx

ANSWER_DAYS = 30  # a request that nobody answers lapses after this
REFUSED_REST_DAYS = 30  # after a no, the same question is not put again for this long


def ask(desk: CitizenDesk, agency: str, *, subject: str, purpose: str, deadline_us: int | None = None) -> str:
    """Put a question into a person's inbox; returns the request's public id.

    `subject` is the agency's own local id. Raises HubError: NOT_FOUND where nobody is linked to the agency under it or
    it has no agreement; INVALID for a deadline not within 30 days; CONFLICT where one is open, running, or was refused
    within the last 30 days.
    """
    wanted = purpose_asked(desk.catalogue, agency, purpose)
    recipient = desk.catalogue.agencies[agency].number

    def transaction(tx: Tx) -> str:
        person = person_of(tx, desk.keys, agency, subject)
        there = person is not None and is_there(desk, tx, person)
        key = desk.open_keys.of([person]).get(person) if person is not None and there else None
        if person is None or key is None:
            raise HubError(
                Kind.NOT_FOUND,
                "nobody is linked to you under this id",
                where="/subject",
                remedy="Use your own id of the person; the register links it.",
                code="subject-unknown",
            )
        now_us = desk.clock()
        _check_may_ask(tx, key, person, recipient, wanted.number, now_us)
        record, event = request(
            record_id=new_public(),
            person=person,
            terms=terms_of(desk.catalogue, agency, wanted),
            deadline_us=_deadline(deadline_us, now_us),
            stretch_before=latest_stretch(tx, person, recipient, wanted.number),
            by=By(person, recipient, Capacity.AGENCY, 0, ""),
            at_us=now_us,
        )
        row = save_step(tx, key, first_row(tx, record, recipient, wanted.number), record, (event,))
        project(tx, row, record)  # nothing of this matter runs, so the question is what stands now
        write_audit(tx, key, person, LeafKind.CONSENT, act_detail(record, "request"), at_us=now_us)
        return record.id

    try:
        return desk.store.write(transaction)
    except ConsentError as error:
        raise refused(error) from error


def purpose_asked(catalogue: Catalogue, recipient: str, code: str) -> Purpose:
    """Find a purpose that needs consent and that this recipient has an agreement for."""
    purpose = catalogue.purposes.get(code)
    if purpose is None or not lines_of(catalogue, recipient, code):
        raise HubError(
            Kind.NOT_FOUND,
            "there is no agreement of this recipient for a purpose of this name",
            where="/purpose",
            remedy="An agency sees its agreements in GET /v1/agency.",
            code="purpose-unknown",
        )
    if not purpose.basis.needs_consent:
        raise HubError(
            Kind.INVALID,
            f"{code} rests on {purpose.basis.value}; nobody is asked for consent to it",
            where="/purpose",
            remedy="Ask only where there is a choice.",
            code="purpose-not-asked",
        )
    return purpose


def first_row(tx: Tx, record: Record, recipient: int, purpose: int) -> ConsentRow:
    """Make the row of a record that has none yet."""
    return ConsentRow(
        next_number(tx),
        record.id,
        record.person,
        recipient,
        purpose,
        record.stretch,
        record.state.value,
        record.at_us,
        0,
        b"",
        None,
    )


def _deadline(wanted_us: int | None, now_us: int) -> int:
    latest_us = now_us + ANSWER_DAYS * US_PER_DAY
    if wanted_us is None:
        return latest_us
    if not now_us < wanted_us <= latest_us:
        raise HubError(
            Kind.INVALID,
            f"a deadline lies ahead, by {ANSWER_DAYS} days at most",
            where="/deadline",
            remedy="Leave it out for the longest.",
            code="request-deadline",
        )
    return wanted_us


def _check_may_ask(tx: Tx, key: OpenKey, person: int, recipient: int, purpose: int, now_us: int) -> None:
    """One open request per purpose and person, none where consent runs, none for 30 days after a no."""
    for row in reversed(consents_of(tx, person)):
        if (row.recipient, row.purpose) != (recipient, purpose):
            continue
        record = record_of(tx, key, row)
        state = state_at(record, now_us)
        if state is State.REQUESTED or state in RUNNING:
            raise HubError(
                Kind.CONFLICT,
                "this person has been asked already, or has said yes",
                remedy="Wait for the answer; a running consent needs no second question.",
                code="request-open",
            )
        if state is State.REFUSED and now_us - record.ended_us < REFUSED_REST_DAYS * US_PER_DAY:
            raise HubError(
                Kind.CONFLICT,
                f"this person said no; the question rests for {REFUSED_REST_DAYS} days",
                remedy="Serve them without it, at the counter.",
                code="request-rests",
            )
