"""What a hub knows of its topics besides their records: how far they reach, how much waits, and which are not to be
decided from.

A thread looks once a second, so that neither the gate nor a publisher waits for it.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from threading import Event, Lock, Thread
from time import monotonic

from kafka import KafkaAdminClient
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError, for_code
from kafka.structs import TopicPartition

from hub.bus.kafka_access import KafkaAccess, connected, reaching
from hub.bus.kafka_intake import name, place
from hub.core.errors import HubError, Item
from hub.logs import Log
from hub.ports import Behind, Clock, Owned
from hub.store.engine import Store

LOOK_S = 1.0
AGE_S = 5.0  # between two looks at the age of what waits, five questions each
AGES_S = (
    1,
    2,
    5,
    10,
    20,
    30,
    45,
    60,
    90,
    120,
    180,
    240,
    300,
    360,
    420,
    480,
    600,
    900,
    1_200,
    1_800,
    2_700,
    3_600,
    5_400,
    7_200,
    14_400,
    21_600,
    43_200,
    86_400,
    172_800,
    259_200,
    432_000,
    604_800,
)  # fmt: skip - as finely as anybody needs to know it
VERIFY_S = 86_400.0  # what was changed at the cluster by hand is found within a day
VERIFY_AGAIN_S = 30.0  # where it could not be known, or was found wrong


class Watch:
    """Thread-safe. Looks at the topics that it is told to follow, once it is started."""

    def __init__(
        self,
        store: Store,
        access: KafkaAccess,
        log: Log,
        barred: Callable[[Collection[str]], Mapping[str, str]],
        clock: Clock,
    ) -> None:
        """`clock` is what records are stamped by: their publishers are hubs."""
        self._store, self._access, self._log, self._barred, self._clock = store, access, log, barred, clock
        self._lock, self._asking = Lock(), Lock()
        self._admin: KafkaAdminClient | None = None
        self._topics: frozenset[str] = frozenset()
        self._open: frozenset[str] = frozenset()
        self._found: Mapping[str, str] = {}
        self._unverified, self._away = "", ""
        self._verify_at_s = 0.0
        self._ends: dict[str, int] = {}
        self._next: dict[str, int] = {}
        self._decided: dict[str, int] = {}  # the positions, as of the last look
        self._oldest, self._age_at_s = (0, 0.0), 0.0  # seconds of age, and when that was so; when to look again
        self._wake, self._stop = Event(), Event()
        self._thread: Thread | None = None

    def follow(self, topics: Collection[str]) -> None:
        """Look at these from now on. A new one is open once it is verified."""
        with self._lock:
            if self._topics == frozenset(topics):
                return
            self._topics, self._verify_at_s = frozenset(topics), 0.0
            self._open &= self._topics
        self._wake.set()

    def start(self) -> None:
        """Begin to look, if that has not begun: a hub that decides nothing need not know."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="kafka-watch", daemon=True)
            self._thread.start()

    def open_topics(self) -> frozenset[str]:
        """Name the topics that may be decided from."""
        with self._lock:
            return self._open

    def reached(self, ends: Mapping[str, int]) -> None:
        """Hear what was just published."""
        with self._lock:
            for partition, end in ends.items():
                self._ends[partition] = max(end, self._ends.get(partition, 0))

    def handed_out(self, owned: Iterable[Owned]) -> None:
        """Hear what the gate here has polled."""
        with self._lock:
            for one in owned:
                self._next[one.partition] = max(one.next, self._next.get(one.partition, 0))

    def rewound(self) -> None:
        """Hear that the gate here goes back to the stored positions: what it polled beyond them waits again."""
        with self._lock:
            self._next = dict(self._decided)

    def backlog(self) -> int:
        with self._lock:
            return sum(max(0, end - self._next.get(partition, 0)) for partition, end in self._ends.items())

    def behind(self) -> Behind:
        with self._lock:
            records = sum(self._missing().values())
            age_s, since_s = self._oldest
        return Behind(records, int(age_s + monotonic() - since_s) if records else 0)

    def troubles(self) -> tuple[Item, ...]:
        with self._lock:
            said = [
                Item(f"nothing of topic {topic} is decided: {why}", topic, REMEDY) for topic, why in self._found.items()
            ]
            if self._unverified:
                said.append(Item(f"the bus's topics are not verified: {self._unverified}", "bus", REMEDY))
            if self._away:
                said.append(
                    Item(f"the event bus does not answer: {self._away}", "bus", "See the cluster; nothing is lost.")
                )
        return tuple(said)

    def ends_of(self, topic: str) -> dict[str, int]:
        """Ask the cluster. Raises HubError(UNAVAILABLE): not knowing is not the same as empty."""
        with reaching("the ends of a topic could not be read"):
            return {partition: end for partition, end in self._ask([topic]).items() if end}

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        with self._asking:
            if self._admin is not None:
                self._admin.close()
                self._admin = None

    # The thread.
    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may go well; without one none is told
                self._failed(error)
            self._wake.wait(LOOK_S)

    def _failed(self, error: Exception) -> None:
        """Tell of a look that met a defect, here or in the library. What was known stands until the next one."""
        if self._stop.is_set():
            return  # what it looked with was closed under it
        with self._lock:
            if not self._away:
                self._log.error("bus.away", exc_info=error)
            self._away = type(error).__name__

    def _look(self) -> None:
        with self._lock:
            topics, due = self._topics, monotonic() >= self._verify_at_s
        try:
            if due:
                self._verify(topics)
            ends = self._ask(sorted(topics))
            away = ""
        except (KafkaError, OSError) as error:
            ends, away = {}, type(error).__name__
        except HubError as error:
            ends, away = {}, error.code
        positions = self._positions(ends)
        with self._lock:
            if away and not self._away:
                self._log.warning("bus.away")
            self._away = away
            if not away:
                self._ends = {partition: max(end, 0) for partition, end in ends.items()}
            self._decided.update(positions)
            for partition, position in positions.items():
                self._next[partition] = max(position, self._next.get(partition, 0))
            missing = self._missing()
        if missing and not away and monotonic() >= self._age_at_s:
            self._look_at_age(missing)

    def _missing(self) -> dict[str, int]:
        """Count, by partition, what is there and not decided. Called with the lock held."""
        counts = {partition: end - self._decided.get(partition, 0) for partition, end in self._ends.items()}
        return {partition: count for partition, count in counts.items() if count > 0}

    def _look_at_age(self, missing: Collection[str]) -> None:
        """See how old the oldest undecided record is: the cluster says which one was the first after a moment."""
        now_s, now_ms = monotonic(), self._clock() // 1_000
        places = {place(partition): self._decided.get(partition, 0) for partition in missing}

        def older(age_s: int) -> bool:
            assert self._admin is not None
            first = self._admin.list_partition_offsets(dict.fromkeys(places, now_ms - age_s * 1_000))
            return any(said.offset < 0 or said.offset > places[at] for at, said in first.items())

        try:
            with self._asking:
                at = bisect_left(AGES_S, True, key=lambda age_s: not older(age_s))
        except (KafkaError, OSError):
            return
        with self._lock:
            self._oldest = (AGES_S[at - 1] if at else 0, now_s)
        self._age_at_s = monotonic() + AGE_S

    def _verify(self, topics: frozenset[str]) -> None:
        try:
            found, unknown = dict(self._barred(topics)), ""
        except HubError as error:
            found, unknown = {}, error.what
        with self._lock:
            if topics != self._topics:
                return  # others by now: the next look verifies those
            self._open = frozenset() if unknown else topics - found.keys()
            found = {topic: why for topic, why in found.items() if why}
            if found != self._found or unknown != self._unverified:
                (self._log.error if found or unknown else self._log.info)("bus.verified", count=len(found))
            self._found, self._unverified = found, unknown
            self._verify_at_s = monotonic() + (VERIFY_AGAIN_S if found or unknown else VERIFY_S)

    def _ask(self, topics: Sequence[str]) -> dict[str, int]:
        """Read how far each partition reaches. A topic that is not there has none."""
        if not topics:
            return {}
        with self._asking:
            if self._admin is None:
                self._admin = connected(KafkaAdminClient, self._access)
            places = []
            for topic in self._admin.describe_topics(list(topics)):
                if topic["error_code"] not in (0, UNKNOWN_TOPIC):
                    raise for_code(topic["error_code"])
                places += [TopicPartition(topic["name"], one["partition_index"]) for one in topic["partitions"]]
            if not places:
                return {}
            found = self._admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        return {name(at): said.offset for at, said in found.items()}

    def _positions(self, ends: Mapping[str, int]) -> dict[str, int]:
        """Read how far the gates are. While the store is down the last known positions stand."""
        if not ends:
            return {}
        try:
            with self._store.read() as tx:
                rows = tx.rows("SELECT partition, next FROM position")
        except HubError:
            return {}
        return {partition: position for partition, position in rows if partition in ends}


UNKNOWN_TOPIC = 3  # Kafka's error code UNKNOWN_TOPIC_OR_PARTITION
REMEDY = "`hub topics plan` shows what it should be; `hub doctor` names what differs."
