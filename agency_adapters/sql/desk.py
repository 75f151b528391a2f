"""What every way of publishing rows shares: the events, their ids, the hub's answers, and what is told of them."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agency_adapters.client import HubClient
from agency_adapters.clock import Clock, system_clock
from agency_adapters.results import Accepted, PublishStopped, Refused
from agency_adapters.sql.rows import Dataset, Said, Unfit

UNFIT = "row-unfit"  # the code of a row that was refused here, before the hub
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, default=str, separators=(",", ":"))
COUNTED = ("read", "published", "refused", "still_refused", "unchanged", "gone")


@dataclass(frozen=True, slots=True)
class NotSent:
    """A row that was refused, here or by the hub. `row` is its key, which may name a person; `reason` names nobody."""

    row: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Desk:
    """Who publishes, to which hub, and who hears of refused rows. `event_key` makes ids that only the agency can."""

    client: HubClient
    agency: str
    event_key: bytes
    datasets: Mapping[str, Dataset]
    tell: Callable[[NotSent], None] = lambda _one: None
    clock: Clock = system_clock
    counts: Counter[str] = field(default_factory=Counter)

    def digest(self, *parts: Any) -> bytes:
        """Hash values under the agency's key: contents cannot be guessed from it."""
        return hashlib.blake2b(_CANONICAL.encode(parts).encode(), key=self.event_key, digest_size=16).digest()

    def event_id(self, *parts: Any) -> str:
        """Work out an event's id: the same parts give the same id, and a repeat is a repeat to the hub."""
        return f"sql-{self.digest(*parts).hex()}"

    def now(self) -> str:
        """Return the present moment as RFC 3339."""
        return datetime.fromtimestamp(self.clock() / 1e6, UTC).isoformat().replace("+00:00", "Z")

    def event(self, said: Said, event_id: str) -> dict[str, Any]:
        """Put the CloudEvent together."""
        more = {"corrects": said.corrects} if said.corrects else {}
        return {
            "specversion": "1.0",
            "id": event_id,
            "source": f"urn:agency:{self.agency}",
            "type": said.dataset,
            "subject": said.subject,
            "time": said.time,
            "data": said.data,
            **more,
        }

    def publish(
        self, events: Sequence[Mapping[str, Any]]
    ) -> tuple[tuple[Accepted | Refused, ...], PublishStopped | None]:
        """Publish; return the answers there are, and what ended it before the last event."""
        try:
            return self.client.publish(events).items, None
        except PublishStopped as stopped:
            return stopped.done.items, stopped

    def unfit(self, row: str, unfit: Unfit) -> NotSent:
        """Tell of a row of which no event can be made."""
        return self._told(NotSent(row, UNFIT, unfit.reason))

    def refused(self, row: str, refused: Refused) -> NotSent:
        """Tell of a row that the hub refused, with every reason that it gave."""
        parts = [str(refused.problem)]
        parts += [f"{one.get('what')} (at {one.get('where')})" for one in refused.problem.items]
        return self._told(NotSent(row, refused.problem.code, "; ".join(parts)))

    def _told(self, one: NotSent) -> NotSent:
        self.counts["refused"] += 1
        self.tell(one)
        return one
