"""The gate: from an event on the bus to a decision for every recipient and person.

One round:
1. poll and unseal                                2. look up: repeats, links, who waits
3. match subscriptions                            4. ask the policy what is not known yet
5. decide and write, in one transaction: what was prepared stands only if, under the fence, no fact has changed; else
   they are read again                            6. acknowledge the bus
What cannot be decided now (no verdict, an engine that is down) stays on the bus, unconsumed.
While one batch commits, the next is prepared; both are checked against the facts under their own fence.
"""

# long: the steps of one round and every row that it writes
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

from hub.core.errors import HubError
from hub.core.leaf import NONCE_BYTES, LeafKind, leaf
from hub.exchange.aimed import aim_keys
from hub.exchange.intake import Taken, open_record, take
from hub.exchange.notices import tell_conflict, tell_refused
from hub.exchange.prepare import prepare
from hub.exchange.prepared import Known, NewDelivery, Prepared
from hub.exchange.rulings import Rulings
from hub.exchange.world import World
from hub.failpoints import reach
from hub.identity.keys import new_key, seal, unseal, waiting_place
from hub.ports import Batch, Owned
from hub.store.aims import (
    BACKFILLS,
    DELIVERY_AIM,
    AimTexts,
    aims_of,
    clear_backfilled,
    close_ask,
    note_backfilled,
    read_aims_beside,
)
from hub.store.audit import AUDIT, add_audit
from hub.store.dead_letters import STOPPED, end_letters, note_letters
from hub.store.deliveries import DELIVERY, QUEUE, DeliveryKind
from hub.store.engine import NO_ROWS, Fences, Job, Query, Tx
from hub.store.facts import (
    CHAIN_LOCK,
    RULES,
    IntakeTexts,
    PersonTexts,
    epochs_query,
    intake_queries,
    links_of,
    of_persons,
    persons_of,
    read_persons,
    read_seen,
    rules_of,
    waiting_of,
)
from hub.store.held import HOLD_KEY
from hub.store.interned import remember
from hub.store.operations import HEARD_APART_US, heard
from hub.store.overdue import STOP_DUE_US, set_due
from hub.store.positions import Superseded, advance
from hub.store.quarantine import quarantined
from hub.store.waiting import WAITING, keys_of, linked_now, move, settle


class Undecided(Exception):
    """No verdict, or one of another revision: the transaction rolls back and the events wait where they are."""


class Facts(NamedTuple):
    """What a batch's decisions rely on, as read: the same text means the same facts."""

    intake: IntakeTexts
    rules: str
    persons: PersonTexts
    aims: AimTexts
    ids: tuple[int, ...]  # the persons


class Round(NamedTuple):
    """One batch on its way into the store."""

    job: Job
    owned: tuple[Owned, ...]
    interned: list[int]  # names that are stored once it has committed
    heard: list[int]  # datasets that are noted as heard of then
    seen: Mapping[bytes, bytes]  # the events it is the first to see: the next batch may hold a repeat
    began_us: int
    decided: list[Prepared]  # what its transaction wrote, once it ran: the last counts


class Counts(NamedTuple):
    """What one committed batch did."""

    events: int
    repeats: int
    conflicts: int
    parked: int
    unreadable: int
    releases: int
    holds: int
    refusals: int
    poisoned: int  # of the parked: their decision met a defect


class Done(NamedTuple):
    """One batch that has committed."""

    counts: Counts
    wrote: Prepared
    began_us: int  # its look-up


class Gate:
    """One worker of the gate. Not shared between threads; several may run, each with partitions of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._interned: set[int] = set()
        self._heard: dict[int, int] = {}  # datasets, and when this gate noted last that events of them came
        self._rulings = Rulings()
        self._commit: Round | None = None  # the batch that is committing while the next is prepared
        self.done: list[Done] = []  # what the last call saw through, also where it raised
        self.phases: dict[str, float] = dict.fromkeys(("poll", "open", "facts", "prepare", "wait"), 0.0)  # seconds

    def step(self, wait_s: float) -> Counts | None:
        """Take one batch, if there is one, and see the one before through. Returns what that one did.

        Raises HubError(UNAVAILABLE) when an engine is down: nothing was consumed, and the bus is rewound.
        """
        self.done = []
        began = perf_counter()
        events = self._world.way.portion(self._world.intake.portion(self._world.limits.batch_events))
        try:
            batch = self._world.bus.poll(events, 0.0 if self._commit else wait_s)  # 1.
        except HubError:
            self.finish()  # nobody knows how long the bus is away: whom that batch wakes is not to wait for it
            raise
        reach("gate.polled")
        began = self._spent("poll", began)
        following = None
        try:
            if batch.records:
                following = self._begin(batch)
                began = perf_counter()
            done = self._finish()
            self._spent("wait", began)
        except (HubError, Undecided, Superseded):
            self._settle(following)
            self._world.bus.rewind()
            raise
        self._commit = following
        return done

    def idle(self) -> bool:
        return self._commit is None

    def finish(self) -> Counts | None:
        """See the committing batch through without taking another: before a revisit, a new catalogue, a stop.

        Raises as `step` does; then the bus is rewound.
        """
        self.done = []
        try:
            return self._finish()
        except (HubError, Undecided, Superseded):
            self._settle(None)
            self._world.bus.rewind()
            raise

    def revisit(self) -> Counts | None:
        """Decide events from the waiting list whose persons are linked now, oldest first. None where there are none."""
        world = self._world
        self.done = []
        if self._commit is not None:
            return None  # one source at a time: a batch that commits may be about the same persons
        agencies = {agency.number: agency.code for agency in world.catalogue.agencies.values()}
        with world.store.read() as tx:
            rows = linked_now(tx, world.limits.batch_events, agencies)
            keys = keys_of(tx, [row.subject for row in rows]) if rows else {}
        if not rows:
            return None
        names = {dataset.number: dataset.name for dataset in world.datasets.values()}  # also those that have left
        taken = []
        for row in rows:
            key = world.keys.wrapping.unseal(keys[row.subject], waiting_place(row.subject))
            plain = unseal(key, row.sealed, row.subject)
            to = f"in.{agencies[row.publisher]}.{names[row.dataset]}"
            event = take(world.keys, world.catalogue, world.datasets, to, plain, row.id)
            if event is not None:
                taken.append(event)
        round_ = self._submit(taken, (), 0)
        counts: Counts = round_.job.result()
        self.done = [Done(counts, round_.decided[-1], round_.began_us)]
        return counts

    # The steps.
    def _begin(self, batch: Batch) -> Round:
        began = perf_counter()
        taken: list[Taken] = []
        unreadable = 0
        world = self._world
        for polled in batch.records:
            world.way.give()
            plain = open_record(polled.record, world.day_key)
            event = take(world.keys, world.catalogue, world.datasets, polled.record.topic, plain) if plain else None
            if event is None:
                unreadable += 1
            else:
                taken.append(event)
        self._spent("open", began)
        return self._submit(taken, batch.owned, unreadable)

    def _submit(self, taken: Sequence[Taken], owned: tuple[Owned, ...], unreadable: int) -> Round:
        """2. to 4.: look up, match, ask and prepare; then queue the transaction of 5."""
        world = self._world
        if world.timely is not None:
            world.timely.require()
        began, began_us = perf_counter(), world.clock()
        with world.store.read() as tx:
            facts, facts_at = read_facts(tx, taken), tx.facts_at
            seen = read_seen(tx, sorted({event.event for event in taken if not event.waiting}))
        if self._commit is not None:
            seen.update(self._commit.seen)
        known = self._known(facts, seen)
        began = self._spent("facts", began)
        prepared = prepare(world, taken, known, self._rulings, give_way=world.way.give)
        if prepared.missing:  # 4. one call for all that is new; what it answers is remembered
            reach("gate.asks")
            world.verdicts.ask(prepared.missing)
            prepared = prepare(world, taken, known, self._rulings, give_way=world.way.give)
        self._spent("prepare", began)
        reach("gate.prepared")

        interned: list[int] = []
        heard_now: list[int] = []
        wrote: list[Prepared] = []
        aimed = any(event.aim is not None for event in taken)  # what they rely on is changed by others too

        def transaction(tx: Tx) -> Counts:  # 5.
            reach("gate.begun")
            now = facts if not aimed and unchanged(tx, taken, facts, read_at=facts_at) else read_facts(tx, taken)
            if rules_of(now.rules).quarantined:
                raise quarantined()
            if not tx.alone and now.ids != facts.ids:
                raise Superseded("fences")  # somebody was linked meanwhile: taken up again, under their fence too
            decided = prepared
            if now != facts or world.clock() >= prepared.until_us or not prepared.complete:
                decided = prepare(world, taken, self._known(now, seen), self._rulings)
            if not decided.complete:
                raise Undecided
            reach("gate.decided")
            if world.timely is not None:
                world.timely.require_still()
            advance(tx, owned)  # first: another owner may have decided these, and their rows are there
            interned.extend(self._insert(tx, decided, unreadable))
            heard_now.extend(self._unheard({event.dataset.number for event in taken if not event.waiting}))
            heard(tx, heard_now, world.clock())
            wrote.append(decided)
            reach("gate.before_commit")
            return _counts(decided, taken, unreadable)

        job = world.store.submit(transaction, fences=_fences(taken, facts))
        return Round(job, owned, interned, heard_now, dict(prepared.seen), began_us, wrote)

    def _finish(self) -> Counts | None:
        """See the batch before through: its commit, then 6."""
        if self._commit is None:
            return None
        committing, self._commit = self._commit, None
        return self._through(committing)

    def _through(self, committing: Round) -> Counts:
        counts: Counts = committing.job.result()
        reach("gate.committed")
        self._interned.update(committing.interned)
        self._heard.update(dict.fromkeys(committing.heard, committing.began_us))
        self.done.append(Done(counts, committing.decided[-1], committing.began_us))
        self._world.bus.acknowledge(committing.owned)
        return counts

    def _settle(self, following: Round | None) -> None:
        """After a failure see off what is queued: behind one that rolled back no position matches, and it does too."""
        committing, self._commit = self._commit, None
        for queued in (committing, following):
            if queued is not None:
                try:
                    self._through(queued)
                except (HubError, Undecided, Superseded):
                    continue

    def _unheard(self, datasets: set[int]) -> list[int]:
        """Leave out what was noted within the minute: looking at that row again would hold other gates up."""
        now_us = self._world.clock()
        noted = {one for one in datasets if 0 <= now_us - self._heard.get(one, -HEARD_APART_US) < HEARD_APART_US}
        return sorted(datasets - noted)

    def _known(self, facts: Facts, seen: Mapping[bytes, bytes]) -> Known:
        persons = persons_of(facts.persons)
        keys = self._world.open_keys.of([number for number, person in persons.items() if not person.erased])
        return Known(
            seen,
            links_of(facts.intake),
            waiting_of(facts.intake),
            persons,
            rules_of(facts.rules),
            keys,
            aims_of(facts.aims),
        )

    def _insert(self, tx: Tx, decided: Prepared, unreadable: int) -> list[int]:
        """Write the rows of a batch. Ids are drawn under the fences just read.

        Returns the names it interned: known to be stored once this has committed, and not before.
        """
        audit, delivery = tx.draw("audit", len(decided.audits)), tx.draw("delivery", len(decided.deliveries))
        interned = remember(tx, decided.interned, self._interned)
        tx.insert(
            AUDIT,
            [(audit + at, *one) for at, one in enumerate(decided.audits)],
        )
        tx.insert("history(person, audit)", sorted([(person, audit + at) for person, at in decided.history]))
        seen = [(*one, *_made(decided, one[0], delivery)) for one in sorted(decided.seen)]
        tx.insert("event_seen(event, content, delivery, deliveries)", seen)
        new = list(enumerate(self._sound(decided), delivery))
        tx.insert(DELIVERY, [(at, *d[:5], audit + d[5], *d[6:9]) for at, d in new])
        tx.insert(QUEUE, [(d[2], d[9], at, d[3], d[10], 0, d[11]) for at, d in new])
        if decided.hold_keys:
            tx.insert(HOLD_KEY, [(delivery + at, part, sealed) for at, part, sealed in decided.hold_keys])
        if settle(tx, decided.settled) != len(decided.settled):
            raise Superseded("waiting")
        move(tx, decided.moved)
        if decided.moved:
            end_letters(tx, [row for row, local in decided.moved if local != STOPPED])
        self._park(tx, decided)
        self._note_aims(tx, decided, delivery)
        note_letters(tx, decided.letters, self._world.clock())
        self._conflicts(tx, decided.conflicts)
        for event, reason in decided.misaimed:
            tell_refused(self._world, tx, event, reason)
        if unreadable:
            self._unreadable(tx, unreadable)
        return interned

    def _sound(self, decided: Prepared) -> list[NewDelivery]:
        """Return the deliveries as they may be stored: texts were sealed before the transaction began."""
        if not decided.aims:
            return decided.deliveries
        sound = self._world.keys.wrapping.sound
        return [
            one if one[7] else (*one[:8], sound(one[8], one[0]), *one[9:])  # without parts it is a text
            for one in decided.deliveries
        ]

    def _note_aims(self, tx: Tx, decided: Prepared, delivery: int) -> None:
        """Note what deliveries are about, which asks are closed, whose backfill is all here. Few batches have any."""
        for event in decided.late:
            first, count = _made(decided, event, delivery)
            tx.run("UPDATE event_seen SET delivery = ?, deliveries = ? WHERE event = ?", (first, count, event))
        if decided.aims:
            rows = [
                (delivery + at, aim.of, aim.original + delivery * aim.here, aim.fields, aim.asks, aim.until_us)
                for at, aim in decided.aims
            ]
            tx.insert(DELIVERY_AIM, rows)
            deletes = [delivery + at for at, _ in decided.aims if decided.deliveries[at][1] == DeliveryKind.DELETE]
            set_due(tx, deletes, self._world.clock() + STOP_DUE_US)
        now_us = self._world.clock()
        for one in decided.answered:
            close_ask(tx, one.ask, one.state, now_us=now_us, reasons=one.reasons, answer=one.answer)
        if decided.backfilled:
            note_backfilled(tx, [(number, person) for number, _, person in decided.backfilled])
            clear_backfilled(tx, [(line, person) for _, line, person in decided.backfilled])

    def _park(self, tx: Tx, decided: Prepared) -> None:
        """List events that cannot be linked yet, sealed anew under a key of their publisher's person id."""
        if not decided.parked:
            return
        world, now_us = self._world, self._world.clock()
        subjects = list({event.subject for event, _ in decided.parked})
        wrapped = keys_of(tx, subjects)
        rows = []
        for event, missing in decided.parked:
            if event.subject not in wrapped:
                wrapped[event.subject] = world.keys.wrapping.seal(new_key(), waiting_place(event.subject))
                tx.insert("waiting_key(subject, key)", [(event.subject, wrapped[event.subject])])
            key = world.keys.wrapping.unseal(wrapped[event.subject], waiting_place(event.subject))
            sealed = seal(key, event.plain, event.subject)
            until_us = now_us + world.limits.waiting_us
            rows.append(
                (event.publisher, event.dataset.number, event.subject, missing, event.event, now_us, until_us, sealed)
            )
        tx.insert(WAITING, rows)

    def _conflicts(self, tx: Tx, events: Sequence[Taken]) -> None:
        """Record ids that came again with other content, and tell their publishers; the same one is told once."""
        for event in events:
            row = (event.event, event.content, self._world.clock())
            if tx.insert("event_conflict(event, content, at_us)", [row], or_ignore=True):
                tell_conflict(self._world, tx, event)

    def _unreadable(self, tx: Tx, count: int) -> None:
        """Note records whose key is destroyed or whose bytes are not what was sealed: nobody can decide them now."""
        now_us = self._world.clock()
        row_leaf = leaf(LeafKind.EXPIRY, at_us=now_us, nonce=new_key()[:NONCE_BYTES], commitments=())
        add_audit(tx, LeafKind.EXPIRY, at_us=now_us, leaf=row_leaf, detail=count.to_bytes(4))

    def _spent(self, phase: str, began: float) -> float:
        now = perf_counter()
        self.phases[phase] += now - began
        return now


def read_facts(tx: Tx, taken: Sequence[Taken]) -> Facts:
    """Read what the decisions of this batch rely on. The same events give the same queries, so texts compare."""
    links, waiting, rules, backfills = tx.texts([*_intake_of(taken), RULES, BACKFILLS])
    intake = IntakeTexts(links, waiting)
    persons = sorted({link.person for link in links_of(intake).values()})
    aims = read_aims_beside(tx, aim_keys(taken), persons, backfills)
    return Facts(intake, rules, read_persons(tx, persons), aims, tuple(persons))


def unchanged(tx: Tx, taken: Sequence[Taken], facts: Facts, *, read_at: int) -> bool:
    """Look under the fences whether the facts about a batch, none of it aimed, are what they were at `read_at`.

    Where no count says so, what a fence protects is not read again, but its epoch: whoever changed a fact about a
    person has raised that person's, and for agreements, agencies and the policy theirs, which are among the rules. An
    id that nobody had linked and events that wait have no fence; they are read. While a backfill is open, hand-outs
    change what is cleared.
    """
    if tx.facts_at == read_at:
        return True
    links, waiting, rules, backfills, epochs = tx.texts([*_intake_of(taken), RULES, BACKFILLS, epochs_query(facts.ids)])
    return (
        links == facts.intake.links
        and waiting == facts.intake.waiting
        and rules == facts.rules
        and backfills == NO_ROWS == facts.aims.backfills
        and epochs == facts.persons.epochs
    )


def _intake_of(taken: Sequence[Taken]) -> list[Query]:
    locals_ = sorted({local for event in taken for local in event.locals})
    return intake_queries(locals_, sorted({event.subject for event in taken}))


def _fences(taken: Sequence[Taken], facts: Facts) -> Fences | None:
    """Name what a batch relies on: its persons. What else decisions read is changed by writes that exclude all others.

    It changes the chains of its events, so that nobody parks behind, revisits or lets go what this one does; two gates
    never share a partition, so only a revisit meets them. Another gate that saw the same event first is found by
    `event_seen`'s key, an older owner by its position. Corrections, answers and backfill rely on asks and queue rows
    that hand-outs change: a batch with one of those excludes all others.
    """
    if any(event.aim is not None for event in taken):
        return None
    return Fences(of_persons(facts.ids), [(CHAIN_LOCK, chain) for chain in {chain_of(one.subject) for one in taken}])


def chain_of(subject: bytes) -> int:
    """Number the chain of a publisher's person id, for its lock."""
    return int.from_bytes(subject[:7])


def _made(decided: Prepared, event: bytes, delivery: int) -> tuple[int | None, int | None]:
    """Say which deliveries were made of an event: the first, and how many. None of them, where it waits."""
    first, count = decided.made.get(event, (0, 0))
    return (delivery + first, count) if count else (None, None)


def _counts(decided: Prepared, taken: Sequence[Taken], unreadable: int) -> Counts:
    outcomes = decided.outcomes()
    return Counts(
        len(taken) - len(decided.parked) - decided.repeats - len(decided.conflicts),
        decided.repeats,
        len(decided.conflicts),
        len(decided.parked),
        unreadable,
        outcomes["release"],
        outcomes["hold"],
        outcomes["refusal"],
        decided.poisoned,
    )
