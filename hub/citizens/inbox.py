"""What a person is asked, what they have said, and what the law allows: everything needed to decide about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from consent.record import Record, possible, state_at
from consent.states import RUNNING, Action, State
from hub.citizens.desk import CitizenDesk, key_of, lines_of, record_of
from hub.citizens.offers import Offer, Titles, given_of, notice_of, offer_by_law, offer_of
from hub.core.agreement import Basis, Purpose, Subscription
from hub.identity.keys import OpenKey
from hub.identity.principal import Principal
from hub.store.consents import ConsentRow, choice_of, consents_of, receipts_of
from hub.store.engine import Tx
from hub.store.facts import RuleFacts, read_rules, rules_of

DOORS = {  # what the person can do, as the addresses call it; the rest of the actions is not theirs
    Action.GIVE: "grant",
    Action.REFUSE: "refuse",
    Action.PAUSE: "pause",
    Action.RESUME: "resume",
    Action.NARROW: "narrow",
    Action.EXTEND: "extend",
    Action.WITHDRAW: "withdraw",
}


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A question that waits for its answer. `notice` names the words of `offer`; a yes needs `assurance`, 1..3."""

    consent: str
    asked_us: int
    deadline_us: int
    assurance: int
    offer: Offer
    notice: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """A consent that was answered: `offer` holds what is given, and everything else of its datasets as withheld."""

    consent: str
    state: str
    asked_us: int
    given_us: int | None
    until_us: int | None
    ended_us: int | None
    offer: Offer
    actions: tuple[str, ...]
    receipts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ByLaw:
    """A use that the law allows without asking. `objection` names it towards the objections' address."""

    offer: Offer
    objectable: bool
    objected: bool
    objection: str


@dataclass(frozen=True, slots=True)
class Consents:
    running: tuple[Given, ...]
    ended: tuple[Given, ...]
    by_law: tuple[ByLaw, ...]


def open_requests(desk: CitizenDesk, principal: Principal, language: str) -> tuple[OpenRequest, ...]:
    """Return what waits for an answer, oldest first."""
    titles, now_us = Titles(desk.catalogue, language), desk.clock()
    key = key_of(desk, principal.person)
    with desk.store.read() as tx:
        records = _records(tx, key, principal.person)
    return tuple(
        _open_request(titles, record, row.requested_us, now_us)
        for row, record, _ in records
        if state_at(record, now_us) is State.REQUESTED
    )


def consents(desk: CitizenDesk, principal: Principal, language: str) -> Consents:
    """Return what runs, what has ended (newest first), and what the law allows."""
    titles, now_us = Titles(desk.catalogue, language), desk.clock()
    key = key_of(desk, principal.person)
    with desk.store.read() as tx:
        records = _records(tx, key, principal.person)
        by_law = _by_law(desk, tx, principal.person, titles, now_us)
    answered = [
        (state_at(record, now_us), _given(titles, row, record, receipts, now_us)) for row, record, receipts in records
    ]
    return Consents(
        tuple(one for state, one in answered if state in RUNNING),
        tuple(one for state, one in reversed(answered) if state not in RUNNING and state is not State.REQUESTED),
        by_law,
    )


def objection_id(recipient: str, purpose: str) -> str:
    """Name a use towards its person: there is one objection at most per recipient and purpose."""
    return f"{recipient}:{purpose}"


def _records(tx: Tx, key: OpenKey, person: int) -> list[tuple[ConsentRow, Record, list[str]]]:
    return [(row, record_of(tx, key, row), receipts_of(tx, row.number)) for row in consents_of(tx, person)]


def _open_request(titles: Titles, record: Record, asked_us: int, now_us: int) -> OpenRequest:
    offer, purpose = offer_of(titles, record.terms), titles.catalogue.purposes.get(record.terms.purpose)
    notice, _ = notice_of(offer, version=purpose.version if purpose else 1, language=titles.language)
    assurance = purpose.assurance if purpose else 0
    sha256 = notice.sha256.hex()
    return OpenRequest(record.id, asked_us, record.deadline_us, assurance, offer, sha256, _actions(record, now_us))


def _given(titles: Titles, row: ConsentRow, record: Record, receipts: Sequence[str], now_us: int) -> Given:
    offer, state = offer_of(titles, record.terms), state_at(record, now_us)
    over_us = {State.EXPIRED: record.until_us, State.LAPSED: record.deadline_us}.get(state, record.ended_us)
    return Given(
        record.id,
        state.value,
        row.requested_us,
        record.given_us or None,
        record.until_us or None,
        over_us or None,
        given_of(offer, record.items) if record.items else offer,
        _actions(record, now_us),
        tuple(receipts),
    )


def _actions(record: Record, now_us: int) -> tuple[str, ...]:
    return tuple(sorted(DOORS[action] for action in possible(record, now_us) if action in DOORS))


def _by_law(desk: CitizenDesk, tx: Tx, person: int, titles: Titles, now_us: int) -> tuple[ByLaw, ...]:
    """Find the uses that can reach this person: in force now, by a provider who knows them under an id of its own."""
    knowing = {row[0] for row in tx.rows("SELECT agency FROM link WHERE person = ? AND until_us IS NULL", (person,))}
    rules, uses = rules_of(read_rules(tx)), []
    for recipient, purpose in _lawful(desk):
        lines = [
            line
            for line in lines_of(desk.catalogue, recipient, purpose.code)
            if desk.catalogue.agencies[line.agreement.provider].number in knowing
            and _in_force(desk, line, rules, now_us)
        ]
        if not lines:
            continue
        number = desk.catalogue.agencies[recipient].number
        choice = choice_of(tx, person=person, recipient=number, purpose=purpose.number)
        shares = [
            (line.dataset, line.agreement.provider, [(name, name in line.required) for name in line.allowed])
            for line in sorted(lines, key=lambda one: one.number)
        ]
        uses.append(
            ByLaw(
                offer_by_law(titles, recipient, purpose, shares),
                purpose.basis is Basis.LAW_WITH_OBJECTION,
                choice is not None and choice.state == "objected",
                objection_id(recipient, purpose.code),
            )
        )
    return tuple(uses)


def _lawful(desk: CitizenDesk) -> list[tuple[str, Purpose]]:
    found = {
        (line.recipient, line.purpose.code): line.purpose
        for line in desk.catalogue.subscriptions.values()
        if not line.purpose.basis.needs_consent
    }
    return [(recipient, purpose) for (recipient, _), purpose in sorted(found.items())]


def _in_force(desk: CitizenDesk, line: Subscription, rules: RuleFacts, now_us: int) -> bool:
    agreement, agencies = line.agreement, desk.catalogue.agencies
    provider, recipient = agencies[agreement.provider].number, agencies[line.recipient].number
    running = agreement.valid_from_us <= now_us < agreement.valid_until_us
    return running and rules.phase(agreement.number, provider, recipient) == "in_force"
