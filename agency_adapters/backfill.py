"""Fill a backfill: publish what an agency held already for one new recipient, person by person, and survive a crash.

1. read the backfill and its cursor          2. skip the persons that were sent wholly before
3. send whole persons in small requests, in order; wait where the hub has news to decide first
4. keep the cursor now and then              5. say that this was all
The same persons in the same order give the same event ids, so what is sent twice is decided once.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from agency_adapters.client import HubClient
from agency_adapters.errors import AgencyError, HubProblem
from agency_adapters.results import Accepted, CloudEvent, PublishStopped, Refused

Person = tuple[str, Sequence[CloudEvent]]
"""The agency's own id of a person, and all that it holds of them, oldest first."""

WAITS = "backfill-waits"
REQUEST_EVENTS = 100
REQUEST_BYTES = 1_000_000  # far below what a hub takes at once: a request is never halved, so order holds
SAVE_EVERY = 2_000  # events between two cursors: so many are sent again at most after a crash, and dropped as repeats
PAUSES_S = (0.2, 10.0)  # first and longest, while the hub asks to wait
PATIENCE_S = 3_600.0  # of one request: a hub that is busy with news for longer than this needs its operator


@dataclass(frozen=True, slots=True)
class Filled:
    """What one run did. Persons skipped were sent by an earlier one."""

    persons: int = 0
    skipped: int = 0
    events: int = 0
    waits: int = 0
    refused: tuple[Refused, ...] = ()


def backfill(
    client: HubClient,
    backfill_id: str,
    persons: Iterable[Person],
    *,
    told: int = 0,
    save_every: int = SAVE_EVERY,
    sleep: Callable[[float], None] = time.sleep,
) -> Filled:
    """Publish all of `persons` for one backfill and end it. `told`: how many there are, where that is known.

    `persons` come in the same order each time. Raises `AgencyError` where there is no such open backfill, or the hub
    cannot be reached; then run it again: it goes on from the cursor.
    """
    found = next((one for one in client.backfills() if one.get("id") == backfill_id), None)
    if found is None or "cursor" not in found:
        raise AgencyError(
            "no such backfill is yours to fill", remedy="`hub-agency backfill list` names those that are."
        )
    if found.get("state") == "closed":
        raise AgencyError("this backfill is closed", remedy="Its recipient may ask for another.")
    sent = _Sent(client, backfill_id, sleep, max(told, int(found.get("persons", 0))), save_every)
    cursor = _read_cursor(str(found["cursor"]))
    batch: list[CloudEvent] = []
    at, digest = 0, ""
    for at, (subject, events) in enumerate(persons, 1):
        digest = _digest(digest, subject)
        if at <= cursor[0]:
            sent.skip()
            if at == cursor[0] and digest != cursor[1]:
                raise _other_persons()
            continue
        batch += list(aimed_events(backfill_id, subject, events))
        if len(batch) >= REQUEST_EVENTS:
            sent.send(batch)
            batch = []
            sent.reached(at, digest)
        sent.person()
    if at < cursor[0]:
        raise _other_persons()
    sent.send(batch)
    sent.reached(at, digest)
    sent.save()
    client.end_backfill(backfill_id)
    return sent.filled


def _other_persons() -> AgencyError:
    remedy = "Give the persons in the order of the first run; a stable key of your register does."
    return AgencyError("these are not the persons that were sent before", remedy=remedy)


def aimed_events(backfill_id: str, subject: str, events: Sequence[CloudEvent]) -> Iterator[CloudEvent]:
    """Mark a person's events as backfill, the last as the last, each under an id of its own that is always the same.

    The live event of the same fact, where there was one, keeps its id: the two are different events.
    """
    for at, event in enumerate(events):
        if event.get("subject", subject) != subject:
            raise AgencyError("an event is about another person than it was given for", remedy="Group by `subject`.")
        named = str(event.get("id") or _content(event))
        own = sha256(f"{backfill_id}\x1f{subject}\x1f{named}".encode()).hexdigest()[:32]
        marks: dict[str, Any] = {"backfilllast": True} if at == len(events) - 1 else {}
        yield {**event, "id": f"backfill-{own}", "subject": subject, "backfill": backfill_id, **marks}


class _Sent:
    """How far one run is, and the line it goes through."""

    def __init__(
        self, client: HubClient, backfill_id: str, sleep: Callable[[float], None], told: int, save_every: int
    ) -> None:
        self.filled = Filled()
        self._client, self._id, self._sleep, self._told, self._save_every = client, backfill_id, sleep, told, save_every
        self._saved_events, self._cursor = 0, ""

    def skip(self) -> None:
        self.filled = replace(self.filled, skipped=self.filled.skipped + 1)

    def person(self) -> None:
        self.filled = replace(self.filled, persons=self.filled.persons + 1)

    def send(self, batch: Sequence[CloudEvent]) -> None:
        """Send events in order, in requests that a hub takes or refuses as one."""
        for part in _requests(batch, most=min(REQUEST_EVENTS, self._client.channel.settings.batch_events)):
            self._send(part)
        self.filled = replace(self.filled, events=self.filled.events + len(batch))

    def reached(self, persons: int, digest: str) -> None:
        """Note that so many persons are sent wholly; now and then keep it at the hub."""
        self._cursor = f"{persons}:{digest}"
        if self.filled.events - self._saved_events >= self._save_every:
            self.save()

    def save(self) -> None:
        if self._cursor:
            told = max(self._told, self.filled.persons + self.filled.skipped)
            self._client.backfill_progress(self._id, cursor=self._cursor, persons=told)
        self._saved_events = self.filled.events

    def _send(self, part: Sequence[CloudEvent]) -> None:
        """Send one request until the hub takes it. What it refuses for good is reported, and the others go on."""
        waited_s, pause_s = 0.0, PAUSES_S[0]
        while part:
            done = self._once(part)
            waiting = [one.index for one in done if isinstance(one, Refused) and one.problem.code == WAITS]
            left = part[min(waiting) :] if waiting else part[len(done) :]
            answered = done[: min(waiting)] if waiting else done
            told = tuple(one for one in answered if isinstance(one, Refused))
            self.filled = replace(self.filled, refused=self.filled.refused + told)
            part = left
            if not part:
                return
            if waited_s >= PATIENCE_S:
                raise AgencyError(
                    "the hub has had news to decide for an hour", remedy="Ask its operator; run it again."
                )
            self.filled = replace(self.filled, waits=self.filled.waits + 1)
            self._sleep(pause_s)
            waited_s, pause_s = waited_s + pause_s, min(2 * pause_s, PAUSES_S[1])

    def _once(self, part: Sequence[CloudEvent]) -> Sequence[Accepted | Refused]:
        try:
            return self._client.publish(part).items
        except PublishStopped as stopped:
            cause = stopped.cause
            if isinstance(cause, HubProblem) and cause.problem.code == WAITS:
                return stopped.done.items
            raise


def _requests(batch: Sequence[CloudEvent], *, most: int) -> Iterator[Sequence[CloudEvent]]:
    """Cut events into requests: small enough for any hub, and for the client to send each as one."""
    part: list[CloudEvent] = []
    size = 0
    for event in batch:
        event_bytes = len(json.dumps(event, ensure_ascii=False).encode())
        if part and (len(part) >= most or size + event_bytes > REQUEST_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += event_bytes
    if part:
        yield part


def _digest(before: str, subject: str) -> str:
    """Chain the persons sent so far into one short text: it tells whether they are the same, and nobody's id."""
    return sha256(f"{before}\x1f{subject}".encode()).hexdigest()[:32]


def _read_cursor(text: str) -> tuple[int, str]:
    count, _, digest = text.partition(":")
    return (int(count), digest) if count.isdecimal() else (0, "")


def _content(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, ensure_ascii=False)
