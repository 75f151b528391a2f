"""Choose what may leave now: a recipient's next deliveries, in order, each decided again on the facts of one moment.

1. candidates by state, in event order per (subscription, person), none passing a held or untouched one, none that
   rests on a disputed link
2. the facts about the persons in them                    3. decide each again
The hand-out does this on a snapshot, and again in its transaction where that is out of date.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from hub.core.age import age_state
from hub.core.agreement import Subscription, for_ask, without_look_back
from hub.core.decide import AgreementState, Hold, Refusal, Release, Standing, Wait, decide_cached
from hub.core.leaf import canonical
from hub.exchange.disputes import Disputes
from hub.exchange.standing import Horizon, agreement_state, choice_state, standing_of
from hub.exchange.turns import WHOLE, Turn
from hub.exchange.verdicts import Missing
from hub.exchange.world import World, born_of
from hub.identity.keys import OpenKey
from hub.identity.stops import had_original
from hub.store.aims import FOR_PERSON, WITH_CASE, AimRow, aims_at
from hub.store.deliveries import AIMED, DECIDED, DeliveryKind, Part, QueueState, unpack_parts
from hub.store.engine import Tx, marks
from hub.store.facts import (
    PersonFact,
    PersonTexts,
    RuleFacts,
    disputed_links,
    persons_of,
    read_persons,
    read_rules,
    rules_of,
)
from hub.store.facts import scopes as bodies
from hub.store.interned import intern_id

BACKFILLED_SHARE = 2  # half of what may be outstanding: a recipient slow with what is backfilled still gets its news
_IN_ORDER = ", ".join(str(kind.value) for kind in sorted(DECIDED - {DeliveryKind.QUESTION}))  # behind nothing held
_ORIGINAL = (  # what is to be deleted, where it stands here and has not left: it may yet, and is deleted after that
    "SELECT 1 FROM delivery_aim m JOIN queue o ON o.recipient = q.recipient AND o.delivery = m.original"
    f" AND o.state IN ({', '.join(str(one.value) for one in sorted(QueueState) if one != QueueState.OPENED)})"
    " WHERE m.delivery = q.delivery"
)
# PostgreSQL calls `format` stable: it works it out as the statement begins, and opens no partition before it, under
# one plan for every number. Over a bare `?` it plans each time anew: cheaper by its own estimate, dearer in fact.
_SINCE = "d.id >= CAST(format('%s', ?) AS bigint)"
_FIRST = "(SELECT min(delivery) FROM queue WHERE recipient = ? AND state = ?)"
_STANDS = f"SELECT (SELECT count(*) FROM queue WHERE recipient = ? AND state = ?), {_FIRST}, {_FIRST}, {_FIRST}"


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
    aim: AimRow | None = None  # what it is about, where it is no news


class Chosen(NamedTuple):
    """Candidates and what was decided of them, on the facts of one moment."""

    candidates: Sequence[Candidate]
    judged: Sequence[Judged]
    missing: Missing  # verdicts that nobody has asked for yet: what needs them waits
    grounds: "Grounds"
    until_us: int  # the decisions stand before this instant only


class Grounds(NamedTuple):
    """What the decisions rest on, as read: the same texts mean the same facts."""

    facts_at: int  # `Tx.facts_at` then: as long as it is the same, nothing need be read
    ids: tuple[int, ...]
    persons: PersonTexts
    rules: str
    disputed: frozenset[tuple[int, int]]

    def hold(self, tx: Tx) -> bool:
        """Say whether all of it is still so, as this transaction sees it."""
        return tx.facts_at == self.facts_at or self[1:] == _grounds(tx, self.ids, disputed_links(tx))[1:]


class _Facts(NamedTuple):
    rules: RuleFacts
    persons: Mapping[int, PersonFact]
    keys: Mapping[int, OpenKey]
    shapes: Mapping[int, tuple[str, frozenset[str]]]
    field_sets: Mapping[int, Mapping[str, frozenset[str]]]
    horizon: Horizon
    aims: Mapping[int, AimRow]  # by delivery
    asked: Mapping[int, frozenset[str]]  # interned lists of fields
    opened: frozenset[int]  # deliveries about to be deleted that this recipient has had


class Gathered(NamedTuple):
    """Candidates and the facts about the persons in them, not decided yet."""

    candidates: Sequence[Candidate]
    grounds: Grounds
    facts: _Facts


def gather(world: World, tx: Tx, recipient: int, limit: int, turn: Turn = WHOLE) -> Gathered:
    """1. and 2.: all that is read, of the share that `turn` names. A snapshot need not stand longer than this takes."""
    horizon, disputed = Horizon(world.clock(), world.zone), disputed_links(tx)
    disputes = Disputes(disputed, world.catalogue, recipient)
    stops = world.stopped()
    untouched = sorted(world.stopped_lines(stops)) if stops else ()
    candidates = _candidates(tx, recipient, limit, horizon.now_us, world.limits.outstanding, disputes, untouched, turn)
    grounds = _grounds(tx, tuple(sorted({part.person for one in candidates for part in one.parts})), disputed)
    return Gathered(candidates, grounds, _read(world, tx, recipient, candidates, grounds, horizon))


def choose(world: World, gathered: Gathered, *, give_way: Callable[[], None] = lambda: None) -> Chosen:
    """3.: decide each again. `give_way` is called between two, where others may go first: outside a transaction."""
    candidates, grounds, facts = gathered
    missing = Missing()
    judged = _judge_all(world, facts, candidates, missing, give_way)
    return Chosen(candidates, judged, missing, grounds, facts.horizon.until_us)


def _candidates(
    tx: Tx,
    recipient: int,
    limit: int,
    now_us: int,
    outstanding: int,
    disputes: Disputes,
    untouched: Sequence[int] = (),
    turn: Turn = WHOLE,
) -> list[Candidate]:
    """Choose by state, in the events' order: opened ones that are due again, then ready ones behind nothing held.

    What is backfilled takes the room that is left, and never so much of what may be outstanding that news had none.
    It goes before the news of its person, so nothing that is held is ahead of it. None is of the subscriptions in
    `untouched`: what the operator stopped by name waits, and nobody waits behind it.

    The first of each state is read before: nothing that is chosen is older, so PostgreSQL leaves the partitions of
    `delivery` before it alone. It holds on a snapshot, and where nobody else writes: those are the two who choose.
    """
    opened, ready, later = QueueState.OPENED.value, QueueState.READY.value, QueueState.LATER.value
    row = tx.one(_STANDS, (recipient, opened, *(one for state in (opened, ready, later) for one in (recipient, state))))
    assert row is not None
    outside, firsts = row[0], dict(zip((opened, ready, later), row[1:], strict=True))
    fresh = min(limit, max(0, outstanding - outside))
    columns = (
        "q.delivery, q.state, q.subscription, q.person, q.number,"
        " d.public, d.kind, d.version, d.time_us, d.parts, d.payload"
        f" FROM queue q JOIN delivery d ON d.id = q.delivery AND {_SINCE}"
    )
    share, values = turn.narrowing("q.person")
    without = share + (f" AND q.subscription NOT IN ({marks(len(untouched))})" if untouched else "")
    narrowed = *values, *untouched
    due_sql = (
        f"SELECT {columns} WHERE q.recipient = ? AND q.state = ? AND q.delivery > ?{without} AND q.due_us <= ?"
        " ORDER BY q.delivery LIMIT ?"
    )
    ready_sql = (
        f"SELECT {columns} WHERE q.recipient = ? AND q.state = ? AND q.delivery > ?{without}"
        f" AND (d.kind <> {DeliveryKind.DELETE.value} OR NOT EXISTS ({_ORIGINAL}))"
        f" AND (d.kind NOT IN ({_IN_ORDER}) OR NOT EXISTS"
        " (SELECT 1 FROM queue h"
        " INDEXED BY queue_held WHERE h.person = q.person AND h.subscription = q.subscription AND h.state = 2"
        " AND h.delivery < q.delivery)) ORDER BY q.delivery LIMIT ?"
    )
    later_sql = (
        f"SELECT {columns} WHERE q.recipient = ? AND q.state = ? AND q.delivery > ?{without}"
        " ORDER BY q.delivery LIMIT ?"
    )

    def passed(sql: str, state: int, most: int, *values: int) -> list[Candidate]:
        first = firsts[state]
        if first is None or most <= 0:
            return []
        values = *narrowed, *values, most
        return disputes.passed(lambda after: _rows(tx, sql, (first, recipient, state, after, *values)), most)

    due = passed(due_sql, opened, limit, now_us)
    now = due + passed(ready_sql, ready, min(fresh, limit - len(due)))
    room = min(limit - len(now), outstanding // BACKFILLED_SHARE - outside)
    return now + passed(later_sql, later, room)


def _rows(tx: Tx, sql: str, values: Sequence[int]) -> list[Candidate]:
    return [Candidate._make((*row[:9], tuple(unpack_parts(row[9])), row[10])) for row in tx.rows(sql, values)]


def _grounds(tx: Tx, ids: tuple[int, ...], disputed: frozenset[tuple[int, int]]) -> Grounds:
    return Grounds(tx.facts_at, ids, read_persons(tx, ids, names=False), read_rules(tx), disputed)


def _read(
    world: World, tx: Tx, recipient: int, candidates: Sequence[Candidate], grounds: Grounds, horizon: Horizon
) -> _Facts:
    persons = persons_of(grounds.persons)
    keys = world.open_keys.of([number for number, person in persons.items() if not person.erased])
    scopes = {choice.scope for person in persons.values() for choice in person.choices.values()}
    shapes = world.shapes.of(tx, {part.shape for one in candidates for part in one.parts})
    field_sets = world.field_sets.within(tx, scopes)
    aims = aims_at(tx, [one.delivery for one in candidates if one.kind in AIMED])
    wanted = sorted({aim.fields for aim in aims.values() if aim.fields})
    asked = {number: frozenset(body) for number, body in bodies(tx, wanted).items()}
    opened = frozenset(
        aim.original
        for one, aim in ((one, aims.get(one.delivery)) for one in candidates if one.kind == DeliveryKind.DELETE)
        if aim is not None and had_original(world.keys, tx, recipient, one.subscription, aim)
    )
    return _Facts(rules_of(grounds.rules), persons, keys, shapes, field_sets, horizon, aims, asked, opened)


def _judge_all(
    world: World, facts: _Facts, candidates: Sequence[Candidate], missing: Missing, give_way: Callable[[], None]
) -> list[Judged]:
    """Decide each again. One that waits or is held blocks the later ones of its chain that were never opened."""
    judged: list[Judged] = []
    blocked: set[tuple[int, int]] = set()
    states: dict[int, AgreementState] = {}
    for one in candidates:
        give_way()
        chain = (one.subscription, one.person)
        if one.kind not in DECIDED:
            judged.append(_undecided(facts, one))
            continue
        if chain in blocked and not one.number:
            continue
        result = _judge(world, facts, one, states, missing)
        if result.outcome in ("wait", "hold"):
            blocked.add(chain)
        judged.append(result)
    return judged


def _undecided(facts: _Facts, one: Candidate) -> Judged:
    """Let go what holds nothing to withhold; but a delete only to who has had what it deletes."""
    aim = facts.aims.get(one.delivery)
    if any(part.person not in facts.keys for part in one.parts):  # it names somebody who was erased
        return Judged(one, "refusal", (frozenset(),) * len(one.parts), _ERASED, (), aim)
    fields = tuple([facts.shapes[part.shape][1] for part in one.parts])
    if one.kind != DeliveryKind.DELETE or aim is None or one.number:
        return Judged(one, "release", fields, _PLAIN, (), aim)
    if aim.original in facts.opened:
        return Judged(one, "release", fields, _PLAIN, (), aim)
    return Judged(one, "refusal", fields, _NO_ORIGINAL, (), aim)


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
    aim = facts.aims.get(one.delivery)
    if one.kind == DeliveryKind.QUESTION and aim is not None and aim.asks == FOR_PERSON:
        return _for_oneself(facts, one, aim, state)
    if one.kind != DeliveryKind.DATA:
        subscription, state = _as_aimed(facts, one, aim, subscription, state)
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
    return Judged(one, type(decision).__name__.lower(), fields, _outcome(decision), tuple(stretches), aim)


def _as_aimed(
    facts: _Facts, one: Candidate, aim: AimRow | None, subscription: Subscription, state: AgreementState
) -> tuple[Subscription, AgreementState]:
    """Narrow to what an ask wanted, a correction of its answer too; what is backfilled or asked for is never held; a
    question has its deadline.
    """
    if one.kind == DeliveryKind.BACKFILLED:
        return without_look_back(subscription), state
    if aim is None or not aim.asks:  # a correction of news
        return subscription, state
    if one.kind == DeliveryKind.QUESTION and not facts.horizon.before(aim.until_us):
        state = state._replace(closed="ask.expired")
    return for_ask(subscription, facts.asked[aim.fields], with_case=aim.asks == WITH_CASE), state


def _for_oneself(facts: _Facts, one: Candidate, aim: AimRow, state: AgreementState) -> Judged:
    """Let a person's own question go: it holds no value, and what it asks for goes to that person alone.

    So no consent is looked at; that there is an agreement in force, a deadline to come and a key, is.
    """
    reasons = [] if state.phase == "in_force" else [f"agreement.{state.phase}"]
    if not facts.horizon.before(aim.until_us):
        reasons.append("ask.expired")
    if one.parts[0].person not in facts.keys:
        reasons.append("person.erased")
    asked = facts.asked[aim.fields]
    if reasons:
        return Judged(one, "refusal", (frozenset(),), _body("refusal", [[]], sorted(reasons)), (0,), aim)
    return Judged(one, "release", (asked,), _body("release", [sorted(asked)], []), (0,), aim)


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
_NO_ORIGINAL = _body("refusal", [], ["correction.no_original"])
_ERASED = _body("refusal", [], ["person.erased"])
