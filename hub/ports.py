"""The seams: what the exchange needs of a bus and of a policy engine. Few methods; the docstring is the contract.

One test-suite runs against every implementation (`tests/test_port_bus.py`, `tests/test_port_policy.py`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from hub.core.errors import Item
from hub.core.question import Question, Verdict

Clock = Callable[[], int]
"""UTC now, in microseconds since 1970. One is injected everywhere; tests bring their own."""


class Record(NamedTuple):
    """One sealed intake record on its way to the bus. Nothing in it names a person."""

    topic: str  # "in.<agency>.<dataset>"
    key: bytes  # keyed hash of the publisher's person id, 16 bytes: records of one key stay in order
    value: bytes  # sealed


class Polled(NamedTuple):
    """One record as polled. `offset` counts from 0 within `partition`."""

    partition: str
    offset: int
    record: Record


class Owned(NamedTuple):
    """A partition this poller owns: the epoch it was given, and the first offset of the batch in it."""

    partition: str
    epoch: int
    first: int
    next: int  # one past the last polled record: where the position goes when the batch is decided


class Batch(NamedTuple):
    records: tuple[Polled, ...]
    owned: tuple[Owned, ...]


class Behind(NamedTuple):
    """How far decisions are behind what is published."""

    records: int  # published and not decided
    oldest_s: int  # how long the oldest of them has been there, in whole seconds; at least this long


class Bus(Protocol):
    """Durable sealed intake, in order per key. At least once: a record may be polled again until acknowledged."""

    def publish(self, records: Sequence[Record]) -> None:
        """Return once every record is durable. Raises `HubError(UNAVAILABLE)`: then any may or may not be stored."""

    def poll(self, limit: int, wait_s: float) -> Batch:
        """Return up to `limit` records after those polled last; an empty batch after `wait_s` without any.

        Does not move the stored position: it moves in the decision's own transaction (`hub/store/positions.py`).
        """

    def ends(self, topic: str) -> Mapping[str, int]:
        """Say, per partition of a topic, one past the last durable record: what was published before lies before."""

    def rewind(self) -> None:
        """Go on from the stored positions: what was polled but not decided is polled again. Never fails by itself."""

    def acknowledge(self, owned: Sequence[Owned]) -> None:
        """Tell the bus what it may forget. Called after the commit only. Losing this call loses nothing."""

    def backlog(self) -> int:
        """Count the records that are published and not polled by any gate, as of a second ago. Waits for nothing."""

    def behind(self) -> Behind:
        """Say how far decisions are behind, as of a few seconds ago. While the store is down: as of before that."""

    def follow(self, topics: Collection[str]) -> None:
        """Poll these topics from now on, which are those of the catalogue in force. One that is not there yet is
        polled once it is."""

    def troubles(self) -> tuple[Item, ...]:
        """Say in words why records are not taken or not handed out; empty when they are. Waits for nothing."""

    def close(self) -> None:
        """Let go of everything: another gate takes over at once. Nothing is lost by not calling it."""


class Policy(Protocol):
    """Answers subject-free questions. An engine that is down, slow, silent or odd is an exception, never a no."""

    def revision(self) -> str:
        """Name the policy and catalogue that answers are given under now."""

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        """Answer all, in order. Raises `HubError(UNAVAILABLE)` when any answer is undefined, malformed or late."""


class Bundle(NamedTuple):
    """What a policy server is given: the policy and the catalogue, signed, to be verified with the public key `pem`."""

    revision: str
    kid: str
    algorithm: str  # as RFC 7518 names it
    pem: str
    content: bytes  # tar.gz; the same bytes for the same revision and key
