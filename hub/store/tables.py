"""Every table, and why it has the shape it has. Alembic's first schema says the same, and a test compares the two.

Hot tables are lean: integer and short binary keys, no index that the hot path does not need, content apart from state.
Insert-only from the first day: `agreement_signature`, `audit`, `delivery`, `event_seen`, `event_unheard`,
`history`, `interned`, `consent_event`, `receipt`.
A delivery's payload is overwritten when its time is over (`delivered.py`); the row stays. A text sealed under the
wrapping key is sealed anew with it (`wrapped.py`): what it says and what is committed to stay the same.
Queue and sequence state (`queue`, `handout.acked_us`, `position`, `recipient_counter`) lives elsewhere and may change.
On PostgreSQL `audit`, `delivery` and `history` are partitioned by time (`partitions.py`).
Times are UTC microseconds. Personal values are sealed; what is not sealed are random ids, keyed hashes and numbers.
"""

# long: every table, so that what is kept can be seen at one place
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, PrimaryKeyConstraint, text
from sqlmodel import Field, SQLModel

INT = BigInteger().with_variant(Integer(), "sqlite")  # INTEGER PRIMARY KEY is SQLite's rowid itself
NO_ROWID = {"sqlite_with_rowid": False}  # the primary key is the table: one b-tree instead of two


def clustered(*columns: str) -> tuple[Any, ...]:
    """Table arguments of a table that is its own primary key."""
    return (PrimaryKeyConstraint(*columns), NO_ROWID)


def integer(*, primary: bool = False, null: bool = False) -> Any:
    return Field(default=None if null else ..., sa_type=INT, primary_key=primary, nullable=null)


def binary(*, primary: bool = False, null: bool = False) -> Any:
    return Field(default=None if null else ..., sa_type=LargeBinary, primary_key=primary, nullable=null)


def unique_binary() -> Any:
    return Field(default=..., sa_type=LargeBinary, unique=True)


# What is agreed.


class CatalogueVersion(SQLModel, table=True):
    """One approved version of an agency, dataset, purpose or agreement, as canonical JSON. Never changed."""

    __tablename__ = "catalogue_version"
    __table_args__ = clustered("kind", "code", "version")
    kind: str
    code: str
    version: int
    digest: str
    document: str
    approved_us: int = integer()


class AgreementState(SQLModel, table=True):
    """Whether an agreement is in force: a fact of the store, fenced, not part of the policy revision."""

    __tablename__ = "agreement_state"
    number: int = integer(primary=True)
    phase: str  # in_force | unsigned | suspended | ended
    since_us: int = integer()
    signed: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})  # 1: by both sides, as it stands


class AgreementProposal(SQLModel, table=True):
    """The terms of an agreement that were proposed or approved: what a signature is over, kept for ever.

    `proposed_us` alone may change: the terms proposed last are those that are open for signature.
    """

    __tablename__ = "agreement_proposal"
    __table_args__ = clustered("digest")
    digest: str  # SHA-256 of `document`, hexadecimal
    code: str
    version: int
    document: str  # the signed bytes themselves (RFC 8785)
    datasets: str  # the dataset documents whose hashes stand in the terms
    proposed_us: int = integer()


class AgreementSignature(SQLModel, table=True):
    """One side's signature over terms: a detached JWS (RFC 7515 appendix F). Insert-only."""

    __tablename__ = "agreement_signature"
    __table_args__ = clustered("digest", "side")
    digest: str
    side: str  # provider | recipient
    agency: str
    kid: str
    jws: str
    signed_us: int = integer()


class AgreementSuspension(SQLModel, table=True):
    """Who keeps an agreement suspended now: either side, or both, or the operator. It is theirs alone to take back."""

    __tablename__ = "agreement_suspension"
    __table_args__ = clustered("agreement", "agency")
    agreement: int
    agency: int  # 0: the operator
    since_us: int = integer()


class OfficerKey(SQLModel, table=True):
    """The public key of an officer who may sign for an agency (JWK). Never deleted: signatures outlive offices."""

    __tablename__ = "officer_key"
    __table_args__ = clustered("agency", "kid")
    agency: str
    kid: str
    name: str
    office: str
    jwk: str
    from_us: int = integer()
    until_us: int = integer()


class AgencyState(SQLModel, table=True):
    __tablename__ = "agency_state"
    number: int = integer(primary=True)
    suspended: int  # 0 | 1
    since_us: int = integer()


class AgencyKey(SQLModel, table=True):
    """One public key of an agency (JWK). Several may be valid at once, so that keys can be rotated."""

    __tablename__ = "agency_key"
    __table_args__ = clustered("agency", "kid")
    agency: str
    kid: str
    jwk: str
    from_us: int = integer()
    until_us: int = integer()


class Fact(SQLModel, table=True):
    """Single facts by name: `policy_revision`, `catalogue_digest`."""

    __tablename__ = "fact"
    name: str = Field(primary_key=True)
    value: str


class Fence(SQLModel, table=True):
    """Person, agreement, agency and policy have an epoch. Whoever changes them adds one; an absent row is epoch 0."""

    __tablename__ = "fence"
    __table_args__ = clustered("kind", "subject")
    kind: int
    subject: int = integer()
    epoch: int = integer()


# People.


class Person(SQLModel, table=True):
    """A person, under a random id that never leaves. `key` is wrapped; erasure destroys it and leaves the mark."""

    __tablename__ = "person"
    id: int = integer(primary=True)
    created_us: int = integer()
    erased_us: int | None = integer(null=True)
    key: bytes | None = binary(null=True)
    born: bytes | None = binary(null=True)  # sealed ISO date, where a register gave it


class Link(SQLModel, table=True):
    """An agency's own id of a person, for an interval.

    `local` is a keyed hash of (agency, id); the id itself is sealed for that person. `level` and `disputed` are what
    they are now; the audit rows have what they were.
    """

    __tablename__ = "link"
    __table_args__ = (
        PrimaryKeyConstraint("local", "from_us"),
        Index(
            "link_person",
            "person",
            "agency",
            "sealed",
            "until_us",
            sqlite_where=text("until_us IS NULL"),
            postgresql_where=text("until_us IS NULL"),
        ),
        Index(
            "link_disputed",
            "person",
            "agency",
            sqlite_where=text("disputed = 1 AND until_us IS NULL"),
            postgresql_where=text("disputed = 1 AND until_us IS NULL"),
        ),
        Index(
            "link_ended",
            "person",
            sqlite_where=text("until_us IS NOT NULL"),
            postgresql_where=text("until_us IS NOT NULL"),
        ),
        NO_ROWID,
    )
    local: bytes = binary()
    agency: int
    from_us: int = integer()
    until_us: int | None = integer(null=True)
    person: int = integer()
    level: int  # 1..3
    disputed: int = 0
    sealed: bytes = binary()


class Choice(SQLModel, table=True):
    """What a person's choices mean now, per recipient and purpose: one short row, all that a decision reads of consent.

    It is the projection of the consent's events, changed in their transaction. `scope` is an interned list of
    [dataset, field]; 0 where the basis asks for none.
    """

    __tablename__ = "choice"
    __table_args__ = clustered("person", "recipient", "purpose")
    person: int = integer()
    recipient: int
    purpose: int
    state: int
    stretch: int
    scope: int = integer()
    until_us: int = integer()  # half-open; of a question its deadline; 2**62 where none was named
    assurance: int
    consent: int = integer()


class Consent(SQLModel, table=True):
    """One consent record; its content is the fold of its events."""

    __tablename__ = "consent"
    __table_args__ = (
        Index("consent_person", "person"),
        Index(
            "consent_due",
            "due_us",
            sqlite_where=text("due_us IS NOT NULL"),
            postgresql_where=text("due_us IS NOT NULL"),
        ),
    )
    number: int = integer(primary=True)
    public: str = Field(unique=True)
    person: int = integer()
    recipient: int
    purpose: int
    stretch: int
    state: str
    requested_us: int = integer()
    events: int
    head: bytes = binary()  # hash of the latest event: without it nobody notices that the last ones are gone
    due_us: int | None = integer(null=True)  # when time ends what it is in now; null once it has ended


class ConsentEvent(SQLModel, table=True):
    """One hash-chained event of a consent: its canonical bytes (RFC 8785), sealed for the person."""

    __tablename__ = "consent_event"
    __table_args__ = clustered("consent", "seq")
    consent: int = integer()
    seq: int
    at_us: int = integer()
    sealed: bytes = binary()
    hash: bytes = binary()


class Receipt(SQLModel, table=True):
    """What a person was told in return for an act of theirs; immutable, sealed for them."""

    __tablename__ = "receipt"
    __table_args__ = (Index("receipt_consent", "consent"),)
    id: str = Field(primary_key=True)
    consent: int = integer()
    kind: str
    at_us: int = integer()
    person: int = integer()
    sealed: bytes = binary()


class Session(SQLModel, table=True):
    """A citizen's sign-in, kept on the server. The cookie's value is stored as a hash only.

    `actor` signed in; unset where a hub of before this column wrote the row. `local` is the link that said who that is.
    """

    __tablename__ = "session"
    __table_args__ = (Index("session_actor", "actor"), Index("session_local", "local"))
    token: bytes = binary(primary=True)
    principal: str
    csrf: bytes = binary()
    expires_us: int = integer()
    actor: int | None = integer(null=True)
    local: bytes | None = binary(null=True)


class Account(SQLModel, table=True):
    """Whom a provider of sign-ins knows under a name: which link says who that is, and never which person.

    `subject` is a keyed hash of (issuer, its name of them), `local` the key of `link`.
    """

    __tablename__ = "account"
    __table_args__ = (PrimaryKeyConstraint("subject"), Index("account_local", "local"), NO_ROWID)
    subject: bytes = binary()
    local: bytes = binary()
    since_us: int = integer()


class OneTimeCode(SQLModel, table=True):
    """The last code that a person was given for an aim, as a keyed hash; how often it was tried, how many there were.

    `code` is empty once it was used, or tried too often. `issued` counts since `window_us`.
    """

    __tablename__ = "one_time_code"
    __table_args__ = clustered("person", "aim")
    person: int = integer()
    aim: str
    code: bytes = binary()
    expires_us: int = integer()
    attempts: int
    issued: int
    window_us: int = integer()


class KeptForm(SQLModel, table=True):
    """What somebody had filled in when their session ended, sealed under a key that their browser alone has."""

    __tablename__ = "kept_form"
    __table_args__ = (PrimaryKeyConstraint("token"), Index("kept_form_person", "person"))
    token: bytes = binary()
    person: int = integer()
    sealed: bytes = binary()
    expires_us: int = integer()


# An event's way.


class BusRecord(SQLModel, table=True):
    """The embedded bus. `id` is partition * 2**40 + offset, so that each partition grows at its own end."""

    __tablename__ = "bus_record"
    id: int = integer(primary=True)
    key: bytes = binary()
    value: bytes = binary()


class BusTopic(SQLModel, table=True):
    __tablename__ = "bus_topic"
    number: int = integer(primary=True)
    name: str = Field(unique=True)


class Position(SQLModel, table=True):
    """How far a partition is decided. Moves in the decision's transaction, where owner epoch and old offset match."""

    __tablename__ = "position"
    partition: str = Field(primary_key=True)
    epoch: int = integer()
    next: int = integer()


class DayKey(SQLModel, table=True):
    """A publisher's key of one day, wrapped, for what lies on the bus. Destroyed after the bus's retention."""

    __tablename__ = "day_key"
    __table_args__ = clustered("agency", "day")
    agency: int
    day: int  # days since 1970
    key: bytes | None = binary(null=True)


class EventSeen(SQLModel, table=True):
    """Every event ever taken off the bus: a repeat is dropped, other content under the same id is a conflict."""

    __tablename__ = "event_seen"
    __table_args__ = clustered("event")
    event: bytes = binary()  # keyed hash of (publisher, source, id), 16 bytes
    content: bytes = binary()  # keyed hash of the content, 16 bytes
    delivery: int | None = integer(null=True)  # the first that was made of it; null: none yet
    deliveries: int | None = integer(null=True)  # how many follow each other from there: what a correction reaches


class EventConflict(SQLModel, table=True):
    """An event id that came again with other content: each other content is reported once."""

    __tablename__ = "event_conflict"
    __table_args__ = clustered("event", "content")
    event: bytes = binary()
    content: bytes = binary()
    at_us: int = integer()


class EventUnheard(SQLModel, table=True):
    """An event that waited until its time was over, and was never decided. `failed`: 1 where a defect had met it."""

    __tablename__ = "event_unheard"
    __table_args__ = clustered("event")
    event: bytes = binary()
    failed: int
    at_us: int = integer()


class Waiting(SQLModel, table=True):
    """An event whose person is not linked, or that stands behind one. Sealed anew; listed; expires."""

    __tablename__ = "waiting"
    __table_args__ = (Index("waiting_subject", "subject", "dataset"), Index("waiting_local", "local"))
    id: int = integer(primary=True)
    publisher: int
    dataset: int
    subject: bytes = binary()  # keyed hash of (publisher, its id of the event's subject): its place in order
    local: bytes = binary()  # keyed hash of (publisher, the id that is not linked)
    event: bytes = binary()
    since_us: int = integer()
    until_us: int = integer()
    sealed: bytes = binary()


class WaitingKey(SQLModel, table=True):
    """The key of waiting events, per keyed hash of (publisher, its person id): there is no person yet to own one."""

    __tablename__ = "waiting_key"
    __table_args__ = clustered("subject")
    subject: bytes = binary()
    key: bytes = binary()


class Audit(SQLModel, table=True):
    """One row per decided event, per page of hand-outs, per act. `leaf` is final; `detail` is sealed per party.

    The id is drawn under the fences that were read, whose epochs stand beside it.
    """

    __tablename__ = "audit"
    id: int = integer(primary=True)
    kind: int
    at_us: int = integer()
    leaf: bytes = binary()
    fences: bytes = binary()
    detail: bytes = binary()


class History(SQLModel, table=True):
    """A person's own index of the decisions about them."""

    __tablename__ = "history"
    __table_args__ = clustered("person", "audit")
    person: int = integer()
    audit: int = integer()


class Interned(SQLModel, table=True):
    """Texts that repeat (field sets, outcomes as they are committed to): named by their content, never personal."""

    __tablename__ = "interned"
    id: int = integer(primary=True)  # first 63 bits of the SHA-256 of `body`
    body: str


class Delivery(SQLModel, table=True):
    """One minimised payload for one recipient, each part sealed for the person it is about. Append-only."""

    __tablename__ = "delivery"
    id: int = integer(primary=True)
    public: bytes = binary()  # 16 bytes, deterministic, the recipient's own name of it
    kind: int
    recipient: int
    subscription: int
    version: int  # of the agreement, for the envelope; never part of the id
    audit: int = integer()
    time_us: int = integer()
    parts: bytes = binary()  # per person: id, role, stretch, assurance, field set, length (hub/store/deliveries.py)
    payload: bytes = binary()


class HoldKey(SQLModel, table=True):
    """The own key of one part of a held delivery, sealed for its person. Expiry deletes it; the payload stays, shut."""

    __tablename__ = "hold_key"
    __table_args__ = clustered("delivery", "part")
    delivery: int = integer()
    part: int  # its place in `delivery.parts`
    sealed: bytes = binary()


class Queue(SQLModel, table=True):
    """What is still to be handed out or acknowledged, by state; in the order of `delivery`, which is the events'."""

    __tablename__ = "queue"
    __table_args__ = (
        PrimaryKeyConstraint("recipient", "state", "delivery"),
        Index(
            "queue_held",
            "person",
            "subscription",
            "delivery",
            sqlite_where=text("state = 2"),
            postgresql_where=text("state = 2"),
        ),
        Index(
            "queue_backfill",
            "subscription",
            "person",
            "state",
            sqlite_where=text("state > 3"),
            postgresql_where=text("state > 3"),
        ),
        NO_ROWID,
    )
    recipient: int
    state: int  # QueueState
    delivery: int = integer()
    subscription: int
    person: int = integer()  # of the event's subject: the chain is (subscription, person)
    number: int = integer()  # 0: never opened
    due_us: int = integer()  # opened: when it may come again; held: when the hold expires


class DeliveryAim(SQLModel, table=True):
    """What a correction, a delete, a question or an answer is about. One row each; other deliveries have none."""

    __tablename__ = "delivery_aim"
    __table_args__ = clustered("delivery")
    delivery: int = integer()
    of: bytes = binary()  # 16 bytes: the recipient's own id of the corrected delivery, or the ask's id
    original: int = integer()  # the corrected delivery; 0 of an ask
    fields: int = integer()  # interned list of the fields that were asked for
    asks: int  # 1 with a case, 2 without, 3 for the person
    until_us: int = integer()  # the ask's deadline


class Ask(SQLModel, table=True):
    """A question of one agency to another about one person, or a person's own about what would be shared.

    Its content is its number, two agencies and names of fields; the asker's tags and an answer to the person are
    sealed for that person.
    """

    __tablename__ = "ask"
    __table_args__ = (
        Index("ask_open", "deadline_us", sqlite_where=text("state = 1"), postgresql_where=text("state = 1")),
        Index(
            "ask_answer",
            "deadline_us",
            sqlite_where=text("answer IS NOT NULL"),
            postgresql_where=text("answer IS NOT NULL"),
        ),
        Index("ask_person", "person", "subscription"),
    )
    id: int = integer(primary=True)
    public: bytes = unique_binary()  # 16 bytes: random, or a keyed hash of the asker's own id of it
    asker: int  # 0: the person
    provider: int
    dataset: int
    subscription: int
    person: int = integer()
    fields: int = integer()  # interned list
    asks: int  # 1 with a case, 2 without, 3 for the person
    question: int = integer()  # the delivery that puts it to the provider; 0: it was never put
    state: int  # AskState
    stretch: int  # of the consent it rests on: one answer per grant
    asked_us: int = integer()
    deadline_us: int = integer()
    closed_us: int | None = integer(null=True)
    reasons: int | None = integer(null=True)  # interned list, of a refusal
    tags: bytes = binary()
    answer: bytes | None = binary(null=True)


class Backfill(SQLModel, table=True):
    """What a provider holds already, on its way to one recipient that is newly in force. Open until `closed_us`."""

    __tablename__ = "backfill"
    __table_args__ = (
        Index(
            "backfill_open",
            "subscription",
            sqlite_where=text("closed_us IS NULL"),
            postgresql_where=text("closed_us IS NULL"),
        ),
    )
    id: int = integer(primary=True)
    public: bytes = unique_binary()  # 16 bytes, random
    subscription: int
    provider: int
    opened_us: int = integer()
    until_us: int = integer()
    ending: int  # 1: the provider has sent everything; what stands behind it goes piece by piece
    closed_us: int | None = integer(null=True)
    persons: int  # how many it is about, as the provider said; 0: it did not say
    done: int  # of how many all is here
    cursor: bytes = binary()  # the provider's own bookmark, sealed
    ends: str  # JSON, once it is ending: per partition of the bus one past its last record then; "" before


class BackfillPerson(SQLModel, table=True):
    """A person whose backfilled events are all here. Kept while the backfill is open.

    `cleared`: 1 where they have left, and what happens now goes at once; 2 where it goes because the backfill ends.
    """

    __tablename__ = "backfill_person"
    __table_args__ = clustered("backfill", "person")
    backfill: int = integer()
    person: int = integer()
    cleared: int


class RecipientCounter(SQLModel, table=True):
    __tablename__ = "recipient_counter"
    recipient: int = Field(primary_key=True)
    number: int = integer()


class Handout(SQLModel, table=True):
    """One opened delivery under the recipient's running number, and when it was acknowledged."""

    __tablename__ = "handout"
    __table_args__ = clustered("recipient", "number")
    recipient: int
    number: int = integer()
    delivery: int = integer()
    opened_us: int = integer()
    acked_us: int | None = integer(null=True)
    ended: int = 0  # 1: cancelled after it was opened; a `stop` went out under its number
    used: int | None = integer(null=True)  # interned list of the fields that the recipient said it used


class HandoutPerson(SQLModel, table=True):
    """Which opened deliveries held a part of this person, and under which stretch of consent they relied on it."""

    __tablename__ = "handout_person"
    __table_args__ = clustered("person", "recipient", "number", "stretch")
    person: int = integer()
    recipient: int
    number: int = integer()
    stretch: int
    audit: int = integer()


class DeliveryDue(SQLModel, table=True):
    """Until when a stop or a delete is to be acknowledged; the row goes with the acknowledgement, so these are few."""

    __tablename__ = "delivery_due"
    __table_args__ = clustered("delivery")
    delivery: int = integer()
    due_us: int = integer()


class DeadLetter(SQLModel, table=True):
    """An event whose decision met a defect: which class of failure, how often. The event itself is in `waiting`.

    Rows stay, so that a number never means another event; `waiting` is 0 once it was decided, ended or discarded.
    """

    __tablename__ = "dead_letter"
    __table_args__ = (
        Index(
            "dead_letter_waiting",
            "waiting",
            unique=True,
            sqlite_where=text("waiting > 0"),
            postgresql_where=text("waiting > 0"),
        ),
    )
    number: int = integer(primary=True)
    waiting: int = integer()
    code: str  # seal | data | defect | form
    attempts: int
    last_us: int = integer()


# Erasure.


class LegalHold(SQLModel, table=True):
    """Why a person may not be erased for a while. `reference` is the order's own, never a name."""

    __tablename__ = "legal_hold"
    __table_args__ = (Index("legal_hold_person", "person"),)
    number: int = integer(primary=True)
    person: int = integer()
    reference: str
    reason: str
    from_us: int = integer()
    until_us: int = integer()  # half-open; lifted early, it is the instant of that


class Erasure(SQLModel, table=True):
    """How far the rest of an erasure is. The person's key went first, in the transaction that made this row."""

    __tablename__ = "erasure"
    __table_args__ = (
        Index("erasure_open", "stage", sqlite_where=text("stage > 0"), postgresql_where=text("stage > 0")),
        PrimaryKeyConstraint("person"),
        NO_ROWID,
    )
    person: int = integer()
    audit: int = integer()
    reason: str
    erased_us: int = integer()
    bus_until_us: int = integer()  # from then on nothing that was published before can be opened
    due_us: int = integer()  # until when recipients are to confirm
    stage: int  # hub/store/erasures.py; 0: nothing is left to do
    recipient: int  # told up to this recipient's
    number: int = integer()  # hand-out
    scanned: int = integer()  # waiting events looked through up to this one


class ErasureTold(SQLModel, table=True):
    """How many deliveries a recipient was told to delete because a person was erased."""

    __tablename__ = "erasure_told"
    __table_args__ = clustered("person", "recipient")
    person: int = integer()
    recipient: int
    deliveries: int


# Files as a way out and in.


class FileDrop(SQLModel, table=True):
    """An agency whose deliveries go out as files, and whose files are taken in. No row, or no format: off."""

    __tablename__ = "file_drop"
    agency: int = Field(primary_key=True)
    format: str  # ndjson | csv | "" (off)
    bom: int  # 1: CSV begins with a byte order mark
    since_us: int = integer()
    batches: int  # written so far: names are in this order, whatever the clock does


class FileBatch(SQLModel, table=True):
    """One batch of files that an agency can see. Noted before its done-marker is, so that no file is unknown.

    `named` holds what is in it: number and delivery id, 24 bytes each, so that an acknowledgement settles exactly the
    deliveries that the file held, whatever stands under their numbers by then.
    """

    __tablename__ = "file_batch"
    __table_args__ = (Index("file_batch_recipient", "recipient"),)
    id: int = integer(primary=True)
    batch: str = Field(unique=True)  # the files' common name
    recipient: int
    files: str  # their names, as JSON
    sha256: bytes = binary()  # of the manifest, which has that of each file
    first: int = integer()
    last: int = integer()
    written_us: int = integer()
    acked_us: int | None = integer(null=True)  # when all that is in it was acknowledged, by file or otherwise
    gone_us: int | None = integer(null=True)  # when the files were removed
    unwanted: int = 0  # 1: to be removed at once, for somebody in it was erased
    named: bytes = binary()


# Ways out.


class Webhook(SQLModel, table=True):
    """An agency's endpoint and how it fares. What it has not answered for stays in the queue, ready for a pull."""

    __tablename__ = "webhook"
    __table_args__ = clustered("agency")
    agency: str
    url: str
    state: str  # unproven | active | failing | disabled
    reason: str  # a code, empty while all is well
    since_us: int = integer()  # of this state
    next_us: int = integer()  # failing: not tried before
    failures: int  # rounds in a row without one success


class WebhookKey(SQLModel, table=True):
    """A key that the hub signs one agency's webhooks with: its seed, sealed under the wrapping key."""

    __tablename__ = "webhook_key"
    __table_args__ = clustered("agency", "kid")
    agency: str
    kid: str
    public: bytes = binary()
    sealed: bytes = binary()
    from_us: int = integer()
    until_us: int = integer()


class SealingKey(SQLModel, table=True):
    """A public HPKE key that an agency's payloads are sealed to; at most one counts at a time."""

    __tablename__ = "sealing_key"
    __table_args__ = clustered("agency", "kid")
    agency: str
    kid: str
    public: bytes = binary()  # X25519, 32 bytes
    from_us: int = integer()
    until_us: int = integer()


# Operations.


class HubKey(SQLModel, table=True):
    """The hub's own secrets by name, wrapped under the root key that `root` names (8 bytes derived from it).

    They were derived from the first root, so that nothing changed for a store of before; a new root only wraps them
    anew. While a rotation is under way both wrappings are there: one key file or the other always opens the store.
    While the wrapping key is rotated its former secret stands beside it, as `wrapping.former`.
    """

    __tablename__ = "hub_key"
    __table_args__ = clustered("root", "name")
    root: bytes = binary()
    name: str
    wrapped: bytes = binary()
    since_us: int = integer()  # of this root


class LastHeard(SQLModel, table=True):
    """When a dataset's publisher was last heard, once per batch: what silence beyond its rhythm is measured from."""

    __tablename__ = "last_heard"
    dataset: int = Field(primary_key=True)
    at_us: int = integer()


# Several processes.


class News(SQLModel, table=True):
    """A number per topic of what processes keep in memory: raised with each change, compared by all the others."""

    __tablename__ = "news"
    topic: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})  # hub/store/news.py
    number: int = integer()


class UsedAssertion(SQLModel, table=True):
    """An assertion that an agency has signed in with, at any process: a second use is refused until it has expired."""

    __tablename__ = "used_assertion"
    __table_args__ = (*clustered("digest")[:1], Index("used_assertion_exp", "exp_us"), NO_ROWID)
    digest: bytes = binary()  # SHA-256 of agency and jti
    exp_us: int = integer()


class Worker(SQLModel, table=True):
    """A process of this hub that runs, and which parts it does. Times are the database's own."""

    __tablename__ = "worker"
    __table_args__ = clustered("id")
    id: str  # drawn anew at each start
    name: str  # for people: machine and process
    parts: str  # comma-separated
    since_us: int = integer()
    heard_us: int = integer()  # it says that it is there every two seconds


class Lease(SQLModel, table=True):
    """What one process alone may do, and who does it now. `epoch` grows with each taking, so a former owner is known.

    Times are the database's own, for processes on several machines have several clocks.
    """

    __tablename__ = "lease"
    __table_args__ = clustered("name")
    name: str  # what it is about, as in webhook/tax/0/1
    owner: str  # a worker's id
    epoch: int = integer()
    until_us: int = integer()


class WebhookProof(SQLModel, table=True):
    """A proof of an endpoint that was asked for, for the process that may call agencies."""

    __tablename__ = "webhook_proof"
    __table_args__ = clustered("agency")
    agency: str
    asked_us: int = integer()
    begun_us: int = integer()  # 0: nobody has begun


class Postponed(SQLModel, table=True):
    """A delivery that a webhook's sender could not deliver and will try again: a pull may have it before."""

    __tablename__ = "postponed"
    __table_args__ = clustered("recipient", "number")
    recipient: int
    number: int = integer()  # the recipient's running number
