"""The gate's side of Kafka: who owns which partition, what was fetched of it, and whose turn it is.

The group only says who should read what. Who may decide is in the store: whoever is given a partition raises its owner
epoch there and reads the position (`hub/store/positions.py`), so that the commit of a former owner matches no row,
however late it comes. Kafka's own offsets follow, for whoever watches the lag; nobody reads them here.
Used by one thread, but for `Changes`.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from kafka import KafkaConsumer
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import IllegalStateError
from kafka.structs import OffsetAndMetadata, TopicPartition

from hub.bus.kafka_access import KafkaAccess, connected
from hub.bus.kafka_plan import GROUP
from hub.logs import Log
from hub.ports import Batch, Owned, Polled, Record
from hub.store.engine import Store, Tx, marks
from hub.store.positions import own

FETCH_WAIT_MS = 50  # how long a fetch waits at the broker for news: a partition that is resumed waits behind it
PARTITION_FETCH_BYTES = 256 * 1024  # of one partition per fetch: what a flood may put before the next one's
KEPT_RECORDS = 1_000  # fetched and not handed out, per partition: a fifth of a second's work, more than a fetch takes
KEPT_BYTES = 64 * 1024 * 1024  # the same, of all partitions together
SESSION_MS = 10_000  # until the partitions of a gate that died go to others; brokers allow 6 s at least
JOIN_MS = 5_000  # all others have polled by then, and a stop waits no longer
SILENT_SESSIONS = 3  # without a poll the partitions go to others, too: a batch takes a fraction of a second
HEARTBEATS = 3  # in a session: one or two may get lost
Of = TypeVar("Of", str, TopicPartition)


class Changes(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """What the group gave and took since the gate looked last. Called on the library's own thread.

    A partition that is given is paused at once: nothing of it is fetched before its position is known.
    """

    def __init__(self) -> None:
        self.consumer: Any = None
        self._lock = Lock()
        self._given: set[TopicPartition] = set()
        self._gone: set[TopicPartition] = set()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        with self._lock:
            self.consumer.pause(*assigned)
            self._given |= set(assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        with self._lock:
            self._gone |= set(revoked)
            self._given -= set(revoked)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)

    def again(self, given: Iterable[TopicPartition]) -> None:
        """Put back what could not be taken over, unless it is gone meanwhile."""
        with self._lock:
            self._given |= set(given) - self._gone

    def take(self) -> tuple[set[TopicPartition], set[TopicPartition]]:
        """Return (gone, given); what was both is given anew."""
        with self._lock:
            gone, given = self._gone, self._given
            self._gone, self._given = set(), set()
        return gone, given


@dataclass(slots=True)
class Part:
    """One partition that this gate owns."""

    epoch: int
    next: int  # where the next batch begins: what lies before was handed out, or is decided
    fetched: int  # where the library reads on
    paused: bool = False
    bytes: int = 0
    kept: deque[Any] = field(default_factory=deque)  # the library's records, fetched and not handed out

    def start_at(self, offset: int) -> None:
        self.next = self.fetched = offset
        self.drop()

    def drop(self) -> None:
        self.kept.clear()
        self.bytes = 0


class Position(NamedTuple):
    partition: str
    epoch: int
    next: int


class Intake:
    """A member of the gates' group. Not shared between threads. Methods raise the library's errors, and HubError."""

    def __init__(self, store: Store, access: KafkaAccess, log: Log, session_ms: int) -> None:
        """Connect. Raises KafkaError when nobody answers."""
        self._store, self._prefix, self._log = store, access.prefix, log
        self.changes, self.parts = Changes(), dict[TopicPartition, Part]()
        self._topics: frozenset[str] = frozenset()
        self._turn, self._back = 0, False
        self._consumer = connected(
            KafkaConsumer,
            access,
            group_id=access.prefix + GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # where a position is gone from the broker: `_keep` notices, and says so
            allow_auto_create_topics=False,
            partition_assignment_strategy=[CooperativeStickyAssignor],  # others keep what they have when one comes
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // HEARTBEATS,
            max_poll_interval_ms=session_ms * SILENT_SESSIONS,
            default_offset_commit_callback=_nobody_waits,
            metrics_enabled=False,
        )
        self.changes.consumer = self._consumer

    def follow(self, topics: frozenset[str]) -> None:
        """Poll these topics, by their names at Kafka, from now on."""
        if topics != self._topics:
            if topics:
                self._consumer.subscribe(topics=sorted(topics), listener=self.changes)
            else:
                self._consumer.unsubscribe()
                self.parts.clear()
            self._topics = topics

    def poll(self, limit: int, wait_s: float) -> Batch:
        """Take over what is new, fetch, and hand out fairly. May return early, with nothing."""
        self._join()
        self._settle()
        self._let_parked_on()
        enough = any(part.kept for part in self.parts.values())
        for at, records in self._fetched(0 if enough else int(wait_s * 1000)).items():
            self._keep(at, records)
        self._settle()
        batch = self._share(limit)
        self._throttle()
        return batch

    def rewind(self) -> None:
        """Read the stored positions before the next poll."""
        self._back = True

    def acknowledge(self, owned: Sequence[Owned]) -> None:
        """Let Kafka's own offsets follow. Nobody waits for it, and losing it loses nothing."""
        offsets = {
            at: OffsetAndMetadata(one.next, "", -1) for one in owned if (at := place(one.partition)) in self.parts
        }
        if offsets:
            self._consumer.commit_async(offsets)

    def close(self) -> None:
        """Leave the group, so that others need not wait for the session to end."""
        self._consumer.close(autocommit=False, timeout_ms=2_000)

    def _join(self) -> None:
        """Stay until a join that is due has ended, up to `JOIN_MS`: others wait for it, and only then is it ended well.

        kafka-python 3.0.12 joins anew where a join ends between two polls, without a look at what that one was given,
        and with everybody else: while each poll has something to return at once no rebalance would ever end. And it
        forgets one that began because its group's topics changed: it asks whether to join again, and its own first step
        has just made that untrue; then it would stand there without partitions or heartbeats.
        """
        coordinator = self._consumer._coordinator
        if coordinator.rejoining:
            coordinator.request_rejoin()
        if coordinator.rejoining or coordinator.need_rejoin():
            coordinator.poll(timeout_ms=JOIN_MS)

    # Ownership.
    def _settle(self) -> None:
        gone, given = self.changes.take()
        for at in gone:
            self.parts.pop(at, None)
        if given:
            self._own(given)
        if self._back:
            self._reread()

    def _own(self, given: set[TopicPartition]) -> None:
        """Raise the owner epochs in the store, and begin where it says. What cannot be owned now is tried again."""
        places = sorted(given)

        def transaction(tx: Tx) -> list[tuple[int, int]]:
            return [own(tx, name(at)) for at in places]

        try:
            owned = self._store.write(transaction)
        except BaseException:
            self.changes.again(given)
            raise
        still = self._consumer.assignment()
        for at, (epoch, position) in zip(places, owned, strict=True):
            if at in still:
                self.parts[at] = Part(epoch, position, position)
                self._seek(at, position)

    def _reread(self) -> None:
        """Go back to the stored positions. A partition whose epoch another raised is taken over anew: if the group
        still gives it to this gate, the other was late, and will hear that it lost it."""
        names = {name(at): at for at in self.parts}
        found: dict[str, Position] = {}
        if names:
            with self._store.read() as tx:
                rows = tx.rows(
                    f"SELECT partition, epoch, next FROM position WHERE partition IN ({marks(len(names))})",
                    list(names),
                )
            found = {row[0]: Position(*row) for row in rows}
        lost = {at for text, at in names.items() if text not in found or found[text].epoch != self.parts[at].epoch}
        for text, at in names.items():
            if at not in lost:
                self.parts[at].start_at(found[text].next)
                self._seek(at, found[text].next)
        self._back = False
        if lost:
            self._own(lost)

    def _seek(self, at: TopicPartition, offset: int) -> None:
        def seek(at: TopicPartition) -> None:
            self._consumer.seek(at, offset)
            self._consumer.resume(at)

        self._steer(seek, at)
        self.parts[at].paused = False

    def _steer(self, act: Callable[[TopicPartition], None], at: TopicPartition) -> None:
        """Do something to a partition, unless the group has just taken it: `changes` says so in a moment."""
        try:
            act(at)
        except (AssertionError, KeyError, ValueError, IllegalStateError):  # which one, each of its methods knows
            if at in self._consumer.assignment():
                raise

    # Fetching and turns.
    def _fetched(self, wait_ms: int) -> Mapping[TopicPartition, list[Any]]:
        """Take what the library has fetched. What it could not read it fetches again, and says so again."""
        try:
            fetched: Mapping[TopicPartition, list[Any]] = self._consumer.poll(
                timeout_ms=wait_ms, max_records=KEPT_RECORDS
            )
        except Exception:
            self._consumer._fetcher._next_partition_records = None
            raise
        return fetched

    def _keep(self, at: TopicPartition, records: list[Any]) -> None:
        """Keep what was fetched. Where the broker does not hold what comes next, say so and go on with what it has."""
        part = self.parts.get(at)
        if part is None or not records:
            return
        if records[0].offset != part.fetched:
            ahead = records[0].offset - part.fetched
            self._log.error("bus.gap" if ahead > 0 else "bus.restarted", partition=name(at), count=abs(ahead))
        part.kept.extend(records)
        part.bytes += sum(len(one.value or b"") for one in records)
        part.fetched = records[-1].offset + 1

    def _let_parked_on(self) -> None:
        """Let the library hand out what it had fetched of a partition that was paused, and is not any more.

        kafka-python 3.0.12 puts such records back in line where nobody stands there, and takes a partition that it has
        handed out to the end for somebody: then they would lie there, and nothing more would be fetched of theirs. And
        what it could not read (a sum that is wrong, a compression it lacks) stays in line, gives nothing any more and
        is never at its end: asked once more, the library would never return.
        """
        fetcher = self._consumer._fetcher
        if not fetcher._next_partition_records or fetcher._next_in_line_exception_metadata is not None:
            fetcher._next_partition_records = None

    def _throttle(self) -> None:
        """Fetch no more of what is far behind anyway, so that the others' turns are not spent waiting for it."""
        most_bytes = KEPT_BYTES // max(1, len(self.parts))
        for at, part in self.parts.items():
            full = len(part.kept) >= KEPT_RECORDS or part.bytes >= most_bytes
            low = len(part.kept) < KEPT_RECORDS // 2 and part.bytes < most_bytes // 2
            if (full and not part.paused) or (low and part.paused):
                self._steer(self._consumer.pause if full else self._consumer.resume, at)
                part.paused = full

    def _share(self, limit: int) -> Batch:
        """Hand out up to `limit` records: topics take turns, and within a topic its partitions."""
        waiting: dict[str, list[TopicPartition]] = {}
        for at, part in self.parts.items():
            if part.kept:
                waiting.setdefault(at.topic, []).append(at)
        if not waiting:
            return Batch((), ())
        self._turn += 1
        portions = shares(
            {topic: sum(len(self.parts[at].kept) for at in of) for topic, of in waiting.items()}, limit, self._turn
        )
        records: list[Polled] = []
        owned: list[Owned] = []
        for topic, portion in portions.items():
            of = waiting[topic]
            within = shares({at: len(self.parts[at].kept) for at in of}, portion, self._turn)
            for at, count in within.items():
                if count:
                    owned.append(self._hand_out(at, count, records))
        return Batch(tuple(records), tuple(owned))

    def _hand_out(self, at: TopicPartition, count: int, into: list[Polled]) -> Owned:
        part, text, topic = self.parts[at], name(at), at.topic.removeprefix(self._prefix)
        first = part.next
        for _ in range(count):
            one = part.kept.popleft()
            part.bytes -= len(one.value or b"")
            into.append(Polled(text, one.offset, Record(topic, one.key or b"", one.value or b"")))
            part.next = one.offset + 1
        return Owned(text, part.epoch, first, part.next)


def shares(waiting: Mapping[Of, int], limit: int, turn: int) -> dict[Of, int]:
    """Divide `limit` among who waits: to each the same, and what one does not need to the others.

    What does not divide goes to another one each `turn`.
    """
    order = sorted(waiting)
    order = order[turn % len(order) :] + order[: turn % len(order)]
    given, left = dict.fromkeys(order, 0), min(limit, sum(waiting.values()))
    while left:
        wanting = [one for one in order if given[one] < waiting[one]]
        each = max(1, left // len(wanting))
        for one in wanting[:left]:
            more = min(each, waiting[one] - given[one])
            given[one] += more
            left -= more
    return given


def name(at: TopicPartition) -> str:
    """Name a partition as the store does."""
    return f"{at.topic}:{at.partition}"


def place(partition: str) -> TopicPartition:
    topic, _, number = partition.rpartition(":")
    return TopicPartition(topic, int(number))


def _nobody_waits(_offsets: object, _answer: object) -> None:
    """Take the answer to a commit of Kafka's own offsets: nothing hangs on it."""
