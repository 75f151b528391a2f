"""Properties of `decide` that no table can exhaust: whatever the facts, it stays inside what everybody allowed."""

from dataclasses import replace
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core.agreement import Agreement, Basis, Dataset, Purpose, Subscription
from hub.core.decide import AgreementState, Decision, Hold, Part, Release, Standing, Wait, decide, decide_cached
from hub.core.question import Verdict

REVISION = "sha256:now"
NAMES = ("dob", "dob_month", "names", "parent_ids", "weight")
PHASES = ("in_force", "unsigned", "not_yet", "ended", "suspended", "agency_suspended")
STATES = ("none", "requested", "given", "paused", "refused", "lapsed", "withdrawn", "expired", "terminated")
UNGIVEN = tuple(state for state in STATES if state != "given")
OPEN = frozenset(STATES) - {"given", "refused", "terminated"}
POLICY_REASONS = ("policy.birth_weight_never_released", "policy.version_mismatch", "assurance.too_low")
NOTHING: frozenset[str] = frozenset()
ALL = frozenset(NAMES)
FIELDS = st.frozensets(st.sampled_from(NAMES))
MOST_FIELDS = st.one_of(st.just(ALL), st.frozensets(st.sampled_from(NAMES), max_size=3).map(lambda left: ALL - left))


def mostly(usual: object, others: tuple[object, ...]) -> st.SearchStrategy[Any]:
    """Draw the usual value four times out of five, so that worlds in which something goes are common."""
    return st.sampled_from((*(usual,) * (4 * len(others)), *others))


class World(NamedTuple):
    """Everything one call of `decide` is given."""

    subscription: Subscription
    agreement: AgreementState
    standings: tuple[Standing, ...]
    present: tuple[frozenset[str], ...]
    verdicts: tuple[Verdict | None, ...]

    def decided(self) -> Decision:
        return decide(*self, revision=REVISION)


def subscription(basis: Basis, allowed: frozenset[str], required: frozenset[str], look_back_days: int) -> Subscription:
    """A subscription of which only what `decide` reads is drawn."""
    dataset = Dataset("civil.birth.registered", 1, 1, "p", {}, "child", {}, {}, {})
    purpose = Purpose("KINDER-PLACE", 1, 1, basis, {}, {}, {}, {}, 365, 2, law="Act 1")
    agreement = Agreement("AGR-1", 1, 1, "p", "r", ("KINDER-PLACE",), {}, 0, 1, look_back_days, "", "2030-01-01")
    return Subscription(1, agreement, purpose, dataset, allowed, required)


@st.composite
def standings(draw: st.DrawFn, basis: Basis) -> Standing:
    if basis.needs_consent:
        state, fields = draw(mostly("given", STATES)), draw(MOST_FIELDS)
    else:
        state, fields = draw(mostly("none", ("objected",))), None
    return Standing(
        draw(st.sampled_from(("child", "parent"))),
        state,
        fields,
        draw(mostly(2, (0, 1, 3))),
        age=draw(mostly("ok", ("outside", "unknown"))),
        erased=draw(mostly(False, (True,))),
        kept=draw(mostly(True, (False,))),
    )


PERMITTING = st.builds(Verdict, st.just(REVISION), MOST_FIELDS, st.just(NOTHING))
FORBIDDING = st.builds(Verdict, st.just(REVISION), FIELDS, st.frozensets(st.sampled_from(POLICY_REASONS), min_size=1))
VERDICTS = st.one_of(PERMITTING, PERMITTING, PERMITTING, FORBIDDING)


@st.composite
def worlds(draw: st.DrawFn, verdicts: st.SearchStrategy[Verdict | None] = VERDICTS, *, least_persons: int = 1) -> World:
    """Up to three persons, any basis, in an agreement that is in force more often than not."""
    basis = draw(st.sampled_from(list(Basis)))
    persons = draw(st.integers(least_persons, 3))
    required = draw(st.frozensets(st.sampled_from(NAMES), max_size=2))
    asked = subscription(basis, draw(MOST_FIELDS), required, draw(st.sampled_from((0, 30))))
    return World(
        asked,
        AgreementState(draw(mostly("in_force", PHASES[1:]))),
        tuple(draw(standings(basis)) for _ in range(persons)),
        tuple(draw(MOST_FIELDS) for _ in range(persons)),
        tuple(draw(verdicts) for _ in range(persons)),
    )


def released(decision: Decision) -> tuple[Part, ...]:
    return decision.parts if isinstance(decision, Release) else ()


@given(worlds())
def test_nobody_receives_a_field_that_any_one_party_withheld(world: World) -> None:
    """What goes of a person was in the event, in the papers, in the verdict and in that person's own consent."""
    for part, person, there, verdict in zip(
        released(world.decided()), world.standings, world.present, world.verdicts, strict=False
    ):
        assert verdict is not None
        assert part.fields <= there & world.subscription.allowed & verdict.fields
        if person.fields is not None:
            assert part.fields <= person.fields


@given(worlds())
def test_nothing_goes_of_a_person_against_whom_a_reason_stands(world: World) -> None:
    """A reason and a released field never meet in one part; a release lacks no required field and is not empty."""
    parts = released(world.decided())
    for part, verdict in zip(parts, world.verdicts, strict=False):
        assert verdict is not None
        assert not part.fields or not (part.reasons or verdict.reasons)
    if parts:
        assert world.subscription.required <= NOTHING.union(*(part.fields for part in parts))
        assert any(part.fields for part in parts)


def with_person(world: World, at: int, person: Standing) -> World:
    return world._replace(standings=(*world.standings[:at], person, *world.standings[at + 1 :]))


def with_verdict(world: World, at: int, verdict: Verdict) -> World:
    return world._replace(verdicts=(*world.verdicts[:at], verdict, *world.verdicts[at + 1 :]))


@st.composite
def unanswered(draw: st.DrawFn) -> World:
    """A world under look-back that lacks one required field, which the first person may still say yes to."""
    world = draw(worlds(least_persons=2))
    asked = world.subscription
    asking = replace(
        asked,
        agreement=replace(asked.agreement, look_back_days=30),
        purpose=replace(asked.purpose, basis=Basis.CONSENT),
        required=frozenset({draw(st.sampled_from(NAMES))}),
    )
    people = tuple(
        person if person.fields is not None else person._replace(state="given", fields=draw(MOST_FIELDS))
        for person in world.standings
    )
    lost = tuple(person._replace(fields=(person.fields or NOTHING) - asking.required) for person in people)
    waited_for = people[0]._replace(state=draw(st.sampled_from(sorted(OPEN))), assurance=0, fields=NOTHING)
    return with_person(world._replace(subscription=asking, standings=lost), 0, waited_for)


@given(unanswered())
def test_nothing_is_held_beyond_the_papers_or_of_somebody_who_said_no(world: World) -> None:
    """A hold keeps what an open yes could open; of a person who has answered, only what was granted."""
    decision = world.decided()
    if not isinstance(decision, Hold):
        return
    for part, person, there, verdict in zip(
        decision.parts, world.standings, world.present, world.verdicts, strict=True
    ):
        assert verdict is not None
        assert part.fields <= there & world.subscription.allowed & verdict.fields
        if person.state == "given" and person.fields is not None and not part.reasons:
            assert part.fields <= person.fields
        if person.erased or (person.state in ("refused", "terminated", "objected") and part.reasons):
            assert not part.fields


@given(unanswered())
def test_nothing_is_held_where_look_back_was_not_agreed(world: World) -> None:
    """Without look-back days the same world is refused, whatever a later grant could open."""
    asked = world.subscription
    without = replace(asked, agreement=replace(asked.agreement, look_back_days=0))
    assert not isinstance(world._replace(subscription=without).decided(), Hold)


@given(worlds(), st.data())
def test_one_no_is_enough(world: World, data: st.DataObject) -> None:
    """Whatever else holds, a single no about a person, from any party, and nothing of that person goes."""
    at = data.draw(st.integers(0, len(world.standings) - 1))
    person, verdict = world.standings[at], world.verdicts[at]
    assert verdict is not None
    asked = world.subscription
    noes = [
        world._replace(agreement=AgreementState(data.draw(st.sampled_from(PHASES[1:])))),
        with_person(world, at, person._replace(erased=True)),
        with_person(world, at, person._replace(age=data.draw(st.sampled_from(("outside", "unknown"))))),
        with_person(world, at, person._replace(assurance=1)),
        with_verdict(
            world, at, verdict._replace(reasons=verdict.reasons | {data.draw(st.sampled_from(POLICY_REASONS))})
        ),
        with_verdict(world, at, verdict._replace(fields=NOTHING)),
        world._replace(subscription=replace(asked, allowed=NOTHING)),
        world._replace(present=(*world.present[:at], NOTHING, *world.present[at + 1 :])),
    ]
    if asked.purpose.basis.needs_consent:
        noes.append(with_person(world, at, person._replace(state=data.draw(st.sampled_from(UNGIVEN)))))
        noes.append(with_person(world, at, person._replace(fields=NOTHING)))
    if asked.purpose.basis is Basis.LAW_WITH_OBJECTION:
        noes.append(with_person(world, at, person._replace(state="objected")))
    if asked.agreement.look_back_days == 0:
        noes.append(with_person(world, at, person._replace(kept=False)))
    for no in noes:
        parts = released(no.decided())
        assert not parts or not parts[at].fields


@given(worlds())
def test_a_plain_yes_from_everybody_releases_what_they_share(world: World) -> None:
    """Where nothing speaks against it and nothing required is lost, the release is the whole intersection, no less."""
    shared = [
        there & world.subscription.allowed & verdict.fields & (ALL if person.fields is None else person.fields)
        for person, there, verdict in zip(world.standings, world.present, world.verdicts, strict=True)
        if verdict is not None
    ]
    clear = world._replace(
        agreement=AgreementState("in_force"),
        standings=tuple(
            person._replace(
                state="none" if person.fields is None else "given", assurance=2, age="ok", erased=False, kept=True
            )
            for person in world.standings
        ),
        verdicts=tuple(verdict and verdict._replace(reasons=NOTHING) for verdict in world.verdicts),
    )
    left = NOTHING.union(*shared)
    decision = clear.decided()
    if left and world.subscription.required <= left:
        assert [part.fields for part in released(decision)] == shared
    else:
        assert not isinstance(decision, Release)


@st.composite
def restricted(draw: st.DrawFn) -> tuple[World, World]:
    """A world, and the same with one thing taken away or one objection added."""
    world = draw(worlds())
    at = draw(st.integers(0, len(world.standings) - 1))
    less = draw(FIELDS)
    person, verdict = world.standings[at], world.verdicts[at]
    assert verdict is not None
    asked = world.subscription

    stricter = [
        world._replace(agreement=AgreementState(draw(st.sampled_from(PHASES[1:])))),
        world._replace(subscription=replace(asked, allowed=asked.allowed & less)),
        world._replace(subscription=replace(asked, required=asked.required | less)),
        with_person(world, at, person._replace(erased=True)),
        with_person(world, at, person._replace(assurance=0)),
        with_person(world, at, person._replace(age="outside")),
        with_person(world, at, person._replace(kept=False)),
        with_verdict(world, at, verdict._replace(fields=verdict.fields & less)),
        with_verdict(world, at, verdict._replace(reasons=verdict.reasons | {"policy.version_mismatch"})),
    ]
    if person.fields is None:
        stricter.append(with_person(world, at, person._replace(state="objected")))
    else:
        stricter.append(with_person(world, at, person._replace(fields=person.fields & less)))
        stricter.append(with_person(world, at, person._replace(state="withdrawn", fields=NOTHING, assurance=0)))
    return world, draw(st.sampled_from(stricter))


@given(restricted())
@settings(max_examples=400)
def test_adding_a_restriction_never_widens(pair: tuple[World, World]) -> None:
    """One more no, from whomever, and no person's released part has a field that it had not before."""
    before, after = (released(world.decided()) for world in pair)
    for part, stricter in zip(before, after, strict=False):
        assert stricter.fields <= part.fields
    assert not after or before


@given(worlds(), st.data())
def test_the_order_of_persons_changes_nobodys_part(world: World, data: st.DataObject) -> None:
    """The same outcome for the whole, and each person's part moves with the person."""
    order = data.draw(st.permutations(range(len(world.standings))))
    mixed = world._replace(
        standings=tuple(world.standings[at] for at in order),
        present=tuple(world.present[at] for at in order),
        verdicts=tuple(world.verdicts[at] for at in order),
    )
    straight, turned = world.decided(), mixed.decided()
    assert type(straight) is type(turned)
    if not isinstance(straight, Wait) and not isinstance(turned, Wait):
        assert turned.parts == tuple(straight.parts[at] for at in order)
        assert getattr(straight, "reasons", ()) == getattr(turned, "reasons", ())


@given(worlds(st.one_of(VERDICTS, st.none(), st.builds(Verdict, st.just("sha256:old"), FIELDS, st.just(NOTHING)))))
def test_a_verdict_that_is_missing_or_outdated_is_neither_a_yes_nor_a_no(world: World) -> None:
    """One such verdict among any others and the event waits; without one it never does."""
    decision = world.decided()
    odd = [verdict for verdict in world.verdicts if verdict is None or verdict.revision != REVISION]
    assert isinstance(decision, Wait) == bool(odd)


@given(worlds(st.one_of(VERDICTS, st.none())))
def test_remembering_decisions_changes_none(world: World) -> None:
    """`decide_cached` answers as `decide` does, the first time and the second."""
    assert decide_cached(*world, revision=REVISION) == world.decided()
    assert decide_cached(*world, revision=REVISION) == world.decided()


@given(worlds())
def test_every_refusal_says_why(world: World) -> None:
    """What is not released names at least one reason, and names each once, in order."""
    decision = world.decided()
    if not isinstance(decision, Release):
        reasons = (decision.reason,) if isinstance(decision, Wait) else decision.reasons
        assert reasons
        assert list(reasons) == sorted(set(reasons))
