"""Erase a person: their key is destroyed, and with it everything that was sealed under it, wherever copies lie.

In one transaction, in the fast lane:
1. the legal holds: under one it is refused               2. the person's fence; key, date of birth, names, accounts,
   sessions, choices, hold keys and waiting events go; the mark that `decide` refuses stays
3. audit row, the row that says what is left to do        4. the ledger outside the store; commit
Then, in pieces that can be resumed after a crash (`hub/exchange/erase_rest.py`): every recipient that was handed data
is told to delete it, events that wait on somebody else forget the person, and the write-ahead log is cut.

Where other processes share the store it returns only after none of them lets anything leave, or opens anything, that
was handed out before (`ELSEWHERE_S`): an erasure that has returned is one that holds, in all of them.

What stays: random ids, keyed hashes of agencies' ids (an event that is still on the bus must find the mark), numbers of
hand-outs, the log. None of it can be opened. What is queued and was not opened is refused by the next hand-out.
"""

from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import NamedTuple, Protocol

import orjson

from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.exchange.erase_rest import go_on
from hub.exchange.feed import rfc3339
from hub.exchange.opening import ELSEWHERE_S
from hub.exchange.world import World
from hub.failpoints import reach
from hub.identity.day_keys import SHORTEST_DAYS, US_PER_DAY
from hub.identity.ledger import Ledger, check_count
from hub.identity.people import local_of
from hub.identity.ring import act_salt
from hub.identity.stops import stop_opened
from hub.logs import Log
from hub.settings import Settings
from hub.store.audit import add_act
from hub.store.engine import Lane, Row, Tx, marks
from hub.store.erasures import ErasureRow, Stage, add_erasure, erasure_of, erasures_known, told
from hub.store.facts import PERSON_FENCE, raise_fence
from hub.store.file_drop import mark_files_of
from hub.store.held import AT_ONCE, destroy_hold_keys
from hub.store.legal_holds import holds_on
from hub.store.waiting import settle
from hub.store.wal import overwriting

REASONS = ("request", "consent-withdrawn", "no-longer-needed", "unlawful", "legal-obligation")  # GDPR 17(1)(a) to (e)
LATELY_US = 60_000_000  # said again within this, it waits again: the first answer may not have been given yet
RESTORED = "restored"  # the hub's own: a backup from before an erasure was put back


@dataclass(frozen=True, slots=True)
class Eraser:
    """What erasing works with. `keep_days` is the bus's retention; recipients confirm within `due_days`.

    `rests_s`: how long after its commit it returns, so that it holds in other processes as well.
    """

    world: World
    ledger: Ledger
    keep_days: int
    due_days: int
    rests_s: float = 0.0


class Erases(Protocol):
    """A hub, as far as erasing needs one."""

    @property
    def world(self) -> World: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def settings(self) -> Settings: ...


def eraser(hub: Erases) -> Eraser:
    """Put together what erasing works with now."""
    settings, world = hub.settings, hub.world
    keep_days = max(settings.intake_retention_days, SHORTEST_DAYS)
    rests_s = ELSEWHERE_S if world.store.shared else 0.0
    return Eraser(world, hub.ledger, keep_days, settings.delete_due_days, rests_s)


class Erased(NamedTuple):
    """What became of an erasure. Names nobody."""

    already: bool  # this person had been erased before: the answer is that of then
    erased_us: int
    reason: str
    destroyed: dict[str, int]  # what -> how many
    told: dict[str, int]  # recipient -> deliveries it was told to delete
    left: bool  # some recipients are told in a moment, by the worker
    due_us: int
    bus_until_us: int
    log_cut: bool  # nothing of it stands in the write-ahead log any more


def erase(desk: Eraser, *, agency: str, local_id: str, reason: str) -> Erased:
    """Erase whom an agency calls `local_id`. Said again, it answers with what was done the first time.

    Raises HubError: NOT_FOUND (nobody is linked), CONFLICT (a legal hold), INVALID (no such reason), UNAVAILABLE.
    """
    if reason not in REASONS:
        raise HubError(
            Kind.INVALID,
            "this is no reason for an erasure",
            where="reason",
            remedy=f"Name one of {', '.join(REASONS)}.",
            code="erasure-reason",
        )
    local = local_of(desk.world.keys, agency, local_id)
    with desk.world.store.read() as tx:
        row = tx.one("SELECT person FROM link WHERE local = ? AND until_us IS NULL", (local,))
    if row is None:
        raise HubError(
            Kind.NOT_FOUND,
            "nobody is linked to this agency under this id",
            remedy="Use the agency's code and its own id of the person; an undone link names nobody any more.",
            code="person-unknown",
        )
    return erase_person(desk, int(row[0]), reason=reason, local=local)


def erase_person(desk: Eraser, person: int, *, reason: str, local: bytes | None = None) -> Erased:
    """Erase a person by the hub's own id; where `local` is given, only if that keyed hash still leads to them."""
    world = desk.world
    already = world.store.write(partial(_erase, desk, person, local, reason, None), lane=Lane.URGENT)
    committed_s = monotonic()
    reach("erase.committed")
    go_on(world, person, pause=sleep)
    answer = _answer(desk, person, already=already)
    if world.clock() - answer.erased_us < LATELY_US:
        sleep(max(0.0, committed_s + desk.rests_s - monotonic()))
    return answer


def erase_again(desk: Eraser, log: Log) -> int:
    """Erase everybody whom the ledger names and this store still knows: it is an older backup. Returns how many.

    Called before anything else runs. Raises HubError(STARTUP) where the ledger has fewer erasures than the store.
    """
    world = desk.world
    with world.store.read() as tx:
        known = erasures_known(tx)
        desk.ledger.look()  # after that count: another process may erase in this moment, and it writes here first
        check_count(desk.ledger, known)
        erased = desk.ledger.erased
        back = [
            person
            for at in range(0, len(erased), AT_ONCE)
            for some in (list(erased)[at : at + AT_ONCE],)
            for (person,) in tx.rows(
                f"SELECT id FROM person WHERE id IN ({marks(len(some))}) AND erased_us IS NULL", some
            )
        ]
    for person in back:
        world.store.write(partial(_erase, desk, person, None, RESTORED, erased[person]), lane=Lane.URGENT)
    if back:
        log.error("erasure.repeated", count=len(back))
    return len(back)


def _erase(desk: Eraser, person: int, local: bytes | None, reason: str, before_us: int | None, tx: Tx) -> bool:
    """Do 1. to 4.; returns whether it had been done before. `before_us`: it was erased then, in another copy."""
    reach("erase.begun")
    world, now_us = desk.world, desk.world.clock()
    row = tx.one("SELECT erased_us FROM person WHERE id = ?", (person,))
    linked = local is None or tx.one(
        "SELECT 1 FROM link WHERE local = ? AND person = ? AND until_us IS NULL", (local, person)
    )
    if row is None or not linked:
        raise HubError(
            Kind.CONFLICT, "the link was changed meanwhile", remedy="Look again who is meant.", code="link-unknown"
        )
    if row[0] is not None:
        return True
    if before_us is None:  # what is on the ledger was erased already, whatever the backup held then
        _check_holds(tx, person, now_us)  # 1.
    raise_fence(tx, PERSON_FENCE, person)  # 2.
    mark_files_of(tx, person)
    with overwriting(tx):
        stopped, destroyed = _destroy(tx, person, now_us)
    audit = _record(world, tx, person, reason, destroyed, now_us)  # 3.
    for recipient in sorted({one.recipient for one in stopped}):
        theirs = [one for one in stopped if one.recipient == recipient]
        stop_opened(world.keys, tx, recipient, theirs, audit=audit, now_us=now_us)
    bus_until_us = (now_us // US_PER_DAY + desk.keep_days) * US_PER_DAY
    due_us = now_us + desk.due_days * US_PER_DAY
    erased_us = now_us if before_us is None else before_us
    add_erasure(tx, ErasureRow(person, audit, reason, erased_us, bus_until_us, due_us, Stage.TELL, 0, 0, 0))
    desk.ledger.append(person, erased_us)  # 4. before the commit: what is on it and did not commit is done at the start
    world.open_keys.forget(person)
    reach("erase.recorded")
    return False


class _Stopped(NamedTuple):
    recipient: int
    public: bytes
    subscription: int
    version: int
    person: int
    number: int


def _destroy(tx: Tx, person: int, now_us: int) -> tuple[list[_Stopped], dict[str, int]]:
    """Take away all that opens or names; returns what had been opened before it was held, and the counts."""
    tx.run("UPDATE person SET erased_us = ?, key = NULL, born = NULL WHERE id = ?", (now_us, person))
    held = tx.rows(
        "SELECT q.recipient, d.public, q.subscription, d.version, q.person, q.number, q.delivery"
        " FROM queue q INDEXED BY queue_held JOIN delivery d ON d.id = q.delivery WHERE q.state = 2 AND q.person = ?",
        (person,),
    )
    for at in range(0, len(held), AT_ONCE):
        some = [row[6] for row in held[at : at + AT_ONCE]]
        tx.run(
            f"DELETE FROM queue WHERE person = ? AND state = 2 AND delivery IN ({marks(len(some))})", (person, *some)
        )
    destroy_hold_keys(tx, [row[6] for row in held])
    locals_ = [row[0] for row in tx.rows("SELECT local FROM link WHERE person = ? AND until_us IS NULL", (person,))]
    waiting = _end_waiting(tx, locals_, now_us)
    names = tx.run(  # a dispute ends too: it is about nobody now, and what waits on it may go on without them
        "UPDATE link SET sealed = x'', disputed = 0 WHERE person = ? AND until_us IS NULL", (person,)
    )
    names += tx.run("UPDATE link SET sealed = x'' WHERE person = ? AND until_us IS NOT NULL", (person,))
    tx.run("DELETE FROM account WHERE local IN (SELECT local FROM link WHERE person = ?)", (person,))
    tx.run("DELETE FROM one_time_code WHERE person = ?", (person,))
    tx.run("DELETE FROM kept_form WHERE person = ?", (person,))
    sessions = tx.run(
        "DELETE FROM session WHERE CAST(json_extract(principal, '$.person') AS BIGINT) = ?"
        " OR CAST(json_extract(principal, '$.actor') AS BIGINT) = ?",
        (person, person),
    )
    choices = tx.run("DELETE FROM choice WHERE person = ?", (person,))
    tx.run("UPDATE consent SET due_us = NULL WHERE person = ?", (person,))
    counts = {"names": names, "sessions": sessions, "choices": choices, "held": len(held), "waiting": waiting}
    return [_Stopped._make(row[:6]) for row in held if row[5]], {"keys": 1, **counts}


def _end_waiting(tx: Tx, locals_: list[bytes], now_us: int) -> int:
    """End the person's own waiting events; their keys go with them. To their publishers they have expired."""
    rows: list[Row] = tx.rows(f"SELECT id, event FROM waiting WHERE subject IN ({marks(len(locals_))})", locals_)
    for at in range(0, len(rows), AT_ONCE):
        settle(tx, [row[0] for row in rows[at : at + AT_ONCE]])
    tx.insert("event_unheard(event, failed, at_us)", sorted((event, 0, now_us) for _, event in rows), or_ignore=True)
    tx.run(f"DELETE FROM waiting_key WHERE subject IN ({marks(len(locals_))})", locals_)
    return len(rows)


def _check_holds(tx: Tx, person: int, now_us: int) -> None:
    if holds := holds_on(tx, person, now_us):
        last = holds[-1]
        raise HubError(
            Kind.CONFLICT,
            f"a legal hold forbids it: {last.reference} ({last.reason}), until {rfc3339(last.until_us)}",
            where=f"hold {last.number}",
            remedy="Erase after that; `hub person unhold` lifts a hold that has ended early.",
            code="legal-hold",
        )


def _record(world: World, tx: Tx, person: int, reason: str, destroyed: dict[str, int], now_us: int) -> int:
    """Write the audit row. Its detail is in the clear, for the person has no key any more: it holds counts only."""
    said = {"act": "erased", "destroyed": destroyed, "reason": reason}
    audit = add_act(tx, LeafKind.ERASURE, said, at_us=now_us, salt=act_salt(world.keys))
    tx.insert("history(person, audit)", [(person, audit)])
    return audit


def _answer(desk: Eraser, person: int, *, already: bool) -> Erased:
    world = desk.world
    with world.store.read() as tx:
        row = erasure_of(tx, person)
        if row is None:  # marked by something older than this part of the hub
            raise HubError(
                Kind.GONE, "this person was erased", remedy="Nothing of theirs can be opened.", code="person-erased"
            )
        said = tx.one("SELECT detail FROM audit WHERE id = ?", (row.audit,))
        recipients = told(tx, person)
    assert said is not None
    codes = {agency.number: agency.code for agency in world.catalogue.agencies.values()}
    return Erased(
        already,
        row.erased_us,
        row.reason,
        orjson.loads(said[0])["destroyed"],
        {codes.get(number, f"agency {number}"): count for number, count in recipients},
        row.stage in (Stage.TELL, Stage.WAITING),
        row.due_us,
        row.bus_until_us,
        row.stage not in (Stage.TELL, Stage.WAITING, Stage.LOG),
    )
