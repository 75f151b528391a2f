"""Decide what of an event, if anything, may reach one subscription. Pure and total; the heart of the hub."""

from functools import lru_cache
from typing import NamedTuple

from hub.core.agreement import Basis, Subscription
from hub.core.question import Question, Verdict

# What a later grant can cure: with look-back, a delivery refused for nothing else is held for it. An explicit no, and
# an end that was not the person's own (terminated, invalidated, superseded), are not waited on.
CURABLE = frozenset(f"consent.{state}" for state in ("none", "requested", "paused", "withdrawn", "expired", "lapsed"))


class Standing(NamedTuple):
    """What one person's choices and facts mean to one subscription at one moment: no person, no time, no stretch in it.

    `fields` are what the consent covers of this dataset; None where the basis asks for none.
    `age` is "ok", "outside" or "unknown". `kept` is False at the hand-out only: the stretch of consent that the
    delivery was promised under has ended (a later grant opens it under look-back alone).
    """

    role: str
    state: str  # consent State value; "objected" or "none" where the basis needs no consent
    fields: frozenset[str] | None
    assurance: int
    age: str = "ok"
    erased: bool = False
    kept: bool = True


class AgreementState(NamedTuple):
    """Facts of the store about an agreement and its agencies, at the moment of the decision."""

    phase: str  # in_force | unsigned | not_yet | ended | suspended | agency_suspended
    closed: str = ""  # one more reason why this one event may not go on this way, as in "ask.closed"


class Part(NamedTuple):
    """The outcome for one person of the event: fields of that person's that go, and every reason why others do not."""

    fields: frozenset[str]
    reasons: tuple[str, ...]  # sorted codes


class Release(NamedTuple):
    parts: tuple[Part, ...]  # in the order of the standings


class Hold(NamedTuple):
    """Kept sealed under look-back; `parts` name the fields as a later grant could release them at most."""

    parts: tuple[Part, ...]
    reasons: tuple[str, ...]


class Refusal(NamedTuple):
    parts: tuple[Part, ...]
    reasons: tuple[str, ...]  # everybody's, and "required.lost:FIELD" and the like for the whole


class Wait(NamedTuple):
    """No answer yet, and none is recorded: the event stays unconsumed."""

    reason: str  # verdict.missing | verdict.outdated


Decision = Release | Hold | Refusal | Wait


def question(subscription: Subscription, standing: Standing) -> Question:
    """Name the subject-free question that `decide` needs a verdict on for this standing."""
    agreement, purpose = subscription.agreement, subscription.purpose
    return Question(
        agreement.code,
        agreement.version,
        purpose.code,
        subscription.dataset.name,
        purpose.basis.value,
        standing.state,
        standing.assurance,
        subscription.asks,
    )


def decide(
    subscription: Subscription,
    agreement: AgreementState,
    standings: tuple[Standing, ...],
    present: tuple[frozenset[str], ...],
    verdicts: tuple[Verdict | None, ...],
    *,
    revision: str,
) -> Decision:
    """Decide what of an event may reach `subscription`.

    `standings`, `present` and `verdicts` run in parallel, one per person of the event, the event's subject first;
    `present` are the fields (derived ones included) that the event holds about that person. `revision` is the policy
    revision in force now.

    1. every verdict is there and of this revision, else wait      2. the agreement is in force
    3. per person: not erased, basis holds, assurance and age suffice, the promised stretch runs, the policy permits
    4. per person: present & allowed & consented & permitted
    5. nothing required was lost to a "no", and something is left
    Reasons are collected, not short-circuited. Refused for lack of consent alone, look-back makes it a hold.
    """
    if any(verdict is None for verdict in verdicts):
        return Wait("verdict.missing")
    if any(verdict.revision != revision for verdict in verdicts if verdict is not None):
        return Wait("verdict.outdated")
    in_force = agreement.phase == "in_force"
    closed = frozenset() if in_force else frozenset({f"agreement.{agreement.phase}"})
    if agreement.closed:
        closed |= {agreement.closed}
    now: list[Part] = []
    after_grant: list[Part] = []  # what could go if the missing consents were given
    for standing, there, verdict in zip(standings, present, verdicts, strict=True):
        assert verdict is not None  # checked above; the type checker cannot see through any()
        reasons = closed | _objections(subscription, standing) | verdict.reasons
        widest = there & subscription.allowed & verdict.fields
        consented = widest if standing.fields is None else widest & standing.fields
        codes = tuple(sorted(reasons))
        now.append(Part(frozenset() if reasons else consented, codes))
        # who has answered is not waited for: a field left out of a given consent is a no, and is not kept
        awaited = widest if reasons else consented
        after_grant.append(Part(awaited if reasons <= CURABLE else frozenset(), codes))
    lost = _lost(subscription, tuple(now), present)
    if not lost:
        return Release(tuple(now))
    reasons_of_all = tuple(sorted(lost.union(*(part.reasons for part in now))))
    if subscription.agreement.look_back_days > 0 and not _lost(subscription, tuple(after_grant), present):
        return Hold(tuple(after_grant), reasons_of_all)
    return Refusal(tuple(now), reasons_of_all)


def _objections(subscription: Subscription, standing: Standing) -> frozenset[str]:
    """Collect every reason in this person's own facts. Policy and agreement are judged elsewhere."""
    purpose, reasons = subscription.purpose, set()
    if standing.erased:
        reasons.add("person.erased")
    if purpose.basis.needs_consent and standing.state != "given":
        reasons.add(f"consent.{standing.state}")
    elif standing.assurance < purpose.assurance:  # for a consent the assurance at its grant, so it needs one
        reasons.add("assurance.too_low")
    if purpose.basis is Basis.LAW_WITH_OBJECTION and standing.state == "objected":
        reasons.add("objection.recorded")
    if standing.age != "ok":
        reasons.add(f"age.{standing.age}")
    if not standing.kept and subscription.agreement.look_back_days == 0:
        reasons.add("consent.new_stretch")
    return frozenset(reasons)


def _lost(subscription: Subscription, parts: tuple[Part, ...], present: tuple[frozenset[str], ...]) -> frozenset[str]:
    """Name why the whole cannot go: a required field that is gone or was never there, or nothing left at all."""
    left: frozenset[str] = frozenset().union(*(part.fields for part in parts))
    there: frozenset[str] = frozenset().union(*present)
    lost = {f"required.{'lost' if name in there else 'absent'}:{name}" for name in subscription.required - left}
    if not left:
        lost.add("nothing.left")
    return frozenset(lost)


decide_cached = lru_cache(maxsize=1 << 16)(decide)  # pure, so remembering is safe; keys hold no person and no time
