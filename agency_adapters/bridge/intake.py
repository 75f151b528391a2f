"""Topics to hub: the group's offset of a partition never passes a record that the hub has not accepted.

What the hub refuses goes to the dead-letter topic, and is committed once the cluster has it there; without such a topic
the bridge halts before it. Killed in between, records are published again under the same ids: repeats to the hub.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from kafka import errors as refused_by
from kafka.structs import OffsetAndMetadata, TopicPartition

from agency_adapters.bridge.cluster import ClusterRefused, open_consumer, open_producer, reaching
from agency_adapters.bridge.config import Access, Publish
from agency_adapters.bridge.feed import ANSWER_S
from agency_adapters.bridge.records import Publisher, Record, event_from, where_of
from agency_adapters.client import HubClient
from agency_adapters.errors import AgencyError
from agency_adapters.ndjson import Broken
from agency_adapters.results import Accepted, PublishStopped, Refused

UNFIT = "record-unfit"  # the code of a record that was refused here, before the hub
JOIN_S = 30.0  # until the group has given us something: a member that died is waited for
POLL_S = 0.2
_MOVED = (
    refused_by.CommitFailedError, refused_by.RebalanceInProgressError, refused_by.IllegalGenerationError,
    refused_by.UnknownMemberIdError,
)  # fmt: skip
Answer = Accepted | Refused | Broken


class Halted(AgencyError):
    """A person has to look: going on would pass a record that nobody has."""


@dataclass
class Settled:
    """What may be committed of a batch, by partition; where each that is not settled begins; what was refused."""

    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    open: dict[TopicPartition, int] = field(default_factory=dict)
    dead: list[tuple[Record, Refused | Broken]] = field(default_factory=list)
    halted: tuple[Record, Refused | Broken] | None = None
    published: int = 0


class Intake:
    """One cluster, one hub. Connects when it is first needed; after a failure of the cluster's, anew."""

    def __init__(
        self,
        client: HubClient,
        access: Access,
        publish: Publish,
        publisher: Publisher,
        *,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Connect to nothing yet. `tell` hears of each refused record: its place and why, without its values."""
        self._client, self._access, self._publish, self._publisher = client, access, publish, publisher
        self._tell = tell
        self._consumer: Any = None
        self._producer: Any = None  # of dead letters; made when there is one

    def round(self, *, wait_s: float = POLL_S) -> Counter[str]:
        """Publish a batch, waiting up to `wait_s` for its first record. Returns how many were `published`, `refused`.

        1. poll   2. make the events   3. publish; the client waits where the hub says so   4. write dead letters
        5. commit what is settled, of each partition up to the first that is not   6. go back to those
        Raises `Halted`, `ClusterRefused`, and `PublishStopped` where the hub ended it.
        """
        try:
            records = self._poll(wait_s)
            if not records:
                return Counter()
            answers, stopped = self._answers(records)
            settled = settle(records, answers, dead_letters=bool(self._publish.dead_letters))
            self.write_dead_letters(settled.dead)
            self.commit(settled.offsets)
            self._go_back(settled.open)
        except ClusterRefused:
            self.close()
            raise
        if stopped is not None:
            raise stopped
        if settled.halted is not None:
            record, answer = settled.halted
            raise Halted(
                f"{where_of(record)} was refused: {_reason(answer)}. It is not passed by",
                remedy="Mend what makes such records, or what the hub misses, and start again; or have refused = "
                '"dead-letters".',
            )
        return Counter(published=settled.published, refused=len(settled.dead))

    def to_the_end(self) -> Counter[str]:
        """Publish what is in the topics now. Returns how many were `published` and `refused`."""
        counts: Counter[str] = Counter(published=0, refused=0)
        ends: dict[TopicPartition, int] = {}
        until_s = monotonic() + JOIN_S
        while True:
            counts += self.round()
            with reaching("say how far its topics go"):
                assigned = self._consumer.assignment()
                if assigned and assigned != set(ends):
                    ends = self._consumer.end_offsets(list(assigned))
                if assigned and self._is_at(ends):
                    return Counter(published=counts["published"], refused=counts["refused"])
            if not assigned and monotonic() > until_s:
                raise ClusterRefused(
                    f"group {self._publish.group} gave this bridge nothing to do",
                    remedy="Another bridge has every partition, or one that died is still waited for.",
                )

    def close(self) -> None:
        """Leave the group and the cluster. The next round connects anew, and reads on where was committed."""
        consumer, producer = self._consumer, self._producer
        self._consumer = self._producer = None
        with reaching("be left"):
            if consumer is not None:
                consumer.close(autocommit=False)
            if producer is not None:
                producer.close(timeout=1)

    def _poll(self, wait_s: float) -> list[Record]:
        """Poll; a partition without an offset of the group's is read from its beginning."""
        if self._consumer is None:
            self._consumer = open_consumer(self._access, self._publish)
        with reaching("be read"):
            try:
                polled: Mapping[Any, Sequence[Record]] = self._consumer.poll(timeout_ms=int(wait_s * 1000))
            except refused_by.NoOffsetForPartitionError as error:
                self._begin(error)
                polled = {}
            except refused_by.OffsetOutOfRangeError:
                raise Halted(
                    f"records that group {self._publish.group} had not published yet are no longer in the topic",
                    remedy="Its retention removed them. Publish those otherwise, then move the group's offsets with"
                    " `kafka-consumer-groups.sh --reset-offsets --to-earliest`, and start again.",
                ) from None
        return [record for part in polled.values() for record in part]

    def _begin(self, unknown: refused_by.NoOffsetForPartitionError) -> None:
        """Read partitions that the group has no offset of from their beginning."""
        self._consumer.seek_to_beginning(*unknown.args[0])

    def _is_at(self, ends: Mapping[TopicPartition, int]) -> bool:
        try:
            return all(self._consumer.position(part) >= end for part, end in ends.items())
        except refused_by.NoOffsetForPartitionError as error:  # the poll ended before it had asked for them
            self._begin(error)
            return False

    def _answers(self, records: Sequence[Record]) -> tuple[dict[int, Answer], PublishStopped | None]:
        """Publish what can be; return an answer for each record that has one, by its place in the batch."""
        made = [event_from(record, self._publisher) for record in records]
        answers: dict[int, Answer] = {at: one for at, one in enumerate(made) if isinstance(one, Broken)}
        sound = [at for at in range(len(made)) if at not in answers]
        events = [one for one in made if not isinstance(one, Broken)]
        stopped = None
        try:
            items = self._client.publish(events).items
        except PublishStopped as error:
            items, stopped = error.done.items, error
        return answers | dict(zip(sound, items, strict=False)), stopped

    def write_dead_letters(self, dead: Sequence[tuple[Record, Refused | Broken]]) -> None:
        """Write refused records to their topic, as they were, and wait until the cluster has them."""
        if not dead:
            return
        topic = self._publish.dead_letters
        if self._producer is None:
            self._producer = open_producer(self._access, (topic,))
        with reaching(f"take dead letters into topic {topic}"):
            answers = [self._producer.send(topic, **_letter(*one)) for one in dead]
            for answer in answers:
                answer.get(timeout=ANSWER_S)
        for record, why in dead:
            self._tell(f"{where_of(record)} refused: {_reason(why)}. It is in {topic}.")

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit. Where the group gave partitions to another meanwhile, that one publishes them again: repeats."""
        if not offsets:
            return
        with reaching("keep the group's offsets"):
            try:
                self._consumer.commit({part: OffsetAndMetadata(at, "", -1) for part, at in offsets.items()})
            except _MOVED:
                return

    def _go_back(self, open_: Mapping[TopicPartition, int]) -> None:
        for part, offset in open_.items():
            if part in self._consumer.assignment():
                self._consumer.seek(part, offset)


def settle(records: Sequence[Record], answers: Mapping[int, Answer], *, dead_letters: bool) -> Settled:
    """Say what may be committed: of each partition what lies before the first that nobody has taken."""
    found = Settled()
    for at, record in enumerate(records):
        part, answer = TopicPartition(record.topic, record.partition), answers.get(at)
        if part in found.open:
            continue
        if isinstance(answer, Refused | Broken) and dead_letters:
            found.dead.append((record, answer))
        elif not isinstance(answer, Accepted):
            found.open[part] = record.offset
            if answer is not None:
                found.halted = found.halted or (record, answer)
            continue
        else:
            found.published += 1
        found.offsets[part] = record.offset + 1
    return found


def _letter(record: Record, why: Refused | Broken) -> dict[str, Any]:
    """Make a dead letter: the record as it was, and in three headers why, and where it stood."""
    code = UNFIT if isinstance(why, Broken) else why.problem.code
    told = {"hub_problem": code, "hub_reason": _reason(why), "hub_record": where_of(record)}
    value = record.value if record.key is not None else record.value or b""  # the library wants one of the two
    headers = [*record.headers, *((name, text.encode()) for name, text in told.items())]
    return {"key": record.key, "value": value, "headers": headers}


def _reason(why: Refused | Broken) -> str:
    """Say why in one line; it holds no value."""
    if isinstance(why, Broken):
        return why.reason
    parts = [str(why.problem)]
    parts += [f"{one.get('what')} (at {one.get('where')})" for one in why.problem.items]
    return "; ".join(parts)
