"""What preparing a batch works with and what comes of it: the facts as parsed, the rows as they will be inserted."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hub.core.agreement import Dataset
from hub.core.leaf import NONCE_BYTES
from hub.exchange.intake import Taken
from hub.exchange.rulings import Line, Memory, Ruled, Rulings
from hub.exchange.standing import FieldSets, Horizon
from hub.exchange.verdicts import Missing
from hub.exchange.world import World
from hub.identity.keys import OpenKey
from hub.store.aims import AimFacts, AimRow, AskState
from hub.store.facts import LinkFact, PersonFact, RuleFacts


class Known(NamedTuple):
    """The facts of one batch, parsed."""

    seen: Mapping[bytes, bytes]
    links: Mapping[bytes, LinkFact]
    waiting: Mapping[tuple[bytes, int], list[int]]
    persons: Mapping[int, PersonFact]
    rules: RuleFacts
    keys: Mapping[int, OpenKey]
    aims: AimFacts


NewDelivery = tuple[bytes, int, int, int, int, int, int, bytes, bytes, int, int, int]
"""A delivery and its queue row: public, kind, recipient, subscription, version, audit, time_us, parts, payload,
state, person, due_us. `audit` is an index into the batch's audit rows."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An ask that an event has closed. `reasons` is interned; `answer` is what a person who asked gets, sealed."""

    ask: int
    state: AskState
    reasons: int | None = None
    answer: bytes | None = None


@dataclass(slots=True)
class Prepared:
    """The rows of one batch, ready to insert, and what they hang on."""

    until_us: int = 0  # the decisions stand before this instant only
    missing: Missing = field(default_factory=Missing)  # not empty: not to be committed
    outdated: bool = False  # a verdict of another revision: not to be committed
    audits: list[tuple[int, int, bytes, bytes, bytes]] = field(default_factory=list)
    history: list[tuple[int, int]] = field(default_factory=list)
    deliveries: list[NewDelivery] = field(default_factory=list)
    hold_keys: list[tuple[int, int, bytes]] = field(default_factory=list)  # index into deliveries, part, sealed key
    seen: list[tuple[bytes, bytes]] = field(default_factory=list)
    made: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # event -> its first delivery here, how many
    late: list[bytes] = field(default_factory=list)  # of these, events that had waited: they were seen before
    aims: list[tuple[int, AimRow]] = field(default_factory=list)  # index into deliveries, what it is about
    answered: list[Answered] = field(default_factory=list)
    backfilled: list[tuple[int, int, int]] = field(default_factory=list)  # backfill, subscription, person
    misaimed: list[tuple[Taken, str]] = field(default_factory=list)  # for nobody: with the reason
    conflicts: list[Taken] = field(default_factory=list)
    parked: list[tuple[Taken, bytes]] = field(default_factory=list)  # with the hash of the id that is not linked
    settled: list[int] = field(default_factory=list)  # waiting rows that are decided now
    moved: list[tuple[int, bytes]] = field(default_factory=list)  # waiting rows, and the id they wait for next
    letters: list[tuple[bytes, str]] = field(default_factory=list)  # events that met a defect, and its class
    interned: dict[int, bytes] = field(default_factory=dict)
    ruled: list[Ruled] = field(default_factory=list)  # what each decided event got
    repeats: int = 0
    poisoned: int = 0  # events whose decision met a defect: parked, listed, expiring

    @property
    def complete(self) -> bool:
        return not self.missing and not self.outdated

    def sizes(self) -> tuple[int, ...]:
        """Say how far the lists have grown that one event's decision adds to."""
        return tuple([len(rows) for rows in self._of_events()])

    def take_back(self, sizes: tuple[int, ...]) -> None:
        """Drop what was added since `sizes`: the rows of an event whose decision met a defect."""
        for rows, size in zip(self._of_events(), sizes, strict=True):
            del rows[size:]

    def _of_events(self) -> tuple[list[Any], ...]:
        return (
            self.audits, self.history, self.deliveries, self.hold_keys, self.ruled,
            self.aims, self.answered, self.backfilled, self.misaimed,
        )  # fmt: skip

    def outcomes(self) -> Counter[str]:
        """Count the lines that were released, held and refused."""
        counts: Counter[str] = Counter()
        for ruled in self.ruled:
            counts.update(dict(ruled.outcomes))
        return counts


class Bench(NamedTuple):
    """What stays the same over a batch."""

    world: World
    known: Known
    horizon: Horizon
    field_sets: FieldSets
    rulings: Rulings
    nonces: Callable[[], bytes]
    lines: dict[Dataset, tuple[tuple[Line, ...], Memory]]
    fences: dict[Dataset, int]  # interned epochs of agreements, agencies and policy


def nonces(chunk: int = 512) -> Callable[[], bytes]:
    """Return a source of random 12-byte nonces that asks the system once for many: each such call is slow."""
    pool: list[bytes] = []

    def draw() -> bytes:
        if not pool:
            noise = os.urandom(NONCE_BYTES * chunk)
            pool.extend([noise[at : at + NONCE_BYTES] for at in range(0, len(noise), NONCE_BYTES)])
        return pool.pop()

    return draw
