"""Decide one event for every recipient and person, and write down the rows that say so. An event's life, part 2."""

import struct
from collections.abc import Sequence
from hashlib import sha256

from hub.core.agreement import Dataset
from hub.core.event import Mention
from hub.core.leaf import LeafKind, canonical, leaf, salts
from hub.core.minimise import rewrite
from hub.exchange.aimed import aim_at, note_aimed
from hub.exchange.holds import seal_held
from hub.exchange.intake import NO_TAGS, Tags, Taken
from hub.exchange.prepared import Bench, Known, Prepared
from hub.exchange.rulings import Cut, Line, Memory, Ruled, Ruling, Subject, lines_of, shape_body
from hub.exchange.verdicts import Missing
from hub.exchange.world import born_of, dumps
from hub.identity.keys import OpenKey, unseal_with
from hub.identity.people import link_place
from hub.identity.pseudonyms import alias, pseudonym
from hub.store.deliveries import PART, PUBLIC_BYTES, DeliveryKind, QueueState
from hub.store.facts import AGENCY_FENCE, AGREEMENT_FENCE, POLICY_FENCE
from hub.store.history import OUTCOME, PERSON
from hub.store.interned import intern_id

US_PER_DAY = 86_400_000_000
_READY, _HELD, _BEHIND, _LATER = [
    one.value for one in (QueueState.READY, QueueState.HELD, QueueState.BEHIND, QueueState.LATER)
]
_CORRECTION, _DELETE = DeliveryKind.CORRECTION.value, DeliveryKind.DELETE.value
_ANSWER, _BACKFILLED = DeliveryKind.ANSWER.value, DeliveryKind.BACKFILLED.value
_DECISION = LeafKind.DECISION.value


def decide_event(bench: Bench, event: Taken, out: Prepared) -> None:
    """Decide one event for every subscription: an audit row, a history row a person, a delivery per release or hold."""
    world, known = bench.world, bench.known
    subjects = [_subject(known, mention, local) for mention, local in zip(event.persons, event.locals, strict=True)]
    aimed = aim_at(bench, event, subjects, out) if event.aim is not None else None
    lines, memory = (aimed.lines, aimed.memory) if aimed is not None else _lines(bench, event.dataset)
    ruled = bench.rulings.of(
        world.verdicts, known.rules.revision, memory, lines, subjects,
        tuple([frozenset(part) for part in event.parts]), bench.field_sets, bench.horizon,
    )  # fmt: skip
    if ruled is None or isinstance(ruled, Missing):
        out.missing.update(ruled or {})
        out.outdated |= ruled is None
        return
    audit, nonce, first = len(out.audits), bench.nonces(), len(out.deliveries)
    out.ruled.append(ruled)
    tell = _tell_one if len(subjects) == 1 else _tell_several
    commitments, details = tell(bench, event, subjects, lines, ruled, nonce, out)
    detail = b"".join(
        [_person_detail(who, nonce, rows, event.tags, bench) for who, rows in zip(subjects, details, strict=True)]
    )
    now_us = bench.horizon.now_us
    row_leaf = leaf(LeafKind.DECISION, at_us=now_us, nonce=nonce, commitments=commitments)
    fences = struct.pack(f"<q{len(subjects)}i", _rule_fences(bench, event, out), *[who.fact.epoch for who in subjects])
    out.audits.append((_DECISION, now_us, row_leaf, fences, detail))
    out.history += [(person, audit) for person in {who.person for who in subjects}]
    if aimed is not None:
        note_aimed(bench, event, aimed, ruled, subjects, out)
    out.made[event.event] = first, len(out.deliveries) - first
    if event.waiting:
        out.late.append(event.event)


def _tell_one(
    bench: Bench, event: Taken, subjects: Sequence[Subject], lines: Sequence[Line], ruled: Ruled, nonce: bytes,
    out: Prepared,
) -> tuple[list[bytes], list[list[bytes]]]:  # fmt: skip
    """Do what `_tell_several` says for an event about one person, as most are."""
    who, audit = subjects[0], len(out.audits)
    choices, stem = who.fact.choices, bench.world.keys.delivery + event.event
    commitments, detail = [], []
    for line, ruling, salt in zip(lines, ruled.rulings, _salts(bench, who, nonce, lines), strict=True):
        public = sha256(stem + line.suffix).digest()[:PUBLIC_BYTES]
        number, body = ruling.bodies[0]
        choice = choices.get(line.choice)
        stretch = choice.stretch if choice else 0
        detail.append(OUTCOME.pack(line.number, number, stretch))
        commitments.append(sha256(salt + public + body).digest())
        if ruling.outcome == "refusal":
            if line.kind == _CORRECTION:
                _delete(bench, event, line, public, audit, who.person, out)
            continue
        cut = ruling.cuts[0]
        if cut is not None and cut.own_ref is not None:
            _deliver_own(bench, event, line, ruling.outcome, cut, who, stretch, public, audit, out)
        else:
            _deliver(bench, event, line, ruling, subjects, public, audit, out)
    return commitments, [detail]


def _tell_several(
    bench: Bench, event: Taken, subjects: Sequence[Subject], lines: Sequence[Line], ruled: Ruled, nonce: bytes,
    out: Prepared,
) -> tuple[list[bytes], list[list[bytes]]]:  # fmt: skip
    """Commit to each outcome, line by line and person by person, and queue what is released or held.

    Returns the commitments, and per person the packed outcomes that they may be shown.
    """
    audit, stem = len(out.audits), bench.world.keys.delivery + event.event
    salted = [_salts(bench, who, nonce, lines) for who in subjects]
    details: list[list[bytes]] = [[] for _ in subjects]
    commitments: list[bytes] = []
    for place, (line, ruling) in enumerate(zip(lines, ruled.rulings, strict=True)):
        public = sha256(stem + line.suffix).digest()[:PUBLIC_BYTES]
        for at, (number, body) in enumerate(ruling.bodies):
            choice = subjects[at].fact.choices.get(line.choice)
            details[at].append(OUTCOME.pack(line.number, number, choice.stretch if choice else 0))
            commitments.append(sha256(salted[at][place] + public + body).digest())
        if ruling.outcome != "refusal":
            _deliver(bench, event, line, ruling, subjects, public, audit, out)
        elif line.kind == _CORRECTION:
            _delete(bench, event, line, public, audit, subjects[0].person, out)
    return commitments, details


def _salts(bench: Bench, who: Subject, nonce: bytes, lines: Sequence[Line]) -> list[bytes]:
    """Derive a salt per line from the person's key; of an erased person they are random, and nobody can open it."""
    return salts(who.key.salt, nonce, len(lines)) if who.key else [bench.nonces() for _ in lines]


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
    stretch: int,
    public: bytes,
    audit: int,
    out: Prepared,
) -> None:
    """Do what `_deliver` says for an event about one person that names nobody else."""
    assert who.key is not None  # an erased person has no fields
    name = name_for(bench.world.keys.pseudonym, line.recipient, line.subscription.recipient, who)
    data = event.parts[0]
    share = {field: data[field] for field in cut.fields}
    if cut.own_ref:
        share[cut.own_ref] = name
    plain = dumps((name, share))
    if outcome == "hold":
        box, sealed_bytes = _held(who.key, plain, public, 0, out)
    else:
        nonce = bench.nonces()
        box = nonce + who.key.aead.encrypt(nonce, plain, public)
        sealed_bytes = len(box)
    part = PART.pack(who.person, cut.shape[0], stretch, who.level, sealed_bytes)
    _queue(bench, event, line, outcome, public, audit, part, box, who.person, out)


def _held(key: OpenKey, plain: bytes, public: bytes, part: int, out: Prepared) -> tuple[bytes, int]:
    """Seal a part of the delivery that comes next, which is held. Returns it, and its size as PART has it."""
    box, own = seal_held(key, plain, public=public, part=part)
    out.hold_keys.append((len(out.deliveries), part, own))
    return box, -len(box)


def _queue(
    bench: Bench, event: Taken, line: Line, outcome: str, public: bytes, audit: int, parts: bytes, payload: bytes,
    person: int, out: Prepared,
) -> None:  # fmt: skip
    state, due_us, agreement = _READY, 0, line.subscription.agreement
    if outcome == "hold":
        state, due_us = _HELD, bench.horizon.now_us + agreement.look_back_days * US_PER_DAY
    elif line.number in bench.known.aims.backfills and _waits_for_backfill(bench, line, person):
        state = _LATER if line.kind == _BACKFILLED else _BEHIND
    if line.aim is not None:
        out.aims.append((len(out.deliveries), line.aim))
    out.deliveries.append(
        (
            public, line.kind, line.recipient, line.number, agreement.version, audit, event.time_us, parts, payload,
            state, person, due_us,
        )
    )  # fmt: skip


def _waits_for_backfill(bench: Bench, line: Line, person: int) -> bool:
    """Does a person's backfill for this recipient go first? What was asked for goes at once, and so does the deletion
    of what the recipient has.

    Of a person whose backfill has left, what is backfilled all the same goes in order with what happens now.
    """
    deletes = line.kind == _DELETE and line.aim is not None and not line.aim.stands
    return line.kind != _ANSWER and not deletes and (line.number, person) not in bench.known.aims.cleared


def _delete(
    bench: Bench, event: Taken, line: Line, public: bytes, audit: int, person: int, out: Prepared
) -> None:  # fmt: skip
    """Queue a delete, without data, for who got an event that is now corrected and may not have the correction."""
    assert line.aim is not None
    text = bench.world.keys.wrapping.seal(canonical({"deletes": [line.aim.of.hex()]}), public)
    deleting = line._replace(kind=_DELETE)
    _queue(bench, event, deleting, "release", public, audit, b"", text, person, out)


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
                out.interned[shape[0]] = shape[1]
        plain = dumps((names[who.mention.role, who.mention.local_id] if at == 0 else None, share))
        if ruling.outcome == "hold":
            box, sealed_bytes = _held(who.key, plain, public, len(parts), out)
        else:
            nonce = bench.nonces()
            box = nonce + who.key.aead.encrypt(nonce, plain, public)
            sealed_bytes = len(box)
        choice = who.fact.choices.get(line.choice)
        parts.append(PART.pack(who.person, shape[0], choice.stretch if choice else 0, who.level, sealed_bytes))
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
