"""The hand-out: the only exit. What leaves is decided again, in the transaction that opens it. An event's life, part 3.

In one transaction per recipient page:
1. candidates by state, in event order per (subscription, person), none passing a held or untouched one, none that
   rests on a disputed link
2. facts read again, under the fence                     3. decide again: release opens, hold holds, refusal cancels,
   wait leaves untouched                                 4. running numbers, audit row, commit
1. to 3. are done on a snapshot first. They stand in the transaction only where, under the fence, no fact has changed
since and every chosen row is where it was; else they are done again inside it, and everybody else waits.
Then, and only then, payloads are opened and bytes leave. What is not acknowledged comes again and is decided again.
The moment of release is the commit; the bytes of a hand-out that took too long after it are dropped, and come again.
"""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from hub.core.age import age_state
from hub.core.agreement import Subscription
from hub.core.decide import AgreementState, Hold, Refusal, Release, Standing, Wait, decide_cached
from hub.core.errors import HubError, Kind
from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, leaf, merkle_root
from hub.exchange.disputes import Disputes
from hub.exchange.feed import Opened
from hub.exchange.standing import Horizon, agreement_state, choice_state, standing_of
from hub.exchange.verdicts import Missing
from hub.exchange.world import World, born_of
from hub.failpoints import reach
from hub.identity.keys import OpenKey
from hub.identity.stops import stop_opened
from hub.store.audit import AUDIT
from hub.store.deliveries import QUEUE, DeliveryKind, Part, QueueState, unpack_parts
from hub.store.engine import Tx, marks
from hub.store.facts import PersonFact, RuleFacts, persons_of, read_persons, read_rules, rules_of
from hub.store.held import destroy_hold_keys, hold_keys_of, was_held
from hub.store.history import HANDED
from hub.store.interned import intern_id

US_PER_DAY = 86_400_000_000


class Candidate(NamedTuple):
    """One row of the queue with its delivery."""

    delivery: int
    state: int
    subscription: int
    person: int
    number: int
    public: bytes
    kind: int
    version: int
    time_us: int
    parts: tuple[Part, ...]
    payload: bytes


class Judged(NamedTuple):
    """A candidate and what was decided of it just now; `fields` per part."""

    candidate: Candidate
    outcome: str  # release | hold | refusal | wait
    fields: tuple[frozenset[str], ...]
    body: tuple[int, bytes]
    stretches: tuple[int, ...]


class Chosen(NamedTuple):
    """Candidates and what was decided of them, on the facts of one moment."""

    candidates: Sequence[Candidate]
    judged: Sequence[Judged]
    missing: Missing  # verdicts that nobody has asked for yet: what needs them waits
    facts_at: int  # `Tx.facts_at` of what was read
    until_us: int  # the decisions stand before this instant only


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


class _Facts(NamedTuple):
    rules: RuleFacts
    persons: Mapping[int, PersonFact]
    keys: Mapping[int, OpenKey]
    shapes: Mapping[int, tuple[str, frozenset[str]]]
    field_sets: Mapping[int, Mapping[str, frozenset[str]]]
    horizon: Horizon


def hand_out(world: World, agency: str, limit: int) -> Page:
    """Open up to `limit` deliveries for an agency, in order.

    Raises HubError(UNAVAILABLE) when nothing can be decided, or the operator stopped all releases.
    """
    recipient, limit = world.catalogue.agencies[agency].number, min(limit, world.limits.page)
    chosen = _choose_with_verdicts(world, recipient, limit)
    if not chosen.candidates:
        return Page((), False, 0, 0, world.clock())
    try:
        page = world.store.write(lambda tx: _transaction(world, tx, recipient, limit, chosen))
    except Overtaken:  # another pull of this agency, or an acknowledgement, took some of these meanwhile
        page = world.store.write(lambda tx: _transaction(world, tx, recipient, limit, None))
    reach("handout.committed")
    return page


def _choose_with_verdicts(world: World, recipient: int, limit: int) -> Chosen:
    """Choose on a snapshot, after asking for verdicts that nobody had asked for. What waits for one stays untouched."""
    with world.store.read() as tx:
        chosen = _choose(world, tx, recipient, limit)
    if not chosen.missing:
        return chosen
    try:
        world.verdicts.ask(chosen.missing)
    except HubError:
        if not any(one.outcome == "release" for one in chosen.judged):
            raise
        return chosen  # what can be decided leaves, whatever the engine says
    with world.store.read() as tx:
        return _choose(world, tx, recipient, limit)


def _choose(world: World, tx: Tx, recipient: int, limit: int) -> Chosen:
    """Take candidates, read the facts about them, and decide each again."""
    now_us, missing = world.clock(), Missing()
    horizon, disputes = Horizon(now_us, world.zone), Disputes(tx, world.catalogue, recipient)
    candidates = _candidates(tx, recipient, limit, now_us, world.limits.outstanding, disputes)  # 1.
    if not candidates:
        return Chosen((), (), missing, tx.facts_at, horizon.until_us)
    facts = _read(world, tx, candidates, horizon)  # 2.
    judged = _judge_all(world, facts, candidates, missing)  # 3.
    return Chosen(candidates, judged, missing, tx.facts_at, horizon.until_us)


def _transaction(world: World, tx: Tx, recipient: int, limit: int, chosen: Chosen | None) -> Page:
    """Open what was chosen, where under the fence nothing has changed since; else choose and decide here.

    Raises Overtaken when rows that were chosen outside are not where they were.
    """
    reach("handout.begun")
    now_us = world.clock()
    if chosen is None or tx.facts_at != chosen.facts_at or now_us >= chosen.until_us:
        chosen = _choose(world, tx, recipient, limit)
    reach("handout.decided")
    if world.stopped():
        raise HubError(
            Kind.UNAVAILABLE,
            "releases are stopped by the operator",
            remedy="Nothing is lost; pull again later.",
            code="releases-stopped",
        )
    more = len(chosen.candidates) >= limit
    page = _write(world, tx, recipient, chosen.judged, more, now_us)  # 4.
    reach("handout.before_commit")
    return page


def _candidates(
    tx: Tx, recipient: int, limit: int, now_us: int, outstanding: int, disputes: Disputes
) -> list[Candidate]:
    """Choose by state, in the events' order: opened ones that are due again, then ready ones behind nothing held."""
    row = tx.one("SELECT count(*) FROM queue WHERE recipient = ? AND state = ?", (recipient, QueueState.OPENED.value))
    assert row is not None
    fresh = min(limit, max(0, outstanding - row[0]))
    columns = (
        "q.delivery, q.state, q.subscription, q.person, q.number,"
        " d.public, d.kind, d.version, d.time_us, d.parts, d.payload"
        " FROM queue q JOIN delivery d ON d.id = q.delivery"
    )
    due_sql = (
        f"SELECT {columns} WHERE q.recipient = ? AND q.state = ? AND q.delivery > ? AND q.due_us <= ?"
        " ORDER BY q.delivery LIMIT ?"
    )
    ready_sql = (
        f"SELECT {columns} WHERE q.recipient = ? AND q.state = ? AND q.delivery > ? AND (d.kind <> ? OR NOT EXISTS"
        " (SELECT 1 FROM queue h"
        " INDEXED BY queue_held WHERE h.person = q.person AND h.subscription = q.subscription AND h.state = 2"
        " AND h.delivery < q.delivery)) ORDER BY q.delivery LIMIT ?"
    )
    opened, ready, data = QueueState.OPENED.value, QueueState.READY.value, DeliveryKind.DATA.value
    due = disputes.passed(lambda after: _rows(tx, due_sql, (recipient, opened, after, now_us, limit)), limit)
    left = min(fresh, limit - len(due))
    return due + disputes.passed(lambda after: _rows(tx, ready_sql, (recipient, ready, after, data, left)), left)


def _rows(tx: Tx, sql: str, values: tuple[int, ...]) -> list[Candidate]:
    return [Candidate._make((*row[:9], tuple(unpack_parts(row[9])), row[10])) for row in tx.rows(sql, values)]


def _read(world: World, tx: Tx, candidates: Sequence[Candidate], horizon: Horizon) -> _Facts:
    ids = sorted({part.person for one in candidates for part in one.parts})
    persons = persons_of(read_persons(tx, ids, names=False))
    keys = world.open_keys.of([number for number, person in persons.items() if not person.erased])
    scopes = {choice.scope for person in persons.values() for choice in person.choices.values()}
    shapes = world.shapes.of(tx, {part.shape for one in candidates for part in one.parts})
    field_sets = world.field_sets.within(tx, scopes)
    return _Facts(rules_of(read_rules(tx)), persons, keys, shapes, field_sets, horizon)


def _judge_all(world: World, facts: _Facts, candidates: Sequence[Candidate], missing: Missing) -> list[Judged]:
    """Decide each again. One that waits or is held blocks the later ones of its chain that were never opened."""
    judged: list[Judged] = []
    blocked: set[tuple[int, int]] = set()
    states: dict[int, AgreementState] = {}
    for one in candidates:
        chain = (one.subscription, one.person)
        if one.kind != DeliveryKind.DATA:
            judged.append(Judged(one, "release", tuple(facts.shapes[p.shape][1] for p in one.parts), _PLAIN, ()))
            continue
        if chain in blocked and not one.number:
            continue
        result = _judge(world, facts, one, states, missing)
        if result.outcome in ("wait", "hold"):
            blocked.add(chain)
        judged.append(result)
    return judged


def _judge(world: World, facts: _Facts, one: Candidate, states: dict[int, AgreementState], missing: Missing) -> Judged:
    subscription = world.catalogue.subscriptions.get(one.subscription)
    if subscription is None and facts.rules.superseded(world.catalogue.digest):  # it may be newer than this catalogue
        return Judged(one, "wait", (), _PLAIN, ())
    if subscription is None:  # no approved agreement grants this any more
        return Judged(one, "refusal", (frozenset(),) * len(one.parts), _GONE, ())
    state = states.get(one.subscription)
    if state is None:
        agencies = world.catalogue.agencies
        provider, recipient = agencies[subscription.agreement.provider].number, agencies[subscription.recipient].number
        state = states[one.subscription] = agreement_state(
            subscription, facts.rules, provider, recipient, facts.horizon
        )
    recipient = world.catalogue.agencies[subscription.recipient].number
    standings, stretches = [], []
    for part in one.parts:
        found, stretch = _standing(facts, subscription, recipient, part)
        standings.append(found)
        stretches.append(stretch)
    present = tuple([facts.shapes[part.shape][1] for part in one.parts])
    verdicts = world.verdicts.all_known(subscription, tuple(standings), missing)
    decision = decide_cached(subscription, state, tuple(standings), present, verdicts, revision=facts.rules.revision)
    if isinstance(decision, Wait):
        return Judged(one, "wait", (), _PLAIN, ())
    fields = tuple([part.fields for part in decision.parts])
    return Judged(one, type(decision).__name__.lower(), fields, _outcome(decision), tuple(stretches))


def _standing(facts: _Facts, subscription: Subscription, recipient: int, part: Part) -> tuple[Standing, int]:
    """Say where the person of a part stands now, and the stretch of consent that holds now."""
    role = facts.shapes[part.shape][0]
    person, key = facts.persons.get(part.person), facts.keys.get(part.person)
    if person is None or key is None:
        return Standing(role, "none", None, 0, "ok", erased=True), 0
    purpose = subscription.purpose
    choice = person.choices.get((recipient, purpose.number))
    age = "ok"
    if role in purpose.age_roles:
        age = age_state(purpose, role, born_of(person.born, part.person, key), facts.horizon.today())
    stretch = choice.stretch if choice else 0
    state = choice_state(choice, facts.horizon) if choice else "none"
    scope, assurance = 0, part.assurance
    if choice is not None and purpose.basis.needs_consent:
        scope, assurance = choice.scope, choice.assurance
    found = standing_of(
        subscription, role, state, scope, assurance, age,
        erased=person.erased, field_sets=facts.field_sets, kept=stretch == part.stretch,
    )  # fmt: skip
    return found, stretch


def _write(world: World, tx: Tx, recipient: int, judged: Sequence[Judged], more: bool, now_us: int) -> Page:
    """Number, move in the queue, and write the page's audit row: one row over a root of everything it did."""
    settled = [one for one in judged if one.outcome != "wait"]
    if not settled:
        return Page((), False, 0, 0, now_us)
    row = tx.one(
        "SELECT (SELECT coalesce(max(id), 0) + 1 FROM audit), (SELECT coalesce(max(id), 0) + 1 FROM delivery),"
        " coalesce((SELECT number FROM recipient_counter WHERE recipient = ?), 0)",
        (recipient,),
    )
    assert row is not None
    audit, next_delivery, last = row
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
        tx.run(
            "INSERT INTO recipient_counter(recipient, number) VALUES (?, ?)"
            " ON CONFLICT(recipient) DO UPDATE SET number = excluded.number",
            (recipient, last + len(first)),
        )
    stopped = [one.candidate for one in cancelled if one.candidate.number]
    stop_opened(world.keys, tx, recipient, stopped, first_delivery=next_delivery, audit=audit, now_us=now_us)
    destroy_hold_keys(tx, [one.candidate.delivery for one in cancelled if was_held(one.candidate.parts)])
    keys = hold_keys_of(tx, [one.candidate.delivery for one in opened if was_held(one.candidate.parts)])
    _audit(tx, audit, settled, numbers, now_us)
    leaving = tuple(
        [_opened(world, one, numbers[one.candidate.delivery], keys.get(one.candidate.delivery, ())) for one in opened]
    )
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
    for state in (QueueState.READY.value, QueueState.OPENED.value):
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
    tx.insert("interned(id, body)", [(number, body.decode()) for number, body in bodies.items()], or_ignore=True)


def _opened(world: World, one: Judged, number: int, hold_keys: Sequence[bytes]) -> Opened:
    row = one.candidate
    subscription = world.catalogue.subscriptions.get(row.subscription)
    return Opened(
        row.public, row.kind, number, subscription, row.version, row.time_us, row.parts, one.fields, row.payload,
        hold_keys,
    )  # fmt: skip


@lru_cache(maxsize=1 << 14)
def _outcome(decision: Release | Hold | Refusal) -> tuple[int, bytes]:
    """Write a second decision as it is committed to: outcome, fields per part, reasons."""
    overall = () if isinstance(decision, Release) else decision.reasons
    return _body(type(decision).__name__.lower(), [sorted(part.fields) for part in decision.parts], list(overall))


def _body(outcome: str, fields: list[list[str]], reasons: list[str]) -> tuple[int, bytes]:
    body = canonical({"fields": fields, "outcome": outcome, "reasons": reasons})
    return intern_id(body), body


_PLAIN = _body("release", [], [])  # a stop or a notice: it carries nothing that anybody could withhold
_GONE = _body("refusal", [], ["agreement.ended"])
