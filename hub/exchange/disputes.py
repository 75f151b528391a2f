"""What rests on a disputed link waits on the queue, untouched, and in nobody else's way.

Nothing is moved when a link is disputed or settled: each hand-out chooses by the links that are disputed now, under the
fence of the transaction that opens, and passes over what rests on one. So there is no second state to fall out of step
with the links, and what waited goes on in order by itself once all of its links are settled. What comes of the undoing
of one is unlink's.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from hub.core.agreement import Catalogue
from hub.store.deliveries import DECIDED, DeliveryKind, Part

PASSED_OVER = (
    20  # pages of one hand-out that may be all disputed: behind 10,000 of them others wait, and not withdrawals
)


class Queued(Protocol):
    """A row of a recipient's queue with its delivery."""

    @property
    def delivery(self) -> int: ...
    @property
    def subscription(self) -> int: ...
    @property
    def person(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def parts(self) -> Sequence[Part]: ...


Q = TypeVar("Q", bound=Queued)


class Disputes:
    """The links that are disputed now, as one hand-out to one recipient sees them."""

    def __init__(self, links: frozenset[tuple[int, int]], catalogue: Catalogue, recipient: int) -> None:
        """`links` are those of `disputed_links`, as the choice was made on them."""
        self._links = links
        self._catalogue, self._recipient = catalogue, recipient
        self._waiting: set[tuple[int, int]] = set()  # chains (subscription, person) of which one waits

    def passed(self, read: Callable[[int], list[Q]], most: int) -> list[Q]:
        """Choose up to `most` that may go. `read` gives up to `most`, in order, after a delivery's id."""
        if not self._links:
            return read(0)
        found: list[Q] = []
        after = 0
        for _ in range(PASSED_OVER):
            rows = read(after)
            found += [row for row in rows if not self._waits(row)]
            if len(rows) < most or len(found) >= most:
                break
            after = rows[-1].delivery
        return found[:most]

    def _waits(self, row: Queued) -> bool:
        """Say whether a row rests on a disputed link, or stands, never opened, behind one that does."""
        if row.kind not in DECIDED:
            return False
        chain = (row.subscription, row.person)
        if chain in self._waiting and not row.number:
            return True
        agencies = [self._recipient]
        line = self._catalogue.subscriptions.get(row.subscription)
        if line is not None:
            agencies.append(self._catalogue.agencies[line.agreement.provider].number)
            agencies += [self._catalogue.agencies[line.recipient].number] if row.kind == DeliveryKind.QUESTION else []
        persons = {row.person, *[part.person for part in row.parts]}
        if any((person, agency) in self._links for person in persons for agency in agencies):
            self._waiting.add(chain)
            return True
        return False
