"""A made-up person, the kindergarten's question, and a consent in every state there is. Plain values, no fixtures."""

from collections.abc import Callable
from typing import NamedTuple

from consent.chain import By, Capacity, Event
from consent.notice import Notice, shown
from consent.record import (
    Record,
    expire,
    extend,
    give,
    give_unasked,
    invalidate,
    lapse,
    narrow,
    pause,
    refuse,
    renew,
    request,
    resume,
    supersede,
    terminate,
    withdraw,
)
from consent.states import Action, State
from consent.terms import Item, Pair, Terms

DAY_US = 86_400_000_000
NOON_US = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z
PERSON, PARENT, MUNICIPALITY = 7_000_000_000_000_000_001, 7_000_000_000_000_000_002, 4

SELF = By(PERSON, PERSON, Capacity.SELF, 2, "session-1")
GUARDIAN = By(PERSON, PARENT, Capacity.GUARDIAN, 2, "session-2")
AGENCY = By(PERSON, MUNICIPALITY, Capacity.AGENCY, 0, "")
SYSTEM = By(PERSON, 0, Capacity.SYSTEM, 0, "")

DOB_MONTH: Pair = ("civil.birth.registered", "dob_month")
SEX: Pair = ("civil.birth.registered", "sex")
MUNICIPALITY_CODE: Pair = ("pop.residence", "municipality_code")

TERMS = Terms(
    recipient="lindum",
    purpose="KINDER-PLACE",
    items=frozenset(
        {
            Item(*DOB_MONTH, required=True, provider="civil-registry"),
            Item(*SEX, required=False, provider="civil-registry"),
            Item(*MUNICIPALITY_CODE, required=True, provider="population-register"),
        }
    ),
    duration_us=365 * DAY_US,
    benefits=frozenset({"kinder-place.kept"}),
)
FEWER = Terms(
    recipient="lindum",
    purpose="KINDER-PLACE",
    items=frozenset({Item(*DOB_MONTH, required=True, provider="civil-registry")}),
    duration_us=365 * DAY_US,
    benefits=frozenset({"kinder-place.kept"}),
)
NOTICE = shown("Lindum Municipality would like your child's month of birth ...", version=1, language="en")
ASKED_UNTIL_US = NOON_US + 14 * DAY_US
UNTIL_US = NOON_US + 100 * DAY_US


class Kept(NamedTuple):
    """A record together with the events that made it."""

    record: Record
    events: tuple[Event, ...]

    def then(self, step: tuple[Record, Event | None]) -> "Kept":
        record, event = step
        return Kept(record, self.events if event is None else (*self.events, event))


def asked(
    record_id: str = "c-1", *, terms: Terms = TERMS, stretch_before: int = 0, at_us: int = NOON_US, by: By = AGENCY
) -> Kept:
    record, event = request(
        record_id=record_id,
        person=PERSON,
        terms=terms,
        deadline_us=at_us + 14 * DAY_US,
        stretch_before=stretch_before,
        by=by,
        at_us=at_us,
    )
    return Kept(record, (event,))


def agreed(
    kept: Kept | None = None,
    *,
    items: frozenset[Pair] | None = None,
    until_us: int = UNTIL_US,
    by: By = SELF,
    at_us: int = NOON_US + 1,
    continues: Record | None = None,
    notice: Notice = NOTICE,
) -> Kept:
    kept = kept or asked()
    chosen = kept.record.terms.pairs if items is None else items
    return kept.then(
        give(kept.record, items=chosen, until_us=until_us, notice=notice, by=by, at_us=at_us, continues=continues)
    )


def unasked(record_id: str = "c-2", *, by: By = SELF, at_us: int = NOON_US, continues: Record | None = None) -> Kept:
    record, events = give_unasked(
        record_id=record_id,
        person=PERSON,
        terms=TERMS,
        items=TERMS.pairs,
        until_us=at_us + 100 * DAY_US,
        notice=NOTICE,
        stretch_before=0,
        by=by,
        at_us=at_us,
        continues=continues,
    )
    return Kept(record, events)


def next_of(record: Record, *, terms: Terms, at_us: int) -> Record:
    """Return a consent given as the continuation of this one."""
    new = asked(f"{record.id}+", terms=terms, stretch_before=record.stretch, at_us=at_us - 1)
    return agreed(new, at_us=at_us, until_us=at_us + 50 * DAY_US, continues=record).record


def in_state(state: State) -> Kept:
    """Return a consent that is recorded in this state; its latest event is less than a second after noon."""
    at_us = NOON_US + 10
    given, waiting = agreed(), asked()
    record = given.record
    ways: dict[State, Callable[[], Kept]] = {
        State.REQUESTED: lambda: waiting,
        State.GIVEN: lambda: given,
        State.PAUSED: lambda: given.then(pause(record, by=SELF, at_us=at_us)),
        State.REFUSED: lambda: waiting.then(refuse(waiting.record, by=SELF, at_us=at_us)),
        State.LAPSED: lambda: waiting.then(lapse(waiting.record, by=SYSTEM, at_us=ASKED_UNTIL_US)),
        State.RENEWED: lambda: given.then(
            renew(record, successor=next_of(record, terms=TERMS, at_us=at_us), by=SELF, at_us=at_us)
        ),
        State.SUPERSEDED: lambda: given.then(
            supersede(record, successor=next_of(record, terms=FEWER, at_us=at_us), by=SELF, at_us=at_us)
        ),
        State.WITHDRAWN: lambda: given.then(withdraw(record, by=SELF, at_us=at_us)),
        State.EXPIRED: lambda: given.then(expire(record, by=SYSTEM, at_us=UNTIL_US)),
        State.TERMINATED: lambda: given.then(terminate(record, cause="agreement.ended", by=SYSTEM, at_us=at_us)),
        State.INVALIDATED: lambda: given.then(invalidate(record, cause="notice.wrong", by=SYSTEM, at_us=at_us)),
    }
    return ways[state]()


def attempt(action: Action, record: Record, at_us: int) -> tuple[Record, Event | None]:
    """Do this to the record, with arguments that are right wherever the action is possible."""
    ways: dict[Action, Callable[[], tuple[Record, Event | None]]] = {
        Action.GIVE: lambda: give(
            record, items=record.terms.pairs, until_us=at_us + DAY_US, notice=NOTICE, by=SELF, at_us=at_us
        ),
        Action.REFUSE: lambda: refuse(record, by=SELF, at_us=at_us),
        Action.LAPSE: lambda: lapse(record, by=SYSTEM, at_us=at_us),
        Action.PAUSE: lambda: pause(record, by=SELF, at_us=at_us),
        Action.RESUME: lambda: resume(record, by=SELF, at_us=at_us),
        Action.NARROW: lambda: narrow(record, items={DOB_MONTH}, by=SELF, at_us=at_us),
        Action.EXTEND: lambda: extend(record, until_us=record.until_us + DAY_US, by=SELF, at_us=at_us),
        Action.WITHDRAW: lambda: withdraw(record, by=SELF, at_us=at_us),
        Action.EXPIRE: lambda: expire(record, by=SYSTEM, at_us=at_us),
        Action.SUPERSEDE: lambda: supersede(
            record, successor=next_of(record, terms=FEWER, at_us=at_us), by=SYSTEM, at_us=at_us
        ),
        Action.RENEW: lambda: renew(
            record, successor=next_of(record, terms=TERMS, at_us=at_us), by=SYSTEM, at_us=at_us
        ),
        Action.TERMINATE: lambda: terminate(record, cause="agreement.ended", by=SYSTEM, at_us=at_us),
        Action.INVALIDATE: lambda: invalidate(record, cause="notice.wrong", by=SYSTEM, at_us=at_us),
    }
    return ways[action]()
