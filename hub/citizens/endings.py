"""What time alone ends of consents: one past its end has expired, a question past its deadline has lapsed.

Decisions know it at the instant, from the row they read (hub/exchange/standing.py), so writing it down changes none.
Here it becomes the record's own last event, some at a time, so that its history and its log say it too. The event is
of the instant at which the time was over: it says when, however late it is written, and so does the person's receipt.
The audit row is of the moment of writing, as every row of the log is.
"""

from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from consent.chain import By, Capacity
from consent.errors import ConsentError
from consent.record import Record, due_us, expire, lapse, state_at
from consent.states import State
from hub.citizens.desk import US_PER_DAY, CitizenDesk, act_detail, project, record_of, save_step
from hub.citizens.receipts import issue
from hub.core.leaf import LeafKind
from hub.identity.acts import write_audit
from hub.identity.keys import OpenKey
from hub.store.consents import ConsentRow, choice_of, consents_due, save_consent
from hub.store.engine import Tx

AT_ONCE = 20  # records of one transaction: a withdrawal waits for some milliseconds at most
BROKEN_REST_US = US_PER_DAY  # a record that does not hold is left to an operator, and told again after this


class Ended(NamedTuple):
    """What one transaction did: how many records it looked at, and how many of them do not hold."""

    seen: int
    broken: int


def end_overdue(desk: CitizenDesk) -> Ended:
    """Write down the end of up to `AT_ONCE` consents and questions whose time is over."""
    now_us = desk.clock()
    with desk.store.read() as tx:
        if not consents_due(tx, now_us, 1):
            return Ended(0, 0)
    return desk.store.write(lambda tx: _end_overdue(desk, tx, now_us))


def _end_overdue(desk: CitizenDesk, tx: Tx, now_us: int) -> Ended:
    rows = consents_due(tx, now_us, AT_ONCE)
    keys = desk.open_keys.of(sorted({row.person for row, erased in rows if not erased}))
    broken = 0
    for row, erased in rows:
        if erased:  # nothing can be written for them any more, nor need be
            save_consent(tx, row._replace(due_us=None))
            continue
        try:
            _end(desk, tx, keys[row.person], row, now_us)
        except (ConsentError, InvalidTag):  # raised before anything is written; the others are not to wait for it
            save_consent(tx, row._replace(due_us=now_us + BROKEN_REST_US))
            broken += 1
    return Ended(len(rows), broken)


def _end(desk: CitizenDesk, tx: Tx, key: OpenKey, row: ConsentRow, now_us: int) -> None:
    record = record_of(tx, key, row)
    state, over_us = state_at(record, now_us), due_us(record)
    if state is record.state or over_us is None:  # an older store did not note when; now this one does
        row = row._replace(due_us=over_us)
        save_consent(tx, row)
        _project(tx, row, record)
        return
    end, act = (lapse, "lapse") if state is State.LAPSED else (expire, "expire")
    ended, event = end(record, by=By(row.person, 0, Capacity.SYSTEM, 0, ""), at_us=over_us)
    row = save_step(tx, key, row, ended, (event,))
    issue(desk, tx, key, row, ended, act, moment_us=event.said.at_us)
    _project(tx, row, ended)
    write_audit(tx, key, row.person, LeafKind.CONSENT, act_detail(ended, act, ended_us=over_us), at_us=now_us)


def _project(tx: Tx, row: ConsentRow, record: Record) -> None:
    """Bring the choice up to date, unless a later record says what it is: then this one's end changes nothing."""
    choice = choice_of(tx, person=row.person, recipient=row.recipient, purpose=row.purpose)
    if choice is not None and choice.consent == row.number:
        project(tx, row, record)
