"""What the hub answered, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from agency_adapters.errors import AgencyError, Problem, objects, problem_of

CloudEvent = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The hub stored the event durably. `token` asks for its state later; empty after a dry run."""

    index: int  # in the list that was given
    id: str
    token: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The hub did not take the event and said why; sending it again unchanged brings the same answer."""

    index: int
    id: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class PublishResult:
    """One outcome for every event that was given, in its order."""

    items: tuple[Accepted | Refused, ...]

    @property
    def accepted(self) -> tuple[Accepted, ...]:
        """Those that the hub took."""
        return tuple(item for item in self.items if isinstance(item, Accepted))

    @property
    def refused(self) -> tuple[Refused, ...]:
        """Those that it did not."""
        return tuple(item for item in self.items if isinstance(item, Refused))


class PublishStopped(AgencyError):
    """Publishing ended before the last event. `done` holds the outcomes so far, `cause` the reason.

    The event after them may have arrived; publish the rest again with the same ids and nothing is doubled.
    """

    def __init__(self, cause: AgencyError, *, done: PublishResult, given: int) -> None:
        super().__init__(f"{len(done.items)} of {given} events were answered, then: {cause.what}", remedy=cause.remedy)
        self.cause, self.done = cause, done


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the hub hands out. `document` is the whole CloudEvent; `subject` is the recipient's own id.

    `number` is this agency's own running number: the same when it comes again, and of a `stop` that ends it.
    """

    id: str
    number: int
    kind: str
    type: str
    subject: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Deliveries of one pull. `more`: there are others right now."""

    deliveries: tuple[Delivery, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """How many were acknowledged now, and how many had been before."""

    acknowledged: int
    already: int


def outcomes_of(body: Mapping[str, Any], batch: Sequence[CloudEvent], *, first: int) -> list[Accepted | Refused]:
    """Read the answer per item. Raises `AgencyError` when it is not one item for each event of the batch."""
    items = {item.get("index"): item for item in objects(body, "items")}
    if set(items) != set(range(len(batch))):
        raise AgencyError(
            f"the hub answered for {len(items)} of {len(batch)} events", remedy="Publish them again with the same ids."
        )
    found: list[Accepted | Refused] = []
    for index, event in enumerate(batch):
        item, event_id = items[index], str(event.get("id", ""))
        if item.get("status") == "refused":
            told = item.get("problem")
            problem = problem_of(told if isinstance(told, dict) else {}, status=httpx.codes.UNPROCESSABLE_ENTITY)
            found.append(Refused(first + index, event_id, problem))
        else:
            found.append(Accepted(first + index, event_id, str(item.get("token", ""))))
    return found


def delivery_of(item: Mapping[str, Any]) -> Delivery:
    """Read one delivery. Raises `AgencyError` where it lacks what it is acknowledged by."""
    delivery_id, number, kind = item.get("id"), item.get("number"), item.get("kind")
    if not isinstance(delivery_id, str) or not isinstance(number, int) or not isinstance(kind, str):
        raise AgencyError("a delivery has no id, number or kind", remedy="Report it to the hub's operator.")
    return Delivery(delivery_id, number, kind, str(item.get("type", "")), str(item.get("subject", "")), item)
