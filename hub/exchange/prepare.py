"""Prepare a batch of events: decide each for every recipient and person, and write down the rows that say so.

No I/O: everything it relies on comes in as facts, and comes out again as rows. The gate runs it before its transaction,
and again inside it when the facts have changed meanwhile. Ids are counted from 0 here and moved to their place there.
"""

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from hub.core.agreement import Dataset
from hub.core.errors import HubError
from hub.core.event import Mention
from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, leaf, salts
from hub.core.minimise import rewrite
from hub.exchange.intake import NO_TAGS, POISON, Tags, Taken
from hub.exchange.rulings import Cut, Line, Memory, Ruling, Rulings, Subject, lines_of, shape_body
from hub.exchange.standing import FieldSets, Horizon
from hub.exchange.verdicts import Missing
from hub.exchange.world import World, born_of, dumps
from hub.identity.keys import OpenKey, unseal_with
from hub.identity.people import link_place
from hub.identity.pseudonyms import alias, pseudonym
from hub.store.deliveries import PART, DeliveryKind, QueueState
from hub.store.facts import AGENCY_FENCE, AGREEMENT_FENCE, POLICY_FENCE, LinkFact, PersonFact, RuleFacts
from hub.store.history import OUTCOME, PERSON
from hub.store.interned import intern_id

US_PER_DAY = 86_400_000_000
_DATA, _READY, _HELD = DeliveryKind.DATA.value, QueueState.READY.value, QueueState.HELD.value
_DECISION = LeafKind.DECISION.value


class Known(NamedTuple):
    """The facts of one batch, parsed."""

    seen: Mapping[bytes, bytes]
    links: Mapping[bytes, LinkFact]
    waiting: Mapping[tuple[bytes, int], list[int]]
    persons: Mapping[int, PersonFact]
    rules: RuleFacts
    keys: Mapping[int, OpenKey]


NewDelivery = tuple[bytes, int, int, int, int, int, int, bytes, bytes, int, int, int]
"""A delivery and its queue row: public, kind, recipient, subscription, version, audit, time_us, parts, payload,
state, person, due_us. `audit` is an index into the batch's audit rows."""


@dataclass(slots=True)
class Prepared:
    """The rows of one batch, ready to insert, and what they hang on."""

    until_us: int = 0  # the decisions stand before this instant only
    missing: Missing = field(default_factory=Missing)  # not empty: not to be committed
    outdated: bool = False  # a verdict of another revision: not to be committed
    audits: list[tuple[int, int, bytes, bytes, bytes]] = field(default_factory=list)
    history: list[tuple[int, int]] = field(default_factory=list)
    deliveries: list[NewDelivery] = field(default_factory=list)
    seen: list[tuple[bytes, bytes]] = field(default_factory=list)
    conflicts: list[Taken] = field(default_factory=list)
    parked: list[tuple[Taken, bytes]] = field(default_factory=list)  # with the hash of the id that is not linked
    settled: list[int] = field(default_factory=list)  # waiting rows that are decided now
    moved: list[tuple[int, bytes]] = field(default_factory=list)  # waiting rows, and the id they wait for next
    interned: dict[int, bytes] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=lambda: {"release": 0, "hold": 0, "refusal": 0})
    repeats: int = 0
    poisoned: int = 0  # events whose decision met a defect: parked, listed, expiring

    @property
    def complete(self) -> bool:
        return not self.missing and not self.outdated


class Bench(NamedTuple):
    """What stays the same over a batch."""

    world: World
    known: Known
    horizon: Horizon
    field_sets: FieldSets
    rulings: Rulings
    nonces: Callable[[], bytes]
    lines: dict[Dataset, tuple[tuple[Line, ...], Memory]]
    fences: dict[Dataset, int]  # interned epochs of agreements, agencies and policy


def prepare(world: World, batch: Sequence[Taken], known: Known, rulings: Rulings) -> Prepared:
    """Decide every event of the batch on the facts given. Repeats are dropped, unlinked events parked in order.

    Under a catalogue that is not in force any more nothing is: it may not know who hears of an event now.
    """
    if known.rules.superseded(world.catalogue.digest):
        return Prepared(outdated=True)
    horizon = Horizon(world.clock(), world.zone)
    scopes = {choice.scope for person in known.persons.values() for choice in person.choices.values()}
    field_sets = world.field_sets.of(scopes)
    bench = Bench(world, known, horizon, field_sets, rulings, nonces(), {}, {})
    out = Prepared()
    seen = dict(known.seen)
    here = {event.waiting for event in batch if event.waiting}
    elsewhere = {chain: min(set(ids) - here, default=0) for chain, ids in known.waiting.items()}
    ahead = {chain: first for chain, first in elsewhere.items() if first}  # the oldest that is not in this batch
    parked: set[tuple[bytes, int]] = set()
    for event in batch:
        if not event.waiting:
            earlier = seen.get(event.event)
            if earlier is not None:
                if earlier == event.content:
                    out.repeats += 1
                else:
                    out.conflicts.append(event)
                continue
            seen[event.event] = event.content
            out.seen.append((event.event, event.content))
        unlinked = _unlinked(event, known)
        chain = (event.subject, event.dataset.number)
        overtakes = chain in ahead and not 0 < event.waiting < ahead[chain]
        if unlinked is not None or chain in parked or overtakes:
            parked.add(chain)
            if not event.waiting:
                out.parked.append((event, unlinked or event.subject))
            elif unlinked is not None:
                out.moved.append((event.waiting, unlinked))
            continue
        if not _decided(bench, event, out):
            parked.add(chain)
            continue
        if event.waiting:
            out.settled.append(event.waiting)
    out.until_us = horizon.until_us
    return out


def _decided(bench: Bench, event: Taken, out: Prepared) -> bool:
    """Decide one event; where that raises, take its rows back and park it: it stops its own chain and nobody else's."""
    before = len(out.audits), len(out.history), len(out.deliveries)
    try:
        _decide_event(bench, event, out)
    except HubError:
        raise  # an engine is down: the whole batch waits on the bus
    except Exception:  # noqa: BLE001 - a defect met by one event must not hold up every other person's
        del out.audits[before[0] :], out.history[before[1] :], out.deliveries[before[2] :]
        out.poisoned += 1
        if event.waiting:
            out.moved.append((event.waiting, POISON))
        else:
            out.parked.append((event, POISON))
        return False
    return True


def nonces(chunk: int = 512) -> Callable[[], bytes]:
    """Return a source of random 12-byte nonces that asks the system once for many: each such call is slow."""
    pool: list[bytes] = []

    def draw() -> bytes:
        if not pool:
            noise = os.urandom(NONCE_BYTES * chunk)
            pool.extend([noise[at : at + NONCE_BYTES] for at in range(0, len(noise), NONCE_BYTES)])
        return pool.pop()

    return draw


def _unlinked(event: Taken, known: Known) -> bytes | None:
    """Return the hash of the first id that nobody has linked, or that is disputed; None when every person is known."""
    for local in event.locals:
        link = known.links.get(local)
        if link is None or link.disputed:
            return local
    return None


def _decide_event(bench: Bench, event: Taken, out: Prepared) -> None:
    """Decide one event for every subscription: an audit row, a history row a person, a delivery per release or hold."""
    world, known = bench.world, bench.known
    subjects = [_subject(known, mention, local) for mention, local in zip(event.persons, event.locals, strict=True)]
    lines, memory = _lines(bench, event.dataset)
    ruled = bench.rulings.of(
        world.verdicts, known.rules.revision, memory, lines, subjects,
        tuple([frozenset(part) for part in event.parts]), bench.field_sets, bench.horizon,
    )  # fmt: skip
    if ruled is None or isinstance(ruled, Missing):
        out.missing.update(ruled or {})
        out.outdated |= ruled is None
        return
    audit, nonce = len(out.audits), bench.nonces()
    salted = [
        salts(who.key.salt, nonce, len(lines)) if who.key else [bench.nonces() for _ in lines] for who in subjects
    ]
    details: list[list[bytes]] = [[] for _ in subjects]
    commitments: list[bytes] = []
    for place, (line, ruling) in enumerate(zip(lines, ruled, strict=True)):
        out.outcomes[ruling.outcome] += 1
        public = public_id(world.keys.delivery, event.event, line.number)
        for at, (number, body) in enumerate(ruling.bodies):
            out.interned[number] = body
            choice = subjects[at].fact.choices.get(line.choice)
            details[at].append(OUTCOME.pack(line.number, number, choice[1] if choice else 0))
            commitments.append(sha256(salted[at][place] + public + body).digest())
        if ruling.outcome == "refusal":
            continue
        cut = ruling.cuts[0]
        if len(subjects) == 1 and cut is not None and cut.own_ref is not None:
            _deliver_own(bench, event, line, ruling.outcome, cut, subjects[0], public, audit, out)
        else:
            _deliver(bench, event, line, ruling, subjects, public, audit, out)
    detail = b"".join(
        [_person_detail(who, nonce, rows, event.tags, bench) for who, rows in zip(subjects, details, strict=True)]
    )
    now_us = bench.horizon.now_us
    row_leaf = leaf(LeafKind.DECISION, at_us=now_us, nonce=nonce, commitments=commitments)
    fences = struct.pack(f"<q{len(subjects)}i", _rule_fences(bench, event, out), *[who.fact.epoch for who in subjects])
    out.audits.append((_DECISION, now_us, row_leaf, fences, detail))
    out.history += [(person, audit) for person in {who.person for who in subjects}]


def _lines(bench: Bench, dataset: Dataset) -> tuple[tuple[Line, ...], Memory]:
    found = bench.lines.get(dataset)
    if found is None:
        rules = bench.known.rules
        lines = lines_of(bench.world.catalogue, dataset, rules, bench.horizon)
        found = bench.lines[dataset] = (lines, bench.rulings.under(rules.revision, dataset, lines))
    return found


def _deliver_own(
    bench: Bench,
    event: Taken,
    line: Line,
    outcome: str,
    cut: Cut,
    who: Subject,
    public: bytes,
    audit: int,
    out: Prepared,
) -> None:
    """Do what `_deliver` says for an event about one person that names nobody else, as most are."""
    assert who.key is not None  # an erased person has no fields
    name = name_for(bench.world.keys.pseudonym, line.recipient, line.subscription.recipient, who)
    data = event.parts[0]
    share = {field: data[field] for field in cut.fields}
    if cut.own_ref:
        share[cut.own_ref] = name
    nonce = bench.nonces()
    box = nonce + who.key.aead.encrypt(nonce, dumps((name, share)), public)
    number, body = cut.shape
    out.interned[number] = body
    choice = who.fact.choices.get(line.choice)
    part = PART.pack(who.person, number, choice[1] if choice else 0, who.level, len(box))
    _queue(bench, event, line, outcome, public, audit, part, box, who.person, out)


def _queue(
    bench: Bench, event: Taken, line: Line, outcome: str, public: bytes, audit: int, parts: bytes, payload: bytes,
    person: int, out: Prepared,
) -> None:  # fmt: skip
    state, due_us, agreement = _READY, 0, line.subscription.agreement
    if outcome == "hold":
        state, due_us = _HELD, bench.horizon.now_us + agreement.look_back_days * US_PER_DAY
    out.deliveries.append(
        (
            public, _DATA, line.recipient, line.number, agreement.version, audit, event.time_us, parts, payload,
            state, person, due_us,
        )
    )  # fmt: skip


def _subject(known: Known, mention: Mention, local: bytes) -> Subject:
    link = known.links[local]
    fact, key = known.persons[link.person], known.keys.get(link.person)
    born = born_of(fact.born, link.person, key) if fact.born else None
    return Subject(mention, link.person, link.level, fact, key, born)


def _deliver(
    bench: Bench,
    event: Taken,
    line: Line,
    ruling: Ruling,
    subjects: Sequence[Subject],
    public: bytes,
    audit: int,
    out: Prepared,
) -> None:
    """Minimise, rename for the recipient, seal each part for its person, and queue."""
    secret, recipient = bench.world.keys.pseudonym, line.subscription.recipient
    names = {
        (who.mention.role, who.mention.local_id): name_for(secret, line.recipient, recipient, who)
        for who, cut in zip(subjects, ruling.cuts, strict=True)
        if cut
    }
    parts: list[bytes] = []
    sealed: list[bytes] = []
    for at, (who, cut, data) in enumerate(zip(subjects, ruling.cuts, event.parts, strict=True)):
        if cut is None:
            continue
        assert who.key is not None  # an erased person has no fields
        share = {name: data[name] for name in cut.fields}
        shape = cut.shape
        if cut.names_somebody:
            share = rewrite(
                event.dataset,
                share,
                lambda role, local_id: names.get((role, local_id)),
                identifier=lambda field, value: alias(secret, recipient, field, value),
            )
            if len(share) < len(cut.fields):  # something named somebody who may not be named here
                shape = shape_body(who.mention.role, frozenset(share))
        plain = dumps((names[who.mention.role, who.mention.local_id] if at == 0 else None, share))
        nonce = bench.nonces()
        box = nonce + who.key.aead.encrypt(nonce, plain, public)
        number, body = shape
        out.interned[number] = body
        choice = who.fact.choices.get(line.choice)
        parts.append(PART.pack(who.person, number, choice[1] if choice else 0, who.level, len(box)))
        sealed.append(box)
    whole, payload = b"".join(parts), b"".join(sealed)
    _queue(bench, event, line, ruling.outcome, public, audit, whole, payload, subjects[0].person, out)


def name_for(secret: bytes, recipient: int, agency: str, who: Subject) -> str:
    """Name a person towards a recipient: its own id where it is linked, else its pairwise pseudonym."""
    own = who.fact.names.get(recipient)
    if own is None:
        return pseudonym(secret, agency, who.person)
    assert who.key is not None  # a name is sealed under the key of a person who has one
    return unseal_with(who.key, own, link_place(recipient, who.person)).decode()


def _person_detail(who: Subject, nonce: bytes, rows: list[bytes], tags: Tags, bench: Bench) -> bytes:
    """Seal what one person may be shown of this decision. Of an erased person nothing is kept."""
    if who.key is None:
        return PERSON.pack(who.person, 0)
    plain = len(rows).to_bytes(2) + b"".join(rows) + (dumps([*tags]) if tags != NO_TAGS else b"")
    own = bench.nonces()
    sealed = own + who.key.aead.encrypt(own, plain, nonce)
    return PERSON.pack(who.person, len(sealed)) + sealed


def public_id(key: bytes, event: bytes, subscription: int) -> bytes:
    """Name a delivery: the same for every repeat of the event, and unlike any other recipient's."""
    return sha256(key + event + subscription.to_bytes(4)).digest()[:16]  # fixed lengths: a prefix key is safe


def _rule_fences(bench: Bench, event: Taken, out: Prepared) -> int:
    """Intern the epochs of everything but persons that this event's decision relied on; the same for a whole batch."""
    number = bench.fences.get(event.dataset)
    if number is None:
        rules, lines = bench.known.rules, _lines(bench, event.dataset)[0]
        agencies = {line.recipient for line in lines} | {event.publisher}
        agreements = {line.subscription.agreement.number for line in lines}
        body = canonical(
            {
                "agencies": {str(one): rules.epochs.get((AGENCY_FENCE, one), 0) for one in agencies},
                "agreements": {str(one): rules.epochs.get((AGREEMENT_FENCE, one), 0) for one in agreements},
                "policy": rules.epochs.get((POLICY_FENCE, 0), 0),
                "revision": rules.revision,
            }
        )
        number = intern_id(body)
        out.interned[number] = body
        bench.fences[event.dataset] = number
    return number
