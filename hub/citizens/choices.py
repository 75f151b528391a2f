"""A consent's life after the question: given or refused; narrowed, prolonged, paused, resumed; withdrawn (withdraw.py).

Each act is one transaction: the record's next event, what decisions read of it, the person's fence, the audit row and
the receipt stand or fall together.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from consent.chain import Event
from consent.errors import ConsentError
from consent.notice import Notice
from consent.receipt import Receipt
from consent.record import (
    Record,
    extend,
    give,
    give_unasked,
    narrow,
    pause,
    refuse,
    renew,
    resume,
    state_at,
    supersede,
)
from consent.states import RUNNING, State
from consent.terms import Pair, Terms, named
from hub.citizens.desk import (
    CitizenDesk,
    act_detail,
    key_within,
    lines_of,
    new_public,
    own_consent,
    project,
    record_of,
    refused,
    save_step,
    terms_of,
)
from hub.citizens.receipts import issue
from hub.citizens.requests import first_row, purpose_asked
from hub.core.errors import HubError, Item, Kind
from hub.core.leaf import LeafKind
from hub.identity.acts import write_audit
from hub.identity.keys import OpenKey
from hub.identity.principal import Principal, by
from hub.store.consents import ConsentRow, consent_by_public, consents_of, latest_stretch
from hub.store.engine import Fences, Lane, Tx
from hub.store.facts import of_persons
from hub.store.held import release_held
from hub.store.outside import Act

KEPT_OUTSIDE = {"refuse": "refused", "pause": "paused", "narrow": "narrowed"}  # what a backup must not take back


class Done(NamedTuple):
    """An act as it was committed, and the receipt for it."""

    consent: str
    state: str
    receipt: Receipt
    recipient: int  # whose feed it concerns


def grant(
    desk: CitizenDesk,
    principal: Principal,
    public: str,
    *,
    items: Sequence[Pair] | None,
    until_us: int | None,
    notice: Notice,
) -> Done:
    """Say yes to a request, to all of it or to `items`, having read `notice`.

    Held deliveries of it become ready, in order, with it. A consent of the same matter that runs is continued: it is
    renewed or superseded by this one, and its stretch goes on.
    """

    def step(tx: Tx, key: OpenKey, row: ConsentRow, record: Record) -> tuple[Record, tuple[Event, ...]]:
        now_us = desk.clock()
        _check_strong_enough(desk, principal, record.terms)
        given, event = give(
            record,
            items=_known(desk, record.terms, items),
            until_us=now_us + record.terms.duration_us if until_us is None else until_us,
            notice=notice,
            by=by(principal),
            at_us=now_us,
            continues=_earlier(tx, key, _matter(row), now_us, but=row.number),
        )
        return given, (event,)

    return _act(desk, principal, public, "grant", step, after=_begin)


def grant_unasked(
    desk: CitizenDesk,
    principal: Principal,
    *,
    recipient: str,
    purpose: str,
    items: Sequence[Pair] | None,
    notice: Notice,
    until_us: int | None = None,
) -> Done:
    """Say yes of one's own accord, without having been asked. What runs already is continued, as by `grant`."""
    wanted = purpose_asked(desk.catalogue, recipient, purpose)
    number = desk.catalogue.agencies[recipient].number
    terms: Terms = terms_of(desk.catalogue, recipient, wanted)

    def transaction(tx: Tx) -> Done:
        now_us, key = desk.clock(), key_within(desk, tx, principal.person)
        _check_strong_enough(desk, principal, terms)
        running = _running(tx, key, Matter(principal.person, number, wanted.number), now_us)
        record, events = give_unasked(
            record_id=new_public(),
            person=principal.person,
            terms=terms,
            items=_known(desk, terms, items),
            until_us=now_us + terms.duration_us if until_us is None else until_us,
            notice=notice,
            stretch_before=latest_stretch(tx, principal.person, number, wanted.number),
            by=by(principal),
            at_us=now_us,
            continues=running,
        )
        row = first_row(tx, record, number, wanted.number)
        return _finish(desk, tx, key, row, record, events, principal, "grant", after=_begin)

    return _run(desk, principal, transaction, Lane.ORDINARY)


def say_no(desk: CitizenDesk, principal: Principal, public: str) -> Done:
    """Refuse a request."""
    return _act(desk, principal, public, "refuse", _simply(desk, principal, refuse))


def pause_it(desk: CitizenDesk, principal: Principal, public: str) -> Done:
    """Pause: nothing new is released, the stretch goes on. Holds the barrier like a withdrawal."""
    return _act(desk, principal, public, "pause", _simply(desk, principal, pause), lane=Lane.URGENT)


def resume_it(desk: CitizenDesk, principal: Principal, public: str) -> Done:
    """Go on after a pause; what was held in between becomes ready, in order."""
    return _act(desk, principal, public, "resume", _simply(desk, principal, resume), after=_let_go)


def narrow_it(desk: CitizenDesk, principal: Principal, public: str, *, items: Sequence[Pair]) -> Done:
    """Take fields back; the stretch goes on. Holds the barrier for the fields that are gone."""

    def step(_tx: Tx, _key: OpenKey, _row: ConsentRow, record: Record) -> tuple[Record, tuple[Event, ...]]:
        left = _known(desk, record.terms, items)
        narrowed, event = narrow(record, items=left, by=by(principal), at_us=desk.clock())
        return narrowed, (event,)

    return _act(desk, principal, public, "narrow", step, lane=Lane.URGENT)


def extend_it(desk: CitizenDesk, principal: Principal, public: str, *, until_us: int) -> Done:
    """Let it last longer, at most as long from now as was asked; the stretch goes on. Under a sign-in as at the yes."""

    def step(_tx: Tx, _key: OpenKey, _row: ConsentRow, record: Record) -> tuple[Record, tuple[Event, ...]]:
        _check_strong_enough(desk, principal, record.terms)
        extended, event = extend(record, until_us=until_us, by=by(principal), at_us=desk.clock())
        return extended, (event,)

    return _act(desk, principal, public, "extend", step)


Step = Callable[[Tx, OpenKey, ConsentRow, Record], tuple[Record, tuple[Event, ...]]]
After = Callable[[CitizenDesk, Tx, OpenKey, ConsentRow, Record, Principal], None]


def _simply(desk: CitizenDesk, principal: Principal, move: Callable[..., tuple[Record, Event]]) -> Step:
    """Make the step of an act that needs nothing but who and when."""

    def step(_tx: Tx, _key: OpenKey, _row: ConsentRow, record: Record) -> tuple[Record, tuple[Event, ...]]:
        moved, event = move(record, by=by(principal), at_us=desk.clock())
        return moved, (event,)

    return step


def _nothing(
    _desk: CitizenDesk, _tx: Tx, _key: OpenKey, _row: ConsentRow, _record: Record, _principal: Principal
) -> None:
    """Most acts change nothing in the queues: the hand-out decides again."""


def _begin(desk: CitizenDesk, tx: Tx, key: OpenKey, row: ConsentRow, record: Record, principal: Principal) -> None:
    """End the consent that this one continues, and let go what was held for it."""
    if record.continues:
        _end_followed(desk, tx, key, record, principal)
    _let_go(desk, tx, key, row, record, principal)


def _let_go(desk: CitizenDesk, tx: Tx, _key: OpenKey, row: ConsentRow, record: Record, _principal: Principal) -> None:
    """Let go what was held for a consent that runs."""
    lines = lines_of(desk.catalogue, record.terms.recipient, record.terms.purpose)
    several = any(
        name in one.dataset.fields and one.dataset.fields[name].role != one.dataset.subject_role
        for one in lines
        for name in one.allowed
    )
    release_held(
        tx,
        person=row.person,
        recipient=row.recipient,
        subscriptions=[one.number for one in lines],
        now_us=desk.clock(),
        other_roles=several,
    )


def _end_followed(desk: CitizenDesk, tx: Tx, key: OpenKey, record: Record, principal: Principal) -> None:
    row = consent_by_public(tx, record.continues)
    assert row is not None  # it was read in this transaction
    old = record_of(tx, key, row)
    if not old.items <= record.items or record.until_us < old.until_us:  # a yes that takes something back
        tx.outside.note(Act("lessened", str(row.person), record.at_us, row.recipient, row.purpose))
    same = old.terms.items == record.terms.items and old.state is State.GIVEN  # what is paused is not prolonged
    end = renew if same else supersede
    ended, event = end(old, successor=record, by=by(principal), at_us=record.at_us)
    row = save_step(tx, key, row, ended, (event,))
    issue(desk, tx, key, row, ended, "renew" if same else "supersede", moment_us=event.said.at_us)


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
        key = key_within(desk, tx, principal.person)
        record, events = step(tx, key, row, record_of(tx, key, row))
        return _finish(desk, tx, key, row, record, events, principal, kind, after=after)

    return _run(desk, principal, transaction, lane)


def _finish(
    desk: CitizenDesk,
    tx: Tx,
    key: OpenKey,
    row: ConsentRow,
    record: Record,
    events: tuple[Event, ...],
    principal: Principal,
    kind: str,
    *,
    after: After,
) -> Done:
    row = save_step(tx, key, row, record, events)
    moment_us = events[-1].said.at_us
    if kind in KEPT_OUTSIDE:
        tx.outside.note(Act(KEPT_OUTSIDE[kind], str(row.person), moment_us, row.recipient, row.purpose))
    if record.state in RUNNING or _running(tx, key, _matter(row), moment_us, but=row.number) is None:
        project(tx, row, record)  # a no to a second question leaves the consent that runs as it is
    after(desk, tx, key, row, record, principal)
    receipt = issue(desk, tx, key, row, record, kind, moment_us=moment_us)
    write_audit(tx, key, row.person, LeafKind.CONSENT, act_detail(record, kind), at_us=moment_us)
    return Done(record.id, record.state.value, receipt, row.recipient)


def _run(desk: CitizenDesk, principal: Principal, transaction: Callable[[Tx], Done], lane: Lane) -> Done:
    try:
        done = desk.store.write(transaction, lane=lane, fences=Fences(changes=of_persons([principal.person])))
    except ConsentError as error:
        raise refused(error) from error
    desk.ring(done.recipient)
    return done


class Matter(NamedTuple):
    """What consents follow one another in: one person, recipient and purpose."""

    person: int
    recipient: int
    purpose: int


def _matter(row: ConsentRow) -> Matter:
    return Matter(row.person, row.recipient, row.purpose)


def _earlier(tx: Tx, key: OpenKey, matter: Matter, now_us: int, *, but: int) -> Record | None:
    """Return the consent that a new one comes after: the running one, else the one of the latest stretch."""
    running = _running(tx, key, matter, now_us, but=but)
    given = [one for one in _records(tx, key, matter, but) if one.given_us]
    return running or max(given, key=lambda one: one.stretch, default=None)


def _running(tx: Tx, key: OpenKey, matter: Matter, now_us: int, *, but: int = 0) -> Record | None:
    """Return the consent of this matter that runs now, other than the record with the number `but`."""
    return next((one for one in _records(tx, key, matter, but) if state_at(one, now_us) in RUNNING), None)


def _records(tx: Tx, key: OpenKey, matter: Matter, but: int) -> list[Record]:
    rows = consents_of(tx, matter.person)
    return [record_of(tx, key, one) for one in rows if _matter(one) == matter and one.number != but]


def _known(desk: CitizenDesk, terms: Terms, items: Sequence[Pair] | None) -> Sequence[Pair]:
    """Return the choice, everything where none was made. Raises HubError(INVALID) for what was never asked.

    The record would refuse it too, but by repeating what the request says; this names only what the catalogue knows.
    """
    if items is None:
        return sorted(terms.pairs)
    unknown = [at for at, pair in enumerate(items) if pair not in terms.pairs]
    if not unknown:
        return items
    raise HubError(
        Kind.INVALID,
        f"{len(unknown)} of {len(items)} items were never asked for; nothing was changed",
        where="/items",
        remedy=f"Choose among: {', '.join(named(terms.pairs))}.",
        code="consent-unknown-field",
        items=tuple(Item(f"{_named(desk, items[at])} was never asked for", f"/items/{at}") for at in unknown),
    )


def _named(desk: CitizenDesk, pair: Pair) -> str:
    dataset = desk.catalogue.datasets.get(pair[0])
    known = dataset is not None and (pair[1] in dataset.fields or pair[1] in dataset.derived)
    return f"{pair[0]}/{pair[1]}" if known else "a field that no dataset has"


def _check_strong_enough(desk: CitizenDesk, principal: Principal, terms: Terms) -> None:
    """Refuse a yes that no decision would ever count: its sign-in is weaker than the purpose needs."""
    purpose = desk.catalogue.purposes.get(terms.purpose)
    if purpose is not None and principal.acr < purpose.assurance:
        raise HubError(
            Kind.FORBIDDEN,
            f"{purpose.code} needs a sign-in of assurance P{purpose.assurance}; this one has P{principal.acr}",
            remedy="Sign in more strongly, then say yes.",
            code="assurance-too-low",
        )
