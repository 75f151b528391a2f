"""Ask: one agency's question to another about one person. It is decided like a release before it is put.

In one transaction:
1. the same ask again is answered as before       2. the person, by the asker's own id; who is not linked is nobody
3. decided on the facts of this moment for the asker's own subscription, as if all that is asked for were there
4. the audit row, with what the person may read; then the question into the provider's feed, or the refusal
A question is decided again when it is handed out; its answer is an event (`aimed.py`), decided like any other.
"""

import os
import struct
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from hub.core.age import age_state
from hub.core.agreement import Basis, Subscription, for_ask
from hub.core.decide import AgreementState, Decision, Release, Standing, Wait, decide_cached
from hub.core.errors import HubError, Item, Kind
from hub.core.event import Mention
from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, commitment, leaf, salts
from hub.exchange.feed import rfc3339
from hub.exchange.intake import Tags
from hub.exchange.rulings import Subject, outcome_body, shape_body
from hub.exchange.standing import Horizon, agreement_state, choice_state, standing_of
from hub.exchange.verdicts import Missing
from hub.exchange.world import World, born_of, dumps
from hub.failpoints import reach
from hub.identity.keys import keyed, seal_with, unseal_with
from hub.identity.people import link_place, local_of
from hub.store.aims import DELIVERY_AIM, FOR_PERSON, WITH_CASE, WITHOUT_CASE, AimRow, AskState
from hub.store.asks import ASK, NOBODY, AskRow, ask_by_public, is_grant_used
from hub.store.asks_over import is_forgotten
from hub.store.audit import add_audit
from hub.store.deliveries import PART, DeliveryKind, NewDelivery, public_id, put_ready
from hub.store.engine import Tx
from hub.store.facts import AGENCY_FENCE, AGREEMENT_FENCE, POLICY_FENCE, RuleFacts, persons_of, read_persons, read_rules
from hub.store.facts import rules_of as parsed
from hub.store.history import OUTCOME, PERSON
from hub.store.interned import intern_id, remember

US = 1_000_000
ID_BYTES = 16
SOONEST_US, LATEST_US = US, 30 * 86_400 * US  # of a deadline, from now: what waits longer is news, not a question
USUAL_US = 86_400 * US
TRIES = 3  # a verdict that nobody had asked for is fetched outside the transaction; facts may change meanwhile


class NewAsk(NamedTuple):
    """What an agency asks: about whom, by its own id, what for, and for which fields. `case`, `actor`: opaque tags."""

    subject: str
    purpose: str
    dataset: str
    fields: tuple[str, ...]
    case: str = ""
    actor: str = ""
    deadline_us: int | None = None
    id: str = ""  # the asker's own id of the ask: the same again is the same ask


class Asked(NamedTuple):
    """An ask as it stands. `ring`: the agency in whose feed something is new because of it; 0: nobody's."""

    row: AskRow
    ring: int = 0


class Ground(NamedTuple):
    """What an ask is decided on."""

    line: Subscription  # narrowed to what is asked for
    who: Subject
    standing: Standing
    stretch: int
    rules: RuleFacts
    asker: int
    provider: int


class Unasked(Exception):
    """A verdict that nobody has asked for yet. The transaction rolls back."""

    def __init__(self, missing: Missing) -> None:
        super().__init__("a verdict is missing")
        self.missing = missing


def ask(world: World, agency: str, new: NewAsk) -> Asked:
    """Put a question to the provider of a dataset, or have it refused; either way it is on record.

    Raises HubError: NOT_FOUND where no agreement lets this agency have the dataset for the purpose; INVALID for fields
    beyond it and for a deadline that is none; CONFLICT where the id names another ask; UNAVAILABLE: nothing was asked.
    """
    subscription = subscription_of(world, agency, new.purpose, new.dataset)
    fields = _fields(subscription, new.fields)
    line = for_ask(subscription, fields, with_case=bool(new.case))
    public = keyed(world.keys.delivery, "ask", agency, new.id) if new.id else os.urandom(ID_BYTES)
    for _ in range(TRIES):
        try:
            asked = world.store.write(lambda tx: _ask(world, tx, agency, new, line, public), group=True, rows=4)
        except Unasked as unasked:
            world.verdicts.ask(unasked.missing)
        else:
            reach("asking.committed")
            return asked
    raise unavailable()


def _ask(world: World, tx: Tx, agency: str, new: NewAsk, line: Subscription, public: bytes) -> Asked:
    reach("asking.begun")
    who = _linked(world, tx, agency, new.subject, line)
    kept = ask_by_public(tx, public)  # 1.
    if kept is not None:
        return Asked(_same(kept, line, who))
    if new.id and is_forgotten(tx, public):
        raise _repeated("you asked under this id long ago; what it was is not kept")
    now_us = world.clock()
    deadline_us = _deadline(new.deadline_us, now_us)
    tags = Tags(new.case, new.actor)
    asks = WITH_CASE if new.case else WITHOUT_CASE
    row = new_row(world, line, public, agency, asks=asks, now_us=now_us, deadline_us=deadline_us)
    if who is None:  # 2.
        return _refused_unlinked(world, tx, row, line)
    ground = ground_of(world, tx, line, who, row)
    decision = _decide(world, tx, ground)  # 3.
    reasons: tuple[str, ...] = ()
    state = AskState.ASKED
    if not isinstance(decision, Release):
        state, reasons = AskState.REFUSED, getattr(decision, "reasons", ())
    elif ground.provider not in who.fact.names:
        # Whether the provider knows somebody is learnt only where one may ask about them, as if it had said so itself.
        decision = _decide(world, tx, ground, closed="ask.provider_unlinked")
        state, reasons = AskState.NO_ANSWER, ("ask.provider_unlinked",)
    audit = record(tx, ground, decision, public, tags, now_us)  # 4.
    row = row._replace(person=who.person, stretch=ground.stretch, state=state.value, reasons=reasons)
    if state is AskState.ASKED:
        return put(world, tx, row, ground, tags, audit)
    return Asked(save(tx, row._replace(closed_us=now_us), ground.who, tags))


def subscription_of(world: World, recipient: str, purpose: str, dataset: str) -> Subscription:
    """Find the line of an agreement. Raises HubError(NOT_FOUND)."""
    for one in world.catalogue.by_dataset.get(dataset, ()):
        if (one.recipient, one.purpose.code) == (recipient, purpose):
            return one
    raise HubError(
        Kind.NOT_FOUND,
        "no agreement lets this recipient have this dataset for this purpose",
        where="/dataset",
        remedy="See the subscriptions in GET /v1/agency.",
        code="purpose-unknown",
    )


def _fields(subscription: Subscription, asked: tuple[str, ...]) -> frozenset[str]:
    """Check what is asked for; nothing named means all that is agreed. Raises HubError(INVALID)."""
    beyond = [
        Item("is not in your agreement for this purpose", f"/fields/{at}", "Ask for agreed fields only.")
        for at, name in enumerate(asked)
        if name not in subscription.allowed
    ]
    if beyond:
        raise HubError(
            Kind.INVALID,
            f"{len(beyond)} of {len(asked)} fields are beyond the agreement; nothing was asked",
            where="/fields",
            remedy=f"{subscription.agreement.code} has {', '.join(sorted(subscription.allowed))}.",
            code="ask-beyond-agreement",
            items=tuple(beyond),
        )
    return frozenset(asked) or subscription.allowed


def _deadline(deadline_us: int | None, now_us: int) -> int:
    if deadline_us is None:
        return now_us + USUAL_US
    if not now_us + SOONEST_US <= deadline_us <= now_us + LATEST_US:
        raise HubError(
            Kind.INVALID,
            "the deadline is past, less than a second away, or more than 30 days",
            where="/deadline",
            remedy="Name an instant by which an answer still helps, or leave it out: 24 hours.",
            code="ask-deadline",
        )
    return deadline_us


def _same(kept: AskRow, line: Subscription, who: Subject | None) -> AskRow:
    """Answer a repeat. Raises HubError(CONFLICT) where the id names another question, or one about somebody else."""
    other = who is not None and kept.person not in (NOBODY, who.person)
    if other or (kept.subscription, kept.fields) != (line.number, tuple(sorted(line.allowed))):
        raise _repeated("you asked something else under this id")
    return kept


def _repeated(what: str) -> HubError:
    remedy = "Give each question an id of its own."
    return HubError(Kind.CONFLICT, what, where="/id", remedy=remedy, code="ask-repeated")


def _linked(world: World, tx: Tx, agency: str, local_id: str, line: Subscription) -> Subject | None:
    """Find the person by the asker's own id; None where that is linked to nobody, in doubt, or erased."""
    row = tx.one(
        "SELECT person, level, disputed FROM link WHERE local = ? AND until_us IS NULL",
        (local_of(world.keys, agency, local_id),),
    )
    if row is None or row[2]:
        return None
    who = subject_of(world, tx, row[0], row[1], line)
    return who if who.key is not None else None


def subject_of(world: World, tx: Tx, person: int, level: int, line: Subscription) -> Subject:
    """Read what is known of a person, as the subject of the line's dataset."""
    fact = persons_of(read_persons(tx, [person]))[person]
    key = None if fact.erased else world.open_keys.of([person]).get(person)
    mention = Mention(line.dataset.subject_role, "")
    return Subject(mention, person, level, fact, key, born_of(fact.born, person, key) if fact.born else None)


def ground_of(world: World, tx: Tx, line: Subscription, who: Subject, row: AskRow) -> Ground:
    """Say where the person stands towards the asker's subscription now, with the level of the asker's own link."""
    purpose, role, horizon = line.purpose, line.dataset.subject_role, Horizon(world.clock(), world.zone)
    choice = who.fact.choices.get((row.asker, purpose.number))
    age = age_state(purpose, role, who.born, horizon.today()) if role in purpose.age_roles else "ok"
    scope, assurance = 0, who.level
    if purpose.basis.needs_consent:
        scope, assurance = (choice.scope, choice.assurance) if choice else (0, 0)
    standing = standing_of(
        line, role, choice_state(choice, horizon) if choice else "none", scope, assurance, age,
        erased=False, field_sets=world.field_sets.within(tx, {scope}),
    )  # fmt: skip
    stretch = choice.stretch if choice else 0
    return Ground(line, who, standing, stretch, parsed(read_rules(tx)), row.asker, row.provider)


def _decide(world: World, tx: Tx, ground: Ground, closed: str = "") -> Decision:
    """Decide with the functions of every release. Raises Unasked, HubError(UNAVAILABLE)."""
    line, rules, who = ground.line, ground.rules, ground.who
    if rules.superseded(world.catalogue.digest):
        raise unavailable()
    state = agreement_state(line, rules, ground.provider, ground.asker, Horizon(world.clock(), world.zone))
    once = line.purpose.basis is Basis.EXPLICIT_REQUEST and ground.standing.state == "given"
    now_us, stretch = world.clock(), ground.stretch
    if once and is_grant_used(tx, person=who.person, subscription=line.number, stretch=stretch, now_us=now_us):
        closed = "ask.grant_used"
    state = AgreementState(state.phase, closed)
    missing = Missing()
    verdicts = world.verdicts.all_known(line, (ground.standing,), missing)
    if missing:
        raise Unasked(missing)
    decision = decide_cached(line, state, (ground.standing,), (line.allowed,), verdicts, revision=rules.revision)
    if isinstance(decision, Wait):
        raise unavailable()
    return decision


def unavailable() -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        "this cannot be decided at the moment; nothing was asked",
        remedy="Ask again in a moment, under the same id.",
        code="policy-unavailable",
    )


def record(
    tx: Tx, ground: Ground, decision: Decision, public: bytes, tags: Tags, now_us: int, *, own: bool = False
) -> int:
    """Write the audit row and the person's place in it, in the form of an event's decision. Returns the row."""
    line, who, nonce = ground.line, ground.who, os.urandom(NONCE_BYTES)
    assert who.key is not None
    assert not isinstance(decision, Wait)
    overall = () if isinstance(decision, Release) else decision.reasons
    (part,) = decision.parts
    word = "release" if isinstance(decision, Release) else "refusal"
    number, body = outcome_body(line, word, ground.standing, part.fields, part.reasons, overall, line.allowed)
    if own:  # or it would read as if the recipient had asked
        body = canonical({**orjson.loads(body), "asker": "person"})
        number = intern_id(body)
    salt = salts(who.key.salt, nonce, 1)[0]
    row_leaf = leaf(LeafKind.ASK, at_us=now_us, nonce=nonce, commitments=[commitment(salt, public, body)])
    plain = (1).to_bytes(2) + OUTCOME.pack(line.number, number, ground.stretch) + (dumps([*tags]) if any(tags) else b"")
    sealed = seal_with(who.key, plain, nonce)
    detail = PERSON.pack(who.person, len(sealed)) + sealed
    fences = _fences(ground)
    remember(tx, {number: body, intern_id(fences): fences}, set())
    epochs = struct.pack("<qi", intern_id(fences), who.fact.epoch)
    audit = add_audit(tx, LeafKind.ASK, at_us=now_us, leaf=row_leaf, detail=detail, fences=epochs)
    tx.insert("history(person, audit)", [(who.person, audit)])
    return audit


def _fences(ground: Ground) -> bytes:
    """Name the epochs of everything but the person that the decision relied on, as an event's decision does."""
    epochs, agreement = ground.rules.epochs, ground.line.agreement.number
    agencies: Mapping[str, int] = {
        str(one): epochs.get((AGENCY_FENCE, one), 0) for one in (ground.asker, ground.provider)
    }
    return canonical(
        {
            "agencies": agencies,
            "agreements": {str(agreement): epochs.get((AGREEMENT_FENCE, agreement), 0)},
            "policy": epochs.get((POLICY_FENCE, 0), 0),
            "revision": ground.rules.revision,
        }
    )


def _refused_unlinked(world: World, tx: Tx, row: AskRow, line: Subscription) -> Asked:
    """Refuse what is about nobody we know. The audit row names nobody, and nothing the asker sent is kept."""
    nonce = os.urandom(NONCE_BYTES)
    body = canonical({"dataset": line.dataset.name, "outcome": "refusal", "reasons": ["person.unlinked"]})
    commit = commitment(keyed(world.keys.leaf, nonce.hex()), row.public, body)
    row_leaf = leaf(LeafKind.ASK, at_us=row.asked_us, nonce=nonce, commitments=[commit])
    add_audit(tx, LeafKind.ASK, at_us=row.asked_us, leaf=row_leaf, detail=b"")
    row = row._replace(state=AskState.REFUSED.value, reasons=("person.unlinked",), closed_us=row.asked_us)
    return Asked(save(tx, row, None, Tags()))


def new_row(
    world: World, line: Subscription, public: bytes, asker: str, *, asks: int, now_us: int, deadline_us: int
) -> AskRow:
    agencies, dataset = world.catalogue.agencies, line.dataset
    return AskRow(
        0, public, agencies[asker].number if asks != FOR_PERSON else 0, agencies[dataset.provider].number,
        dataset.number, line.number, NOBODY, tuple(sorted(line.allowed)), asks, 0, 0, 0, now_us, deadline_us, None, (),
        None,
    )  # fmt: skip


def put(world: World, tx: Tx, row: AskRow, ground: Ground, tags: Tags, audit: int) -> Asked:
    """Queue the question for the provider, by its own id of the person: which fields, what for, until when."""
    line, who = ground.line, ground.who
    assert who.key is not None
    name = unseal_with(who.key, who.fact.names[row.provider], link_place(row.provider, who.person)).decode()
    public = public_id(world.keys.delivery, row.public, line.number)
    for_whom = {"for": "person"} if row.asks == FOR_PERSON else {"asker": line.recipient}
    said = {"dataset": line.dataset.name, "purpose": line.purpose.code, "deadline": rfc3339(row.deadline_us)}
    box = seal_with(who.key, dumps((name, {**for_whom, **said})), public)
    shape = shape_body(ground.standing.role, frozenset(row.fields))
    remember(tx, dict([shape]), set())
    part = PART.pack(who.person, shape[0], ground.stretch, who.level, len(box))
    place = line.number, line.agreement.version, part, who.person
    new = NewDelivery(public, DeliveryKind.QUESTION, row.provider, audit, row.asked_us, box, *place)
    question = put_ready(tx, new)
    fields = intern_id(canonical(list(row.fields)))
    aim = AimRow(row.public, 0, fields, row.asks, row.deadline_us)
    tx.insert(DELIVERY_AIM, [(question, *aim[:5])])
    saved = save(tx, row._replace(question=question), who, tags)
    reach("asking.before_commit")
    return Asked(saved, row.provider)


def save(tx: Tx, row: AskRow, who: Subject | None, tags: Tags) -> AskRow:
    """Write the ask's own row; the asker's tags are sealed for the person. Returns it with its id."""
    fields, reasons = canonical(list(row.fields)), canonical(list(row.reasons))
    bodies = {intern_id(fields): fields} | ({intern_id(reasons): reasons} if row.reasons else {})
    remember(tx, bodies, set())
    sealed = b""
    if who is not None and who.key is not None and any(tags):
        sealed = seal_with(who.key, dumps([*tags]), b"ask" + row.public)
    tx.insert(
        ASK,
        [
            (
                row.public, row.asker, row.provider, row.dataset, row.subscription, row.person, intern_id(fields),
                row.asks, row.question, row.state, row.stretch, row.asked_us, row.deadline_us, row.closed_us,
                intern_id(reasons) if row.reasons else None, sealed, None,
            )
        ],
    )  # fmt: skip
    found = ask_by_public(tx, row.public)
    assert found is not None
    return found
