"""Everything a decision relies on, read in few steps: one JSON text per query, compared as text.

The gate reads these before its transaction, to prepare. Inside it, where nothing that decisions read was changed by
anybody since (`Tx.facts_at`), or where they are read again and the texts are the same, the prepared outcome *is* the
decision on the facts under the fence, because `decide` is pure. Otherwise it decides anew.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hub.store.engine import Key, Query, Tx, loads, marks, padded

PERSON_FENCE, AGREEMENT_FENCE, AGENCY_FENCE, POLICY_FENCE = 1, 2, 3, 4
CHAIN_LOCK, RECIPIENT_LOCK, BUS_LOCK, SESSION_LOCK, LEASE_LOCK = 11, 12, 13, 14, 15  # kinds of `Fences` without epochs
CHOICE_STATES = (  # the number in `choice.state` is the place in this list; new ones go to the end
    "none", "requested", "given", "paused", "refused", "lapsed", "renewed", "superseded",
    "withdrawn", "expired", "terminated", "invalidated", "objected",
)  # fmt: skip
NEVER_US = 2**62  # an `until` that was not named


class LinkFact(NamedTuple):
    person: int
    level: int
    disputed: bool


class ChoiceFact(NamedTuple):
    state: str
    stretch: int
    scope: int
    until_us: int
    assurance: int


class PersonFact(NamedTuple):
    erased: bool
    born: bytes | None  # sealed
    epoch: int  # of the person's fence
    choices: dict[tuple[int, int], ChoiceFact]  # by (recipient, purpose)
    names: dict[int, bytes]  # agency -> its own id of the person, sealed


class RuleFacts(NamedTuple):
    """What is true of agreements, agencies and the policy. Few rows, the same for a whole batch."""

    revision: str
    phases: dict[int, str]  # agreement number -> phase
    suspended: frozenset[int]  # agency numbers
    epochs: dict[tuple[int, int], int]  # (kind, number) -> epoch; absent is 0
    catalogue: str = ""  # digest of the one in force; "" where none was ever approved through the store
    quarantined: bool = False  # restored, and not reconciled since (hub/store/quarantine.py)

    def superseded(self, digest: str) -> bool:
        """Say whether another catalogue than this one is in force: then nothing may be concluded from this one."""
        return self.catalogue not in ("", digest)

    def phase(self, agreement: int, *agencies: int) -> str:
        """Name the agreement's phase; without a row it is unsigned, which closes it."""
        phase = self.phases.get(agreement, "unsigned")
        return "agency_suspended" if phase == "in_force" and self.suspended.intersection(agencies) else phase


class IntakeTexts(NamedTuple):
    """Raw answers about the ids in events: what is linked, and what waits."""

    links: str
    waiting: str


def read_seen(tx: Tx, events: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the content's hash of those events that were seen before. Rows are only ever added, each by one gate."""
    events = padded(events)
    found = tx.text(
        "SELECT json_group_array(json_array(hex(event), hex(content))) FROM event_seen"
        f" WHERE event IN ({marks(len(events))})",
        events,
    )
    return {bytes.fromhex(event): bytes.fromhex(content) for event, content in loads(found)}


def intake_queries(locals_: Sequence[bytes], subjects: Sequence[bytes]) -> list[Query]:
    """Ask what `IntakeTexts` holds, in its order."""
    locals_, subjects = padded(locals_), padded(subjects)
    return [
        (
            (
                "SELECT json_group_array(json_array(hex(local), person, level, disputed)) FROM link"
                f" WHERE local IN ({marks(len(locals_))}) AND until_us IS NULL"
            ),
            locals_,
        ),
        (
            (
                "SELECT json_group_array(json_array(hex(subject), dataset, id)) FROM waiting"
                f" WHERE subject IN ({marks(len(subjects))})"
            ),
            subjects,
        ),
    ]


def links_of(texts: IntakeTexts) -> dict[bytes, LinkFact]:
    return {bytes.fromhex(local): LinkFact(person, level, bool(d)) for local, person, level, d in loads(texts.links)}


def waiting_of(texts: IntakeTexts) -> dict[tuple[bytes, int], list[int]]:
    """Waiting ids per chain (subject, dataset)."""
    chains: dict[tuple[bytes, int], list[int]] = {}
    for subject, dataset, waiting in loads(texts.waiting):
        chains.setdefault((bytes.fromhex(subject), dataset), []).append(waiting)
    return chains


class PersonTexts(NamedTuple):
    persons: str
    choices: str
    names: str
    epochs: str


def read_persons(tx: Tx, persons: Sequence[int], *, names: bool = True) -> PersonTexts:
    """Read what decisions about these persons rely on; `names` are needed only where payloads are written."""
    persons = padded(persons)
    here = marks(len(persons))
    queries: list[Query] = [
        (
            (
                "SELECT json_group_array(json_array(id, erased_us IS NOT NULL, hex(born))) FROM person"
                f" WHERE id IN ({here})"
            ),
            persons,
        ),
        (
            (
                "SELECT json_group_array(json_array(person, recipient, purpose, state, stretch, scope, until_us,"
                f" assurance)) FROM choice WHERE person IN ({here})"
            ),
            persons,
        ),
        epochs_query(persons),
    ]
    if names:
        queries.append(
            (
                (
                    "SELECT json_group_array(json_array(person, agency, hex(sealed))) FROM link"
                    f" WHERE person IN ({here}) AND until_us IS NULL"
                ),  # the hand-out keeps back what a disputed one names
                persons,
            )
        )
    of_person, choices, epochs, *named = tx.texts(queries)
    return PersonTexts(of_person, choices, named[0] if names else "[]", epochs)


def epochs_query(persons: Sequence[int]) -> Query:
    """Ask for the epochs of these persons' fences: who changes a fact about a person raises that person's."""
    persons = padded(persons)
    return (
        (
            f"SELECT json_group_array(json_array(subject, epoch)) FROM fence WHERE kind = {PERSON_FENCE}"
            f" AND subject IN ({marks(len(persons))})"
        ),
        persons,
    )


def persons_of(texts: PersonTexts) -> dict[int, PersonFact]:
    epochs: dict[int, int] = dict(loads(texts.epochs))
    found = {
        person: PersonFact(bool(erased), bytes.fromhex(born) if born else None, epochs.get(person, 0), {}, {})
        for person, erased, born in loads(texts.persons)
    }
    for person, recipient, purpose, state, stretch, scope, until_us, assurance in loads(texts.choices):
        choice = ChoiceFact(CHOICE_STATES[state], stretch, scope, until_us, assurance)
        found[person].choices[recipient, purpose] = choice
    for person, agency, sealed in loads(texts.names):
        found[person].names[agency] = bytes.fromhex(sealed)
    return found


def disputed_links(tx: Tx) -> frozenset[tuple[int, int]]:
    """Read every link that is disputed now, as (person, agency). Few: an index holds them and nothing else."""
    return frozenset(tx.rows("SELECT person, agency FROM link WHERE disputed = 1 AND until_us IS NULL"))


def read_rules(tx: Tx) -> str:
    """Read every agreement's and agency's standing and the policy revision, as one text."""
    return tx.text(*RULES)


RULES: Query = (
    (
        "SELECT json_array((SELECT value FROM fact WHERE name = 'policy_revision'),"
        " (SELECT json_group_array(json_array(number, phase)) FROM agreement_state),"
        " (SELECT json_group_array(number) FROM agency_state WHERE suspended = 1),"
        f" (SELECT json_group_array(json_array(kind, subject, epoch)) FROM fence WHERE kind > {PERSON_FENCE}),"
        " (SELECT value FROM fact WHERE name = 'catalogue_digest'),"
        " (SELECT value FROM fact WHERE name = 'quarantine'))"
    ),
    (),
)


def rules_of(text: str) -> RuleFacts:
    revision, phases, suspended, epochs, catalogue, quarantined = loads(text)
    return RuleFacts(
        revision or "",
        dict(phases),
        frozenset(suspended),
        {(kind, subject): epoch for kind, subject, epoch in epochs},
        catalogue or "",
        bool(quarantined),
    )


def raise_fence(tx: Tx, kind: int, subject: int) -> int:
    """Add one to a fence's epoch. The transaction holds it exclusively, by name or because it excludes all others."""
    assert tx.may_change((kind, subject)), "this write named its fences, and not this one"
    tx.run(
        "INSERT INTO fence(kind, subject, epoch) VALUES (?, ?, 1)"
        " ON CONFLICT(kind, subject) DO UPDATE SET epoch = fence.epoch + 1",
        (kind, subject),
    )
    row = tx.one("SELECT epoch FROM fence WHERE kind = ? AND subject = ?", (kind, subject))
    assert row is not None
    return int(row[0])


def of_persons(persons: Iterable[int]) -> list[Key]:
    return [(PERSON_FENCE, person) for person in persons]


def scopes(tx: Tx, ids: Sequence[int]) -> dict[int, Any]:
    """Return interned bodies by id."""
    rows = tx.rows(f"SELECT id, body FROM interned WHERE id IN ({marks(len(ids))})", ids)
    return {number: loads(body) for number, body in rows}
