"""Decisions remembered by what they rest on, so that a person's event costs one look-up for all its recipients.

A profile is what of a person's facts the decisions look at, per subscription: state, scope, assurance, age. It holds no
person, no stretch and no time, and `decide` is pure; so the same profiles under the same rules get the same rulings.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from hub.core.age import age_state
from hub.core.agreement import Catalogue, Dataset, Subscription
from hub.core.decide import AgreementState, Release, Standing, Wait, decide
from hub.core.event import Mention
from hub.core.leaf import canonical
from hub.core.minimise import shape
from hub.exchange.standing import FieldSets, Horizon, agreement_state, choice_state, standing_of
from hub.exchange.verdicts import Missing, Verdicts
from hub.identity.keys import OpenKey
from hub.store.aims import AimRow
from hub.store.deliveries import DeliveryKind
from hub.store.facts import PersonFact, RuleFacts
from hub.store.interned import intern_id

REMEMBERED = 1 << 16  # rulings; each about 1 kB, so 64 MB at the most


class Subject(NamedTuple):
    """One person of an event, with the facts about them."""

    mention: Mention
    person: int
    level: int  # of the link
    fact: PersonFact
    key: OpenKey | None  # None: erased
    born: date | None


class Line(NamedTuple):
    """One subscription as a batch sees it."""

    subscription: Subscription
    recipient: int
    choice: tuple[int, int]  # (recipient, purpose): where a person's choice stands
    state: AgreementState
    number: int  # of the subscription
    suffix: bytes  # the number as the ids of its deliveries end in it, before they are hashed
    needs_consent: bool
    age_roles: frozenset[str]  # whose age the purpose asks for
    kind: int = DeliveryKind.DATA.value  # of what goes out on it
    aim: AimRow | None = None  # what that is about, where it is no news


class Cut(NamedTuple):
    """What of one person's part goes, or would go after a grant."""

    fields: frozenset[str]
    shape: tuple[int, bytes]  # (role, fields), and its interned name
    own_ref: str | None  # the only field that names somebody, and that the event's subject; "": none does; None: look
    names_somebody: bool  # one of the fields is a person's id or an identifier, to be renamed for the recipient


class Ruling(NamedTuple):
    """What was decided for one subscription, and all that follows from it whoever the person is."""

    outcome: str  # release | hold | refusal
    cuts: tuple[Cut | None, ...]  # per person; None where nothing of theirs goes
    bodies: tuple[tuple[int, bytes], ...]  # per person: the outcome as it is committed to, and its interned name
    reasons: tuple[str, ...]  # of all of it, where it is no release


class Ruled(NamedTuple):
    """The rulings on one kind of event, line by line, and what is the same for every event they are given to."""

    rulings: tuple[Ruling, ...]
    outcomes: tuple[tuple[str, int], ...]  # how many lines got which
    interned: tuple[tuple[int, bytes], ...]  # every name that a row of such an event uses


def lines_of(catalogue: Catalogue, dataset: Dataset, rules: RuleFacts, horizon: Horizon) -> tuple[Line, ...]:
    """Match: every subscription to this dataset, and whether its agreement is in force now."""
    provider = catalogue.agencies[dataset.provider].number
    lines = []
    for one in catalogue.by_dataset.get(dataset.name, ()):
        recipient = catalogue.agencies[one.recipient].number
        lines.append(line_of(one, recipient, agreement_state(one, rules, provider, recipient, horizon)))
    return tuple(lines)


def line_of(one: Subscription, recipient: int, state: AgreementState) -> Line:
    """Prepare one subscription for a batch."""
    purpose = one.purpose
    return Line(
        one, recipient, (recipient, purpose.number), state, one.number, one.number.to_bytes(4),
        purpose.basis.needs_consent, frozenset(purpose.age_roles),
    )  # fmt: skip


Memory = dict[tuple[object, ...], Ruled]
"""(profiles, fields present) -> rulings, line by line."""


class Rulings:
    """The memory of one worker. Forgets all when it is full."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Memory] = {}

    def under(self, revision: str, dataset: Dataset, lines: tuple[Line, ...]) -> Memory:
        """Find what was ruled under this revision, on these lines in these states; looked up once a batch."""
        if sum(len(memory) for memory in self._known.values()) >= REMEMBERED:
            self._known.clear()
        return self._known.setdefault(
            (revision, dataset, tuple([(line.subscription, line.state) for line in lines])), {}
        )

    def of(
        self,
        verdicts: Verdicts,
        revision: str,
        memory: Memory,
        lines: tuple[Line, ...],
        subjects: Sequence[Subject],
        present: tuple[frozenset[str], ...],
        field_sets: FieldSets,
        horizon: Horizon,
    ) -> Ruled | Missing | None:
        """Rule on one event for every line. Missing: questions to ask first; None: a verdict is of another revision."""
        profiles = tuple([_profile(lines, who, horizon) for who in subjects])
        known = memory.get((profiles, present))
        if known is not None:
            return known
        ruled = _rule(verdicts, revision, lines, profiles, present, field_sets)
        if isinstance(ruled, Ruled):
            memory[profiles, present] = ruled
        return ruled


Profile = tuple[str, bool, tuple[tuple[str, int, int, str], ...]]
"""(role, erased, per line: state, scope, assurance or the link's level, age)"""


def _profile(lines: tuple[Line, ...], who: Subject, horizon: Horizon) -> Profile:
    role, choices = who.mention.role, who.fact.choices
    of_lines = []
    for line in lines:
        age = "ok"
        if role in line.age_roles:
            age = age_state(line.subscription.purpose, role, who.born, horizon.today())
        choice = choices.get(line.choice)
        if choice is None:
            of_lines.append(("none", 0, 0 if line.needs_consent else who.level, age))
            continue
        state = choice_state(choice, horizon)
        if not line.needs_consent:
            of_lines.append((state, 0, who.level, age))
        elif state == "given":
            of_lines.append((state, choice.scope, choice.assurance, age))
        else:
            of_lines.append((state, 0, 0, age))
    return role, who.fact.erased or who.key is None, tuple(of_lines)


def _rule(
    verdicts: Verdicts,
    revision: str,
    lines: tuple[Line, ...],
    profiles: tuple[Profile, ...],
    present: tuple[frozenset[str], ...],
    field_sets: FieldSets,
) -> Ruled | Missing | None:
    rulings: list[Ruling] = []
    missing = Missing()
    outdated = False
    for at, line in enumerate(lines):
        standings = tuple(
            [
                standing_of(line.subscription, role, *of_lines[at], erased=erased, field_sets=field_sets)
                for role, erased, of_lines in profiles
            ]
        )
        known = verdicts.all_known(line.subscription, standings, missing)
        decision = decide(line.subscription, line.state, standings, present, known, revision=revision)
        if isinstance(decision, Wait):
            outdated |= decision.reason == "verdict.outdated"
            continue
        overall = () if isinstance(decision, Release) else decision.reasons
        outcome = type(decision).__name__.lower()
        bodies = [
            outcome_body(line.subscription, outcome, one, part.fields, part.reasons, overall, there)
            for one, part, there in zip(standings, decision.parts, present, strict=True)
        ]
        cuts = [
            _cut(line.subscription.dataset, one.role, part.fields) if part.fields else None
            for one, part in zip(standings, decision.parts, strict=True)
        ]
        rulings.append(Ruling(outcome, tuple(cuts), tuple(bodies), overall))
    if missing:
        return missing
    return None if outdated else _ruled(rulings)


def _ruled(rulings: Sequence[Ruling]) -> Ruled:
    outcomes = Counter(one.outcome for one in rulings)
    interned = dict(body for one in rulings for body in one.bodies)
    interned.update(cut.shape for one in rulings if one.outcome != "refusal" for cut in one.cuts if cut)
    return Ruled(tuple(rulings), tuple(outcomes.items()), tuple(interned.items()))


def _cut(dataset: Dataset, role: str, fields: frozenset[str]) -> Cut:
    form = shape(dataset)
    naming = [field.name for field in form.naming if field.name in fields]
    own_ref = "" if not naming else form.own_ref if naming == [form.own_ref] else None
    return Cut(fields, shape_body(role, fields), own_ref, bool(naming))


@lru_cache(maxsize=1 << 14)
def shape_body(role: str, fields: frozenset[str]) -> tuple[int, bytes]:
    """Name a part's role and fields, so that the hand-out can decide again without opening it."""
    body = canonical({"fields": sorted(fields), "role": role})
    return intern_id(body), body


def outcome_body(
    subscription: Subscription,
    outcome: str,
    standing: Standing,
    fields: frozenset[str],
    reasons: tuple[str, ...],
    overall: tuple[str, ...],
    present: frozenset[str],
) -> tuple[int, bytes]:
    """Write an outcome as it is committed to and shown: canonical JSON; nothing in it names a person or an event."""
    released = fields if outcome == "release" else frozenset()
    body = canonical(
        {
            "agreement": subscription.agreement.code,
            "dataset": subscription.dataset.name,
            "fields": sorted(released),
            "outcome": outcome,
            "overall": list(overall),
            "purpose": subscription.purpose.code,
            "reasons": list(reasons),
            "recipient": subscription.recipient,
            "role": standing.role,
            "version": subscription.agreement.version,
            "withheld": sorted(present - released),
        }
    )
    return intern_id(body), body
