"""What the citizens' door works with, and the few steps that every act of theirs has in common."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consent.chain import Event
from consent.errors import Code, ConsentError
from consent.history import fold
from consent.record import Record, due_us
from consent.terms import Item as Asked
from consent.terms import Terms
from hub.core.agreement import Catalogue, Purpose, Subscription
from hub.core.errors import HubError, Item, Kind
from hub.core.leaf import canonical
from hub.identity.keys import Keyring, OpenKey, OpenKeys, seal_with, unseal_with
from hub.ports import Clock
from hub.store.consents import (
    ConsentRow,
    add_events,
    consent_by_public,
    save_choice,
    save_consent,
    sealed_events,
)
from hub.store.engine import Store, Tx
from hub.store.facts import NEVER_US, PERSON_FENCE, raise_fence
from hub.store.interned import intern_id

US_PER_DAY = 86_400_000_000
CONSENT_DAYS = 365  # the longest one consent lasts unless its purpose keeps data longer; then it is asked again
_REFUSALS: Mapping[Code, tuple[Kind, str, str]] = {  # kind, code of the problem, where in the request
    Code.ILLEGAL: (Kind.CONFLICT, "consent-illegal-transition", ""),
    Code.OTHER_PERSON: (Kind.FORBIDDEN, "consent-other-person", ""),
    Code.NOT_THEIRS: (Kind.FORBIDDEN, "consent-not-theirs", ""),
    Code.ASSURANCE: (Kind.FORBIDDEN, "consent-assurance-too-low", ""),
    Code.UNKNOWN_FIELD: (Kind.INVALID, "consent-unknown-field", "/items"),
    Code.NOT_NARROWER: (Kind.INVALID, "consent-not-narrower", "/items"),
    Code.REQUIRED_MISSING: (Kind.INVALID, "consent-required-missing", "/items"),
    Code.NOTHING_LEFT: (Kind.INVALID, "consent-nothing-left", "/items"),
    Code.UNTIL_PAST: (Kind.INVALID, "consent-until-past", "/until"),
    Code.UNTIL_TOO_LONG: (Kind.INVALID, "consent-until-too-long", "/until"),
    Code.NOT_LONGER: (Kind.INVALID, "consent-not-longer", "/until"),
    Code.TOO_EARLY: (Kind.CONFLICT, "consent-too-early", ""),
    Code.SUCCESSOR: (Kind.CONFLICT, "consent-bad-successor", ""),
    Code.VALUE: (Kind.INVALID, "consent-bad-value", ""),
    Code.CHAIN: (Kind.UNAVAILABLE, "consent-chain-broken", ""),  # never repaired by itself: an operator looks at it
}


@dataclass(frozen=True, slots=True)
class CitizenDesk:
    """The citizens' own world. `ring` wakes a recipient's waiting pull after an act that concerns it."""

    store: Store
    keys: Keyring
    open_keys: OpenKeys
    catalogue: Catalogue
    clock: Clock
    ring: Callable[[int], None] = lambda _recipient: None
    issuer: str = "http://127.0.0.1:8000"  # the hub's own address, as receipts and records name it


class NotTheirs(HubError):
    """Somebody else's, or nobody's: both look the same."""

    def __init__(self) -> None:
        super().__init__(
            Kind.NOT_FOUND, "there is no such entry of yours", remedy="Go back to your list.", code="entry-unknown"
        )


def lines_of(catalogue: Catalogue, recipient: str, purpose: str) -> tuple[Subscription, ...]:
    """Return every subscription of a recipient's purpose, over all its providers."""
    return tuple(
        one for one in catalogue.subscriptions.values() if one.recipient == recipient and one.purpose.code == purpose
    )


def terms_of(catalogue: Catalogue, recipient: str, purpose: Purpose) -> Terms:
    """Say what a consent for this purpose is asked to cover: the allowed fields of all its subscriptions."""
    lines = lines_of(catalogue, recipient, purpose.code)
    items = frozenset(
        Asked(one.dataset.name, name, name in one.required, one.agreement.provider)
        for one in lines
        for name in one.allowed
    )
    days = max(CONSENT_DAYS, purpose.retention_days)
    return Terms(recipient, purpose.code, items, days * US_PER_DAY, frozenset({f"{purpose.code}/{purpose.version}"}))


def own_consent(tx: Tx, public: str, person: int) -> ConsentRow:
    """Find a record of this person's own. Raises NotTheirs."""
    row = consent_by_public(tx, public)
    if row is None or row.person != person:
        raise NotTheirs
    return row


def key_of(desk: CitizenDesk, person: int) -> OpenKey:
    key = desk.open_keys.of([person]).get(person)
    if key is None:
        raise NotTheirs
    return key


def key_within(desk: CitizenDesk, tx: Tx, person: int) -> OpenKey:
    """The same in an act's transaction, where another process may have erased them a moment ago. Raises NotTheirs."""
    if not is_there(desk, tx, person):
        raise NotTheirs
    return key_of(desk, person)


def is_there(desk: CitizenDesk, tx: Tx, person: int) -> bool:
    """Say whether a person was not erased by another process; what this one erased has no key here any more."""
    there = "SELECT 1 FROM person WHERE id = ? AND erased_us IS NULL"
    return not desk.store.shared or tx.one(there, (person,)) is not None


def record_of(tx: Tx, key: OpenKey, row: ConsentRow) -> Record:
    """Rebuild a record from its sealed events; a chain that does not hold is refused, never repaired."""
    return fold(events_of(tx, key, row), head=row.head)


def events_of(tx: Tx, key: OpenKey, row: ConsentRow) -> list[Event]:
    """Open a record's events, oldest first. Believe them only after `record_of` did."""
    return [
        Event(unseal_with(key, sealed, _place(row.number, seq)), hash_)
        for seq, (sealed, hash_) in enumerate(sealed_events(tx, row.number))
    ]


def save_step(tx: Tx, key: OpenKey, row: ConsentRow, record: Record, events: tuple[Event, ...]) -> ConsentRow:
    """Append the events of a step and move the record's head."""
    sealed = [
        (one.said.at_us, seal_with(key, one.canonical, _place(row.number, row.events + at)), one.hash)
        for at, one in enumerate(events)
    ]
    add_events(tx, row.number, row.events, sealed)
    moved = row._replace(
        stretch=record.stretch,
        state=record.state.value,
        events=row.events + len(events),
        head=record.head,
        due_us=due_us(record),
    )
    save_consent(tx, moved)
    return moved


def project(tx: Tx, row: ConsentRow, record: Record) -> None:
    """Write what the record means now into the one row that decisions read, and raise the person's fence."""
    scope = canonical(sorted([dataset, name] for dataset, name in record.items)) if record.items else b"[]"
    tx.insert("interned(id, body)", [(intern_id(scope), scope.decode())], or_ignore=True)
    save_choice(
        tx,
        person=row.person,
        recipient=row.recipient,
        purpose=row.purpose,
        state=record.state.value,
        stretch=record.stretch,
        scope=intern_id(scope),
        until_us=record.until_us or due_us(record) or NEVER_US,
        assurance=record.acr,
        consent=row.number,
    )
    raise_fence(tx, PERSON_FENCE, row.person)


def act_detail(record: Record, act: str, **more: object) -> dict[str, object]:
    """Say an act on a record as its audit row's detail does."""
    return {
        "act": act,
        "consent": record.id,
        "event": record.head.hex(),
        "fields": [f"{dataset}/{name}" for dataset, name in sorted(record.items)],
        "purpose": record.terms.purpose,
        "recipient": record.terms.recipient,
        "state": record.state.value,
        "stretch": record.stretch,
        **more,
    }


def refused(error: ConsentError) -> HubError:
    """Shape a consent's refusal for the hub's one error family."""
    kind, code, where = _REFUSALS[error.code]
    items = tuple(Item(one, where) for one in error.items)
    return HubError(kind, error.what, where=where, remedy=error.remedy, code=code, items=items)


def new_public() -> str:
    """Return a fresh public id of a record or a receipt."""
    return secrets.token_urlsafe(15)


def _place(consent: int, seq: int) -> bytes:
    return b"consent" + consent.to_bytes(8) + seq.to_bytes(4)
