"""The bus on Kafka: one topic per agency and dataset, whose records several hubs share.

Publishing is idempotent and waits for all in-sync replicas. Records of one key go to one partition, by a hash that is
counted here: the key is a keyed hash already, and the library's own hashing costs a third of its rate.
Exactly-once is not left to Kafka: positions and owner epochs are the store's (`hub/bus/kafka_intake.py`).
Clients are made when they are first needed, so that a hub starts while its cluster is away.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock, Thread
from time import monotonic

from kafka import KafkaProducer
from kafka.errors import KafkaError

from hub.bus.kafka_access import REQUEST_MS, KafkaAccess, connected, reaching, unavailable
from hub.bus.kafka_intake import SESSION_MS, Intake
from hub.bus.kafka_watch import Watch
from hub.clock import system_clock
from hub.core.errors import HubError, Item
from hub.logs import Log
from hub.ports import Batch, Behind, Clock, Owned, Record
from hub.store.engine import Store

PUBLISH_S = 5  # publish answers within this, whatever the cluster does
LINGER_MS = 1  # small publishes that come together share a request; a millisecond is a fraction of what one takes
ANSWER_MS = 500  # what is left of that for the library to tell when one request was not answered
CLOSE_S = 1  # of a stop, for what is being published right now
LISTEN_S = 0.2  # then see whether other topics are to be followed
RETRY_S = 1.0  # between two tries to reach a cluster that did not answer
NOT_STORED = "the event bus did not confirm the events; they may be stored or not"

Barred = Callable[[Collection[str]], Mapping[str, str]]
"""Say which of these topics must not be decided from, and why. Raises HubError when that cannot be known."""


def nothing_barred(_topics: Collection[str]) -> Mapping[str, str]:
    """Stand in for a check of the topics where there is none."""
    return {}


class KafkaBus:
    """See `hub.ports.Bus`. `publish`, `ends`, `backlog`, `follow` from any thread; the rest is the gate's."""

    def __init__(
        self,
        store: Store,
        access: KafkaAccess,
        *,
        log: Log,
        publisher: KafkaAccess | None = None,
        topics: Collection[str] = (),
        barred: Barred = nothing_barred,
        publish_s: int = PUBLISH_S,
        session_ms: int = SESSION_MS,
        clock: Clock = system_clock,
    ) -> None:
        """Connect to nothing yet. `publisher` is the account that publishes, where it is another."""
        self._store, self._access, self._log = store, access, log
        self._outlet = Outlet(publisher or access, publish_s)
        self._watch = Watch(store, access, log, barred, clock)
        self._intake: Intake | None = None
        self._session_ms, self._again_at_s, self._closed = session_ms, 0.0, False
        self.follow(topics)

    def publish(self, records: Sequence[Record]) -> None:
        """See `Bus.publish`."""
        self._watch.reached(self._outlet.publish(records))

    def poll(self, limit: int, wait_s: float) -> Batch:
        """See `Bus.poll`. Topics take turns; what must not be decided from is not polled."""
        deadline_s = monotonic() + wait_s
        self._watch.start()
        with reaching("the events on the bus could not be read"):
            intake = self._member()
            while True:
                intake.follow(self._watch.open_topics())
                left_s = max(0.0, deadline_s - monotonic())
                batch = intake.poll(limit, min(left_s, LISTEN_S))
                if batch.records or not left_s:
                    self._watch.handed_out(batch.owned)
                    return batch

    def ends(self, topic: str) -> dict[str, int]:
        """See `Bus.ends`. A partition that never had a record is left out: nothing is to be reached there."""
        return self._watch.ends_of(self._access.prefix + topic)

    def rewind(self) -> None:
        """See `Bus.rewind`. The next poll reads the positions."""
        self._watch.rewound()
        if self._intake is not None:
            self._intake.rewind()

    def acknowledge(self, owned: Sequence[Owned]) -> None:
        """See `Bus.acknowledge`. Kafka's own offsets follow; what is kept how long is the topic's retention."""
        if self._intake is None:
            return
        try:
            self._intake.acknowledge(owned)
        except (KafkaError, OSError):  # they follow with a later batch
            return

    def backlog(self) -> int:
        """See `Bus.backlog`. Of all gates together, as of a second ago."""
        return self._watch.backlog()

    def watch(self) -> None:
        """Begin to count what waits, although no gate here polls: who takes backfill has to know."""
        self._watch.start()

    def behind(self) -> Behind:
        """See `Bus.behind`."""
        return self._watch.behind()

    def follow(self, topics: Collection[str]) -> None:
        """See `Bus.follow`."""
        self._watch.follow({self._access.prefix + topic for topic in topics})

    def troubles(self) -> tuple[Item, ...]:
        """See `Bus.troubles`."""
        return self._watch.troubles()

    def decided(self) -> int:
        """Count what retention may drop: nothing, for the broker drops by age."""
        return 0

    def drop_decided(self, limit: int) -> int:
        """Drop nothing: retention is the broker's."""
        del limit
        return 0

    def close(self) -> None:
        """See `Bus.close`."""
        self._closed = True
        self._watch.close()
        self._outlet.close()
        if self._intake is not None:
            intake, self._intake = self._intake, None
            try:
                intake.close()
            except (KafkaError, OSError):  # the group finds out by itself
                return

    def _member(self) -> Intake:
        """Join the gates' group when first asked; a cluster that did not answer is asked again a second later."""
        if self._intake is None:
            if self._closed or monotonic() < self._again_at_s:
                raise unavailable("the event bus cannot be reached", "closed" if self._closed else "tried just now")
            self._again_at_s = monotonic() + RETRY_S
            self._intake = Intake(self._store, self._access, self._log, self._session_ms)
            self._again_at_s = 0.0
        return self._intake


class Outlet:
    """What publishes. While the cluster does not answer one call at a time tries; the others are told at once."""

    def __init__(self, access: KafkaAccess, wait_s: int) -> None:
        self._access, self._wait_s = access, wait_s
        self._producer: KafkaProducer | None = None
        self._down, self._trying, self._making = False, Lock(), Lock()

    def publish(self, records: Sequence[Record]) -> dict[str, int]:
        """Make records durable. Returns, by partition, one past the last of them. Raises HubError(UNAVAILABLE)."""
        if not self._down:
            return self._publish(records)
        if not self._trying.acquire(blocking=False):
            raise unavailable(NOT_STORED, "another request is trying")
        try:
            return self._publish(records)
        finally:
            self._trying.release()

    def close(self) -> None:
        with self._making:
            producer, self._producer = self._producer, None
        if producer is not None:
            _end(producer, CLOSE_S)

    def _publish(self, records: Sequence[Record]) -> dict[str, int]:
        try:
            with reaching(NOT_STORED):
                reached = self._sent(records, monotonic() + self._wait_s)
        except HubError:
            self._down = True
            raise
        self._down = False
        return reached

    def _sent(self, records: Sequence[Record], deadline_s: float) -> dict[str, int]:
        producer, prefix = self._made(), self._access.prefix
        counts: dict[str, int] = {}
        answers = []
        for record in records:
            topic = prefix + record.topic
            count = counts.get(topic)
            if count is None:
                count = counts[topic] = len(producer.partitions_for(topic))
            partition = partition_of(record.key, count)
            answers.append(producer.send(topic, record.value, key=record.key, partition=partition))
        reached: dict[str, int] = {}
        try:
            for answer in answers:
                stored = answer.get(timeout=max(0.01, deadline_s - monotonic()))
                reached[f"{stored.topic}:{stored.partition}"] = stored.offset + 1  # of one partition they come in order
        except KafkaError:
            self._give_up(producer)
            raise
        return reached

    def _give_up(self, producer: KafkaProducer) -> None:
        """Let the next publish make another producer; what others have sent by this one it may still get through.

        kafka-python 3.0.12 does not always go on with one whose batch ran out of time while the cluster was away: it
        asks for a new producer id and sends nothing more. A repeat that this lets through is one event to the gate.
        """
        with self._making:
            if self._producer is not producer:
                return
            self._producer = None
        Thread(target=_end, args=(producer, self._wait_s), name="kafka-outlet-ends", daemon=True).start()

    def _made(self) -> KafkaProducer:
        with self._making:
            if self._producer is None:
                wait_ms = self._wait_s * 1000
                self._producer = connected(
                    KafkaProducer,
                    self._access,
                    request_ms=min(REQUEST_MS, wait_ms - ANSWER_MS),
                    enable_idempotence=True,
                    acks="all",
                    linger_ms=LINGER_MS,
                    batch_size=256 * 1024,  # 200 events of 1 kB and their wrapping go together
                    max_request_size=1024 * 1024,  # the broker's own limit; an event has 64 KiB at most
                    max_block_ms=wait_ms,
                    delivery_timeout_ms=wait_ms,
                    allow_auto_create_topics=False,
                    metrics_enabled=False,
                )
            return self._producer


def _end(producer: KafkaProducer, wait_s: int) -> None:
    """Close a producer; where what it was to send does not get through, the library leaves its thread running."""
    try:
        producer.close(timeout=wait_s)
    except (KafkaError, OSError):  # whoever published was told long ago that it may be stored or not
        producer._sender.force_close()
        producer._sender.join(wait_s)


def partition_of(key: bytes, partitions: int) -> int:
    """Say where records of this key go. The key is a keyed hash: its first bytes are as good as any."""
    return int.from_bytes(key[:8]) % partitions
