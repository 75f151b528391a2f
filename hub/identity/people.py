"""People and their links: which local id of which agency is which person. Only an agency with the right `link` says so.

Identity never merges two people: an id that is linked to somebody else is a conflict that a human must undo first.
Unlinking ends an interval and leaves the past as it was; the id then belongs to nobody until it is linked again.
A disputed link makes what rests on it wait, whole and in order, until it is settled or undone.
"""

import secrets
from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import NamedTuple

from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.identity.acts import write_audit
from hub.identity.keys import (
    Keyring,
    OpenKey,
    OpenKeys,
    keyed,
    new_key,
    open_key,
    seal_with,
    unseal_with,
    unwrap_person,
    wrap_person,
)
from hub.identity.questions import asked_on_level, end_asks
from hub.identity.resting import Resting, on_level, on_link, stop_taken, take_off
from hub.identity.sessions import end_by_link
from hub.ports import Clock
from hub.store.aims import AskState
from hub.store.asks import open_asks_of
from hub.store.engine import Lane, Store, Tx
from hub.store.facts import PERSON_FENCE, raise_fence
from hub.store.outside import Act

US_PER_DAY = 86_400_000_000
LINKS_AT_ONCE = 100  # a bulk file is sent in pieces: each is one transaction, and a withdrawal waits for one at most


class NewLink(NamedTuple):
    """`local_id` at `agency` is the person whom the linking agency calls `mine`. `level` 1..3 is P1..P3."""

    agency: str
    local_id: str
    mine: str
    level: int
    born: date | None = None


class Register(NamedTuple):
    """What linking works with."""

    store: Store
    keys: Keyring
    open_keys: OpenKeys
    catalogue: Catalogue
    clock: Clock
    keep_days: int = 7  # of the intake: until then an event from before may still come that names an erased person


Outcome = str | HubError
"""What became of one link: "linked", "level-raised", "level-lowered", "undone", "disputed", "settled", or "known" where
it was so already; or why nothing did."""


def local_of(keys: Keyring, agency: str, local_id: str) -> bytes:
    """Return the keyed hash under which an agency's id of a person is looked up."""
    return keyed(keys.local, agency, local_id)


def link_place(agency: int, person: int) -> bytes:
    """Return what a sealed local id is bound to."""
    return b"link" + agency.to_bytes(4) + person.to_bytes(8)


def born_place(person: int) -> bytes:
    """Return what a sealed date of birth is bound to."""
    return b"born" + person.to_bytes(8)


def link(register: Register, linker: str, links: Sequence[NewLink]) -> list[Outcome]:
    """Link ids, each on its own: a conflict in one does not touch the others. Makes the person where `mine` is new.

    Said again with another level, a link has that level from now on. An id of somebody who was erased is refused while
    an event of theirs may still lie on the bus: it must find the mark. After that it is an id like any other, and
    linking it makes a new person, who has nothing of the former one: neither key nor name nor history.
    """
    outcomes: list[Outcome] = []
    for at in range(0, len(links), LINKS_AT_ONCE):
        outcomes += register.store.write(partial(_link_all, register, linker, links[at : at + LINKS_AT_ONCE]))
    return outcomes


def unlink(register: Register, *, agency: str, local_id: str) -> str:
    """End a link, and take what rests on it off the queues. Raises HubError(NOT_FOUND) when there is none.

    What was opened and never acknowledged does not come again: a `stop` stands under its number. The person's fence is
    taken, so no decision that relied on the link commits after this has returned.
    """
    local = local_of(register.keys, agency, local_id)
    register.store.write(lambda tx: _unlink(register, tx, agency, local), lane=Lane.URGENT)
    return "undone"


def undo_again(register: Register, *, agency: str, local: bytes, kind: str) -> None:
    """Undo, doubt or lower a link by its keyed hash: it was done before, in a copy of the store that is lost.

    What level it was lowered to is not known any more, so such a link is doubted. Raises HubError(NOT_FOUND).
    """

    def transaction(tx: Tx) -> None:
        if kind == "unlinked":
            _unlink(register, tx, agency, local)
        else:
            _doubt(register, tx, agency, local, disputed=True)

    register.store.write(transaction, lane=Lane.URGENT)


def dispute(register: Register, *, agency: str, local_id: str) -> str:
    """Put a link in doubt: events that mention it wait, and so does what rests on it and was not opened yet.

    The person's fence is taken, so no hand-out of what rests on the link commits after this has returned. Raises
    HubError(NOT_FOUND) when there is no such link.
    """
    local = local_of(register.keys, agency, local_id)
    return register.store.write(lambda tx: _doubt(register, tx, agency, local, disputed=True), lane=Lane.URGENT)


def settle(register: Register, *, agency: str, local_id: str) -> str:
    """Say that a disputed link is right: what waited goes on. One that is wrong is undone instead. Raises as above."""
    local = local_of(register.keys, agency, local_id)
    return register.store.write(lambda tx: _doubt(register, tx, agency, local, disputed=False), lane=Lane.URGENT)


def person_of(tx: Tx, keys: Keyring, agency: str, local_id: str) -> int | None:
    """Find the person an agency's id is linked to now."""
    return _person_at(tx, local_of(keys, agency, local_id))


def _person_at(tx: Tx, local: bytes) -> int | None:
    row = tx.one("SELECT person FROM link WHERE local = ? AND until_us IS NULL", (local,))
    return None if row is None else int(row[0])


def _link_all(register: Register, linker: str, links: Sequence[NewLink], tx: Tx) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for one in links:
        try:
            outcomes.append(_link(register, tx, linker, one))
        except HubError as refused:  # the person was erased; nothing of this link is written
            outcomes.append(refused)
    return outcomes


def _link(register: Register, tx: Tx, linker: str, one: NewLink) -> Outcome:
    if one.agency not in register.catalogue.agencies:
        return HubError(
            Kind.INVALID, "no such agency", where="/agency", remedy="See the catalogue.", code="agency-unknown"
        )
    _let_go_of_erased(register, tx, ((linker, one.mine), (one.agency, one.local_id)))
    person = person_of(tx, register.keys, linker, one.mine)
    there = person_of(tx, register.keys, one.agency, one.local_id)
    if person is not None and there is not None and person != there:
        return HubError(
            Kind.CONFLICT,
            "this id is linked to somebody else; two people are never merged",
            remedy="Find out which is right; undo the wrong link first.",
            code="link-conflict",
        )
    if person is None and there is not None:
        person = there
    acts: list[str] = []
    if person is None:
        person = _new_person(register, tx, one.born)
        _insert(register, tx, linker, one.mine, person, one.level)
        acts.append("linked")
    elif one.born is not None and _note_birth(register, tx, person, one.born):
        acts.append("born-corrected")
    if there is None and (one.agency, one.local_id) != (linker, one.mine):
        _insert(register, tx, one.agency, one.local_id, person, one.level)
        acts.append("linked")
    elif person_of(tx, register.keys, linker, one.mine) is None:
        _insert(register, tx, linker, one.mine, person, one.level)
        acts.append("linked")
    changed = _change_level(register, tx, person, one) if there is not None else ""
    if acts or changed:
        raise_fence(tx, PERSON_FENCE, person)
    for act in dict.fromkeys(acts):
        _record(register, tx, person, act, one.agency, one.level, at_us=register.clock())
    return "linked" if "linked" in acts else changed or "known"


def _let_go_of_erased(register: Register, tx: Tx, ids: Sequence[tuple[str, str]]) -> None:
    """End the links that lead to an erased person, or raise HubError(GONE) where it is too early for that.

    Looked at before anything is written, so that a refused link leaves nothing behind.
    """
    ended, now_us = [], register.clock()
    for agency, local_id in ids:
        local = local_of(register.keys, agency, local_id)
        row = tx.one(
            "SELECT p.id, p.erased_us FROM link l JOIN person p ON p.id = l.person"
            " WHERE l.local = ? AND l.until_us IS NULL AND p.erased_us IS NOT NULL",
            (local,),
        )
        if row is None:
            continue
        if now_us < (row[1] // US_PER_DAY + register.keep_days + 1) * US_PER_DAY:
            raise _erased("Link the id again when the intake's retention is over; then it is a new person's.")
        ended.append((local, row[0]))
    for local, person in ended:
        raise_fence(tx, PERSON_FENCE, person)
        tx.run("UPDATE link SET until_us = ? WHERE local = ? AND until_us IS NULL", (now_us, local))


def _change_level(register: Register, tx: Tx, person: int, one: NewLink) -> str:
    """Give a link that there is the level that is said now; returns what that did, "" where it had it already.

    Lowered, it carries less: what was decided at the higher level and needs it does not go.
    """
    local = local_of(register.keys, one.agency, one.local_id)
    row = tx.one("SELECT level FROM link WHERE local = ? AND until_us IS NULL", (local,))
    assert row is not None
    if row[0] == one.level:
        return ""
    tx.run("UPDATE link SET level = ? WHERE local = ? AND until_us IS NULL", (one.level, local))
    now_us = register.clock()
    if one.level > row[0]:
        _record(register, tx, person, "level-raised", one.agency, one.level, at_us=now_us)
        return "level-raised"
    tx.outside.note(Act("lowered", local.hex(), now_us))
    resting = on_level(register.catalogue, agency=one.agency, person=person, above=one.level)
    _take_off(register, tx, person, "level-lowered", one.agency, one.level, resting, at_us=now_us)
    return "level-lowered"


def _new_person(register: Register, tx: Tx, born: date | None) -> int:
    person = secrets.randbits(62) + 1
    key = new_key()
    sealed = seal_with(open_key(key), born.isoformat().encode(), born_place(person)) if born else None
    tx.insert(
        "person(id, created_us, erased_us, key, born)",
        [(person, register.clock(), None, wrap_person(register.keys.wrapping, person, key), sealed)],
    )
    return person


def _note_birth(register: Register, tx: Tx, person: int, born: date) -> bool:
    """Write a date of birth; returns whether it was another one, or none, before."""
    key = _key(register, tx, person)
    before = tx.one("SELECT born FROM person WHERE id = ?", (person,))
    sealed = before[0] if before else None
    if sealed is not None and unseal_with(key, sealed, born_place(person)) == born.isoformat().encode():
        return False
    tx.run(
        "UPDATE person SET born = ? WHERE id = ?",
        (seal_with(key, born.isoformat().encode(), born_place(person)), person),
    )
    return True


def _insert(register: Register, tx: Tx, agency: str, local_id: str, person: int, level: int) -> None:
    number = register.catalogue.agencies[agency].number
    sealed = seal_with(_key(register, tx, person), local_id.encode(), link_place(number, person))
    tx.insert(
        "link(local, agency, from_us, until_us, person, level, disputed, sealed)",
        [(local_of(register.keys, agency, local_id), number, register.clock(), None, person, level, 0, sealed)],
    )


def _unlink(register: Register, tx: Tx, agency: str, local: bytes) -> None:
    person = _person_at(tx, local)
    if person is None or agency not in register.catalogue.agencies:
        raise _unknown()
    _key(register, tx, person)  # of an erased person the link stays: it leads what is on the bus to the mark
    raise_fence(tx, PERSON_FENCE, person)
    now_us = register.clock()
    tx.outside.note(Act("unlinked", local.hex(), now_us))
    tx.run("UPDATE link SET until_us = ? WHERE local = ? AND until_us IS NULL", (now_us, local))
    end_by_link(tx, local)
    resting = on_link(register.catalogue, agency=agency, person=person)
    _take_off(register, tx, person, "unlinked", agency, 0, resting, at_us=now_us)


def _take_off(
    register: Register, tx: Tx, person: int, act: str, agency: str, level: int, resting: Resting, *, at_us: int
) -> None:
    """Put an act on record, take off the queues what rests on what it changed, and stop what had been opened of it."""
    taken, cancelled = take_off(tx, resting)
    audit = _record(register, tx, person, act, agency, level, cancelled, at_us=at_us)
    stop_taken(register.keys, tx, taken, audit=audit, now_us=register.clock())
    lines = None if act == "unlinked" else asked_on_level(register.catalogue, agency=agency, above=level)
    asks = open_asks_of(tx, person=person, agency=register.catalogue.agencies[agency].number, lines=lines)
    reason = "person.unlinked" if act == "unlinked" else "assurance.too_low"
    end_asks(register.keys, tx, asks, AskState.REFUSED, reason, audit=audit, now_us=register.clock())


def _doubt(register: Register, tx: Tx, agency: str, local: bytes, *, disputed: bool) -> str:
    row = tx.one("SELECT person, disputed FROM link WHERE local = ? AND until_us IS NULL", (local,))
    if row is None:
        raise _unknown()
    if bool(row[1]) == disputed:
        return "known"
    act, now_us = "disputed" if disputed else "settled", register.clock()
    if disputed:
        tx.outside.note(Act(act, local.hex(), now_us))
    raise_fence(tx, PERSON_FENCE, row[0])
    tx.run("UPDATE link SET disputed = ? WHERE local = ? AND until_us IS NULL", (int(disputed), local))
    if disputed:
        end_by_link(tx, local)
    _record(register, tx, row[0], act, agency, 0, at_us=now_us)
    return act


def _unknown() -> HubError:
    return HubError(Kind.NOT_FOUND, "no such link", remedy="It may have been undone before.", code="link-unknown")


def _erased(remedy: str) -> HubError:
    return HubError(Kind.GONE, "this person was erased", remedy=remedy, code="person-erased")


def _record(
    register: Register, tx: Tx, person: int, act: str, agency: str, level: int, cancelled: int = 0, *, at_us: int
) -> int:
    """Put a link on record for the person it is about; returns the audit row.

    `at_us` is the moment that was noted outside the store, by which a restored one finds what it lacks.
    """
    detail = {"act": act, "agency": agency, "cancelled": cancelled, "level": level}
    return write_audit(tx, _key(register, tx, person), person, LeafKind.LINK, detail, at_us=at_us)


def _key(register: Register, tx: Tx, person: int) -> OpenKey:
    """Open a person's key inside this transaction: it may have been made in it."""
    row = tx.one("SELECT key FROM person WHERE id = ?", (person,))
    if row is None or row[0] is None:
        raise _erased("Nothing can be linked to them.")
    return open_key(unwrap_person(register.keys.wrapping, person, row[0]))
