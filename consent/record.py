"""One consent of one person to one recipient for one purpose, from the question to its end.

Every function takes the record as it stands, who acts (`By`) and when (UTC microseconds), and returns the record as it
stands afterwards with the event that made it so, or raises `ConsentError` and nothing has happened. Nothing here knows
what time it is: `at_us` is the caller's. A moment before the record's latest event counts as that event's moment, so a
clock that stepped back keeps nobody from withdrawing and never turns the order of events round.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from consent.canonical import Json, check_ints, check_texts
from consent.chain import START, By, Capacity, Event, link
from consent.errors import Code, ConsentError
from consent.notice import Notice
from consent.states import MOVES, RUNNING, WILL_OF_THE_PERSON, Action, State
from consent.terms import Pair, Terms, check_choice, named


@dataclass(frozen=True, slots=True)
class Record:
    """A consent as its events left it. What it covers at a moment `coverage.covers` says, looking at the time too."""

    id: str
    person: int
    terms: Terms
    deadline_us: int  # an answer comes before it; at this instant the request has lapsed
    state: State  # as recorded; `state_at` says what time has made of it
    stretch: int  # of (person, recipient, purpose): the one it runs in; until it is given, the latest there was or 0
    at_us: int  # of the latest event
    head: bytes  # hash of the latest event
    events: int  # how many there are
    items: frozenset[Pair] = frozenset()  # what is given, after every narrowing
    notice: Notice | None = None  # None: not given yet, so none was agreed to
    given_us: int = 0
    until_us: int = 0  # half-open
    acr: int = 0  # at the grant
    continues: str = ""  # id of the record whose stretch this one took over while it ran; "": begins its own stretch
    ended_us: int = 0
    successor: str = ""  # id of the record that goes on where this one was renewed or superseded
    cause: str = ""  # why it was terminated or invalidated, as a code


Step = tuple[Record, Event]


def state_at(record: Record, now_us: int) -> State:
    """Say what time has made of the record: a deadline or an end that has come counts before anybody wrote it down."""
    if record.state is State.REQUESTED and now_us >= record.deadline_us:
        return State.LAPSED
    if record.state in RUNNING and now_us >= record.until_us:
        return State.EXPIRED
    return record.state


def due_us(record: Record) -> int | None:
    """Say when time ends what it is in: a question at its deadline, a consent at its end; else None."""
    if record.state is State.REQUESTED:
        return record.deadline_us
    return record.until_us if record.state in RUNNING else None


def possible(record: Record, now_us: int) -> frozenset[Action]:
    """Name what can be done to it at this moment. Where its time is over, only to write that down."""
    moves = frozenset(MOVES[record.state])
    overdue = moves & {Action.LAPSE, Action.EXPIRE}
    return overdue if state_at(record, now_us) is not record.state else moves - overdue


def request(
    *, record_id: str, person: int, terms: Terms, deadline_us: int, stretch_before: int, by: By, at_us: int
) -> Step:
    """Ask. `stretch_before` is the latest stretch of this person, recipient and purpose; 0 where there was none."""
    check_ints(low=0, at_us=at_us, deadline_us=deadline_us, stretch_before=stretch_before)
    if by.person != person:
        raise ConsentError(Code.OTHER_PERSON, "the one who asks names another person than the record")
    if deadline_us <= at_us:
        raise ConsentError(Code.UNTIL_PAST, "the deadline for an answer has passed already")
    body: dict[str, Json] = {"terms": terms.as_json(), "deadline_us": deadline_us, "stretch_before": stretch_before}
    event = link(record=record_id, number=0, action=Action.REQUEST, at_us=at_us, by=by, prev=START, body=body)
    return Record(record_id, person, terms, deadline_us, State.REQUESTED, stretch_before, at_us, event.hash, 1), event


def give(
    record: Record,
    *,
    items: Collection[Pair],
    until_us: int,
    notice: Notice,
    by: By,
    at_us: int,
    continues: Record | None = None,
) -> Step:
    """Say yes to `items` of what was asked, until `until_us`, having read `notice`.

    `continues` is the consent of the same person, recipient and purpose that this one is to renew or supersede. While
    that one runs at the moment of the grant, its stretch goes on here. Otherwise, or without one, a new one begins.
    """
    moment = _enter(record, Action.GIVE, by, at_us)
    stretch, taken_over = record.stretch + 1, ""
    if continues is not None:
        _same_matter(record, continues)
        if state_at(continues, moment) in RUNNING:
            stretch, taken_over = continues.stretch, continues.id
        else:
            stretch = max(record.stretch, continues.stretch) + 1
    return given(record, frozenset(items), until_us, notice, by, moment, stretch=stretch, continues=taken_over)


def given(
    record: Record,
    items: frozenset[Pair],
    until_us: int,
    notice: Notice,
    by: By,
    at_us: int,
    *,
    stretch: int,
    continues: str,
) -> Step:
    """Say yes in this stretch. Callers say `give`, which finds the stretch; `fold` reads it from the event."""
    moment = _enter(record, Action.GIVE, by, at_us)
    check_ints(low=max(1, record.stretch if continues else record.stretch + 1), stretch=stretch)
    check_choice(record.terms, items)
    _check_until(record, until_us, moment)
    body: dict[str, Json] = {
        "items": _pairs_json(items),
        "until_us": until_us,
        "notice": notice.as_json(),
        "stretch": stretch,
        "continues": continues,
    }
    changed = replace(
        record,
        items=items,
        until_us=until_us,
        notice=notice,
        stretch=stretch,
        continues=continues,
        given_us=moment,
        acr=by.acr,
    )
    return _write(changed, Action.GIVE, by, moment, body)


def give_unasked(
    *,
    record_id: str,
    person: int,
    terms: Terms,
    items: Collection[Pair],
    until_us: int,
    notice: Notice,
    stretch_before: int,
    by: By,
    at_us: int,
    continues: Record | None = None,
) -> tuple[Record, tuple[Event, Event]]:
    """Give what nobody asked for yet: request and grant by the person, at one moment."""
    if by.capacity not in (Capacity.SELF, Capacity.GUARDIAN):
        raise ConsentError(Code.NOT_THEIRS, "only the person, or who acts for the person, can give unasked")
    asked, first = request(
        record_id=record_id,
        person=person,
        terms=terms,
        deadline_us=at_us + 1,
        stretch_before=stretch_before,
        by=by,
        at_us=at_us,
    )
    record, second = give(asked, items=items, until_us=until_us, notice=notice, by=by, at_us=at_us, continues=continues)
    return record, (first, second)


def refuse(record: Record, *, by: By, at_us: int) -> Step:
    """Say no. It ends the request, and asks for no reason."""
    return _end(record, Action.REFUSE, by, at_us)


def lapse(record: Record, *, by: By, at_us: int) -> Step:
    """Write down that nobody answered by the deadline, which is when it ended, however late this is written."""
    return _end(record, Action.LAPSE, by, at_us, ended_us=record.deadline_us)


def pause(record: Record, *, by: By, at_us: int) -> Step:
    """Stop new releases for a while. The stretch goes on, and so does the time until the end."""
    return _write(record, Action.PAUSE, by, _enter(record, Action.PAUSE, by, at_us), {})


def resume(record: Record, *, by: By, at_us: int) -> Step:
    """Give a paused consent again, unchanged, under a sign-in at least as good as at the grant."""
    moment = _enter(record, Action.RESUME, by, at_us)
    _check_assurance(record, by)
    return _write(record, Action.RESUME, by, moment, {})


def narrow(record: Record, *, items: Collection[Pair], by: By, at_us: int) -> Step:
    """Give from now on only `items`, fewer than now. A paused consent stays paused."""
    moment, left = _enter(record, Action.NARROW, by, at_us), frozenset(items)
    check_choice(record.terms, left)
    if not left < record.items:
        more = named(left - record.items)
        raise ConsentError(
            Code.NOT_NARROWER,
            f"not given now: {', '.join(more)}" if more else "this is all that is given already",
            remedy="Only leave fields out; more fields need a new consent.",
            items=more,
        )
    return _write(replace(record, items=left), Action.NARROW, by, moment, {"items": _pairs_json(left)})


def extend(record: Record, *, until_us: int, by: By, at_us: int) -> Step:
    """Give it for longer than until now, at most the duration that was asked counted from now."""
    moment = _enter(record, Action.EXTEND, by, at_us)
    _check_assurance(record, by)
    _check_until(record, until_us, moment)
    if until_us <= record.until_us:
        raise ConsentError(Code.NOT_LONGER, "the consent lasts that long already")
    return _write(replace(record, until_us=until_us), Action.EXTEND, by, moment, {"until_us": until_us})


def withdraw(record: Record, *, by: By, at_us: int) -> tuple[Record, Event | None]:
    """Take it back, for good. Withdrawn already: the same record and no event, so asking twice does no harm."""
    if record.state is State.WITHDRAWN:
        _check_principal(record, Action.WITHDRAW, by)
        return record, None
    return _end(record, Action.WITHDRAW, by, at_us)


def expire(record: Record, *, by: By, at_us: int) -> Step:
    """Write down that its time is over. It ended at `until_us`, however late this is written."""
    return _end(record, Action.EXPIRE, by, at_us, ended_us=record.until_us)


def renew(record: Record, *, successor: Record, by: By, at_us: int) -> Step:
    """End it because `successor`, given meanwhile and continuing it, asks for the same items."""
    if successor.terms.items != record.terms.items:
        raise ConsentError(
            Code.SUCCESSOR, "the next consent asks for other items", remedy="Supersede it instead of renewing."
        )
    return followed(record, Action.RENEW, _checked_successor(record, successor), by, at_us)


def supersede(record: Record, *, successor: Record, by: By, at_us: int) -> Step:
    """End it because `successor`, given meanwhile and continuing it, takes its place."""
    return followed(record, Action.SUPERSEDE, _checked_successor(record, successor), by, at_us)


def followed(record: Record, action: Action, successor: str, by: By, at_us: int) -> Step:
    """End it in favour of the record with this id. Callers say `renew` or `supersede`, which look at that record."""
    check_texts(successor=successor)
    return _end(replace(record, successor=successor), action, by, at_us, {"successor": successor})


def terminate(record: Record, *, cause: str, by: By, at_us: int) -> Step:
    """End it for a reason that is not the person's, named by a code: the agreement is over, the purpose fulfilled."""
    check_texts(cause=cause)
    return _end(replace(record, cause=cause), Action.TERMINATE, by, at_us, {"cause": cause})


def invalidate(record: Record, *, cause: str, by: By, at_us: int) -> Step:
    """End it because it was never a valid consent, for a reason named by a code."""
    check_texts(cause=cause)
    return _end(replace(record, cause=cause), Action.INVALIDATE, by, at_us, {"cause": cause})


def _enter(record: Record, action: Action, by: By, at_us: int) -> int:
    """Check that `by` may do this to the record now. Return the moment it counts as, in microseconds."""
    check_ints(low=0, at_us=at_us)
    moment = max(at_us, record.at_us)
    _check_principal(record, action, by)
    can = possible(record, moment)
    if action in can:
        return moment
    if action in (Action.LAPSE, Action.EXPIRE) and action in MOVES[record.state]:
        raise ConsentError(Code.TOO_EARLY, f"the time to {action} has not come yet")
    actions = tuple(sorted(can))
    raise ConsentError(
        Code.ILLEGAL,
        f"{action} is not possible: the consent is {state_at(record, moment)}",
        remedy=f"Possible: {', '.join(actions)}." if actions else "It has ended; only a new consent can follow.",
        items=actions,
    )


def _check_principal(record: Record, action: Action, by: By) -> None:
    if by.person != record.person:
        raise ConsentError(Code.OTHER_PERSON, "the record is about another person than the one acted for")
    if action in WILL_OF_THE_PERSON and by.capacity not in (Capacity.SELF, Capacity.GUARDIAN):
        raise ConsentError(Code.NOT_THEIRS, f"only the person, or who acts for the person, can {action}")


def _check_assurance(record: Record, by: By) -> None:
    if by.acr < record.acr:
        raise ConsentError(
            Code.ASSURANCE,
            f"the consent was given at assurance {record.acr}, this sign-in has {by.acr}",
            remedy="Sign in as strongly as when it was given.",
        )


def _check_until(record: Record, until_us: int, moment: int) -> None:
    check_ints(low=0, until_us=until_us)
    if until_us <= moment:
        raise ConsentError(Code.UNTIL_PAST, "the end lies in the past, so nothing would be given")
    if until_us > moment + record.terms.duration_us:
        raise ConsentError(Code.UNTIL_TOO_LONG, "the end lies beyond the duration that was asked for")


def _same_matter(record: Record, other: Record) -> None:
    mine = (record.person, record.terms.recipient, record.terms.purpose)
    if (other.person, other.terms.recipient, other.terms.purpose) != mine or other.id == record.id:
        raise ConsentError(Code.SUCCESSOR, "not another consent of the same person, recipient and purpose")


def _checked_successor(record: Record, successor: Record) -> str:
    _same_matter(record, successor)
    if successor.state is not State.GIVEN or successor.continues != record.id:
        raise ConsentError(Code.SUCCESSOR, "the next consent was not given as the continuation of this one")
    return successor.id


def _pairs_json(pairs: frozenset[Pair]) -> list[Json]:
    return [[dataset, field] for dataset, field in sorted(pairs)]


def _end(
    record: Record, action: Action, by: By, at_us: int, body: Mapping[str, Json] | None = None, *, ended_us: int = 0
) -> Step:
    """Write the event that ends it; at its own moment unless time had ended it before, at `ended_us`."""
    moment = _enter(record, action, by, at_us)
    return _write(replace(record, ended_us=ended_us or moment), action, by, moment, body or {})


def _write(changed: Record, action: Action, by: By, moment: int, body: Mapping[str, Json]) -> Step:
    """Append the event to the chain; `changed` is the record but for state, head, count and moment."""
    event = link(
        record=changed.id, number=changed.events, action=action, at_us=moment, by=by, prev=changed.head, body=body
    )
    state = MOVES[changed.state][action]
    return replace(changed, state=state, at_us=moment, head=event.hash, events=changed.events + 1), event
