"""What the demo counts: from what recipients received, and from what citizens read in their own history.

The hub's own tables are never looked at. A decision is one event for one recipient and purpose; several persons of one
event read of the same decision, which counts once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agency_adapters.results import Delivery


@dataclass(frozen=True, slots=True)
class Seen:
    """One decision as its person reads of it. `case` is the demo's tag of the event; `handed` says that it went."""

    decision: int
    case: str
    dataset: str
    recipient: str
    purpose: str
    role: str
    outcome: str  # release | hold | refusal
    reasons: tuple[str, ...]  # codes
    handed: bool


class Received(NamedTuple):
    """One recipient's sum: `stops` and `deliveries` as it received them, `kept` decisions that let nothing go."""

    recipient: str
    deliveries: int
    people: int
    fields: Mapping[str, int]  # name of a field -> in how many deliveries it came
    stops: int
    kept: int
    reasons: Mapping[str, int]  # code -> in how many of these decisions


@dataclass(slots=True)
class Tally:
    """Counts up while the stories are played."""

    published: dict[str, Sequence[str]] = field(default_factory=dict)  # case of an event -> its fields
    deliveries: dict[str, Delivery] = field(default_factory=dict)  # by id; a repeat is the same one
    acknowledged: int = 0
    decisions: dict[tuple[int, str, str], Seen] = field(default_factory=dict)
    withdraw_ms: list[float] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)  # what became of each, at once

    def saw(self, entries: Iterable[Seen]) -> None:
        """Take in what a history says. Read later it says more: that a release went."""
        for one in entries:
            key = one.decision, one.recipient, one.purpose
            if one.case in self.published and (key not in self.decisions or one.handed):
                self.decisions[key] = one

    def received(self, deliveries: Iterable[Delivery]) -> None:
        self.deliveries.update({one.id: one for one in deliveries})

    def of_recipient(self, recipient: str, deliveries: Iterable[Delivery]) -> Received:
        """Sum up what this recipient received, and what was kept from it."""
        known = list(deliveries)
        data = [one for one in known if one.kind == "data"]
        kept = [one for one in self.decisions.values() if one.recipient == recipient and outcome(one) != "release"]
        return Received(
            recipient,
            len(data),
            len({one.subject for one in data}),
            Counter(name for one in data for name in one.document["data"]),
            len(known) - len(data),
            len(kept),
            Counter(reason for one in kept for reason in telling(why_not(one))),
        )

    def report(self, own_fields: Mapping[str, frozenset[str]], *, seconds: float) -> dict[str, Any]:
        """Give the demo's one JSON object. `own_fields`: per dataset the fields that are published, not derived.

        What was to go and was stopped before it went counts as a refusal: the hand-out decided again. A field counts as
        withheld once for each decision that did not let it go; a derived field goes while its base is withheld.
        """
        data = [one for one in self.deliveries.values() if one.kind == "data"]
        outcomes = Counter(outcome(one) for one in self.decisions.values())
        offered = sum(len(self.published[one.case]) for one in self.decisions.values())
        went = sum(len(own_fields[one.type].intersection(one.document["data"])) for one in data)
        return {
            "events": len(self.published),
            "decisions": len(self.decisions),
            "releases": len(data),
            "refusals": outcomes["refusal"],
            "holds": outcomes["hold"],
            "deliveries_acknowledged": self.acknowledged,
            "asks": len(self.asks),
            "asks_refused": self.asks.count("refused"),
            "fields_released": sum(len(one.document["data"]) for one in data),
            "fields_withheld": offered - went,
            "withdraw_ms": round(max(self.withdraw_ms, default=0.0), 1),
            "seconds": round(seconds, 1),
        }


def outcome(one: Seen) -> str:
    """Say what became of a decision in the end: release, hold or refusal."""
    if one.handed:
        return "release"
    return "refusal" if one.outcome == "release" else one.outcome


def why_not(one: Seen) -> tuple[str, ...]:
    """Give the reasons. What was decided as a release and never went was stopped at the hand-out, by a withdrawal."""
    return one.reasons if one.outcome != "release" else ("consent.withdrawn",)


def telling(reasons: Sequence[str]) -> tuple[str, ...]:
    """Leave out what only follows from the rest, and "no consent" where somebody said more than nothing.

    `hub why` shows every reason; a story needs the one that began it.
    """
    own = [one for one in reasons if not one.startswith(("required.", "nothing."))] or list(reasons)
    said = [one for one in own if one.startswith("consent.") and one != "consent.none"]
    return tuple(one for one in own if one != "consent.none") if said else tuple(own)
