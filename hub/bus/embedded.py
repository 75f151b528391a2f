"""The bus in the same database: one table, each topic a partition that grows at its own end. For one machine.

Publishes share commits with one another (`group`), so that many small ones cost one fsync together. What became durable
lately is kept in memory too, up to a limit: a gate that keeps up reads nothing back.
"""

import threading
from collections.abc import Collection, Sequence
from functools import partial

from hub.bus.arrivals import Arrivals
from hub.core.errors import HubError, Item
from hub.ports import Batch, Behind, Owned, Polled, Record
from hub.store.engine import Fences, Store, Tx, marks
from hub.store.facts import BUS_LOCK
from hub.store.positions import own

OFFSETS_PER_PARTITION = 1 << 40
ONE = Fences(changes=[(BUS_LOCK, 0)])  # publishes follow each other; they and decisions have nothing in common
RECENT_BYTES = 32 * 1024 * 1024  # of records kept in memory until they are polled; what comes beyond is read back


class Recent:
    """Durable records that nobody has polled yet, by topic and offset. The table holds them all; this holds some."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self._bytes = limit_bytes, 0
        self._kept: dict[int, dict[int, Polled]] = {}
        self._polled: dict[int, int] = {}  # per topic, one past the last polled: what comes late is not kept
        self._lock = threading.Lock()

    def keep(self, topic: int, records: Sequence[Polled]) -> None:
        with self._lock:
            kept, polled = self._kept.setdefault(topic, {}), self._polled.get(topic, 0)
            for one in records:
                if one.offset >= polled and self._bytes < self._limit_bytes:
                    kept[one.offset] = one
                    self._bytes += len(one.record.value)

    def take(self, topic: int, first: int, limit: int) -> list[Polled]:
        """Hand over the unbroken run from offset `first` on. Empty where that one is not kept."""
        with self._lock:
            kept, found = self._kept.get(topic, {}), list[Polled]()
            while len(found) < limit and (one := kept.pop(first + len(found), None)) is not None:
                found.append(one)
                self._bytes -= len(one.record.value)
            return found

    def passed(self, topic: int, first: int, after: int) -> None:
        """Forget `first` to `after`, half-open: they were polled, from here or from the table."""
        with self._lock:
            self._polled[topic] = after
            kept = self._kept.get(topic, {})
            for offset in range(first, after):
                if (one := kept.pop(offset, None)) is not None:
                    self._bytes -= len(one.record.value)

    def clear(self) -> None:
        """Keep nothing of what came so far; where it was polled before, it is read from the table again."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


class EmbeddedBus:
    """Holds every partition of the store it is given; a store has one process, so it is the only owner."""

    def __init__(self, store: Store, *, recent_bytes: int = RECENT_BYTES) -> None:
        self._store = store
        self._arrived = threading.Condition()
        self._topics: dict[str, int] = {}
        self._ends: dict[int, int] = {}  # one past the last durable offset per topic
        self._next: dict[int, int] = {}  # where the next poll reads
        self._epochs: dict[int, int] = {}
        self._turn = 0
        self._recent, self._arrivals = Recent(recent_bytes), Arrivals()
        self._behind = Behind(0, 0)
        self._rewound = False
        store.write(self._open)
        self._read_positions()

    def publish(self, records: Sequence[Record]) -> None:
        """See `Bus.publish`."""

        def append(tx: Tx) -> dict[int, list[Polled]]:
            ends: dict[int, int] = {}
            rows, added = [], dict[int, list[Polled]]()
            for record in records:
                topic = self._topics.get(record.topic) or self._topic_within(tx, record.topic)
                at = ends.get(topic, self._ends.get(topic, 0))
                rows.append((topic * OFFSETS_PER_PARTITION + at, record.key, record.value))
                added.setdefault(topic, []).append(Polled(record.topic, at, record))
                ends[topic] = at + 1
            tx.insert("bus_record(id, key, value)", rows)
            self._ends.update(ends)  # one publish at a time assigns offsets; a rolled-back tail leaves a gap, no more
            return added

        for topic, added in self._store.write(append, group=True, rows=len(records), fences=ONE).items():
            self._recent.keep(topic, added)  # now that they are durable
            self._arrivals.note(topic, added[0].offset)
        new = {record.topic for record in records} - self._topics.keys()
        if new:
            self._learn(new)
        with self._arrived:
            self._arrived.notify_all()

    def poll(self, limit: int, wait_s: float) -> Batch:
        """See `Bus.poll`. Topics take turns, so that a flood in one does not starve the others."""
        if self._rewound:
            self._read_positions()
        batch = self._read(limit)
        if not batch.records and wait_s > 0:
            with self._arrived:
                self._arrived.wait(wait_s)
            batch = self._read(limit)
        return batch

    def ends(self, topic: str) -> dict[str, int]:
        """See `Bus.ends`. A topic is one partition here."""
        number = self._topics.get(topic)
        return {} if number is None else {topic: self._ends.get(number, 0)}

    def rewind(self) -> None:
        """See `Bus.rewind`. Where the store is what has just failed, the next poll reads the positions."""
        self._rewound = True
        try:
            self._read_positions()
        except HubError:
            return

    def acknowledge(self, owned: Sequence[Owned]) -> None:
        """See `Bus.acknowledge`. Here the position is the bus's own memory; retention drops what lies behind it."""

    def backlog(self) -> int:
        """Count the records that are published and not yet polled."""
        return sum(end - self._next.get(topic, 0) for topic, end in list(self._ends.items()))

    def watch(self) -> None:
        """Count what waits, as always."""

    def behind(self) -> Behind:
        """See `Bus.behind`. What was there when this hub started is as old as that, at least."""
        try:
            with self._store.read() as tx:
                positions: dict[str, int] = dict(tx.rows("SELECT partition, next FROM position"))
        except HubError:
            return self._behind
        records, oldest_s = 0, 0.0
        for name, topic in list(self._topics.items()):
            position = positions.get(name, 0)
            if (missing := self._ends.get(topic, 0) - position) > 0:
                records += missing
                oldest_s = max(oldest_s, self._arrivals.age_s(topic, position))
        self._behind = Behind(records, int(oldest_s))
        return self._behind

    def follow(self, topics: Collection[str]) -> None:
        """See `Bus.follow`. Here every topic that has records is polled."""

    def troubles(self) -> tuple[Item, ...]:
        """See `Bus.troubles`. This bus is the store, which speaks for itself."""
        return ()

    def close(self) -> None:
        """See `Bus.close`. There is nothing but the store."""

    def decided(self) -> int:
        """Count the records behind the stored positions, which `drop_decided` deletes."""
        with self._store.read() as tx:
            row = tx.one(
                "SELECT count(*) FROM bus_topic t JOIN position p ON p.partition = t.name JOIN bus_record r"
                " ON r.id >= t.number * ? AND r.id < t.number * ? + p.next",
                (OFFSETS_PER_PARTITION, OFFSETS_PER_PARTITION),
            )
        return int(row[0]) if row else 0

    def drop_decided(self, limit: int) -> int:
        """Delete up to `limit` records behind the stored positions, in one transaction; returns how many.

        Nothing reads them again: a position moves in the transaction of the decision, and never back.
        """
        with self._store.read() as tx:
            positions: dict[str, int] = dict(tx.rows("SELECT partition, next FROM position"))
        for name, topic in list(self._topics.items()):
            first, end = topic * OFFSETS_PER_PARTITION, topic * OFFSETS_PER_PARTITION + positions.get(name, 0)
            with self._store.read() as tx:
                oldest = tx.rows("SELECT id FROM bus_record WHERE id >= ? AND id < ? ORDER BY id LIMIT 1", (first, end))
            if oldest:
                last = min(end, oldest[0][0] + limit)
                return self._store.write(partial(_delete, first=first, last=last))
        return 0

    def _read_positions(self) -> None:
        with self._store.read() as tx:
            positions: dict[str, int] = dict(tx.rows("SELECT partition, next FROM position"))
        self._recent.clear()
        self._next = {topic: positions.get(name, 0) for name, topic in list(self._topics.items())}
        self._rewound = False

    def _open(self, tx: Tx) -> None:
        for number, name in tx.rows("SELECT number, name FROM bus_topic"):
            self._topics[name] = number
            self._epochs[number], position = own(tx, name)
            last = tx.one(
                "SELECT max(id) FROM bus_record WHERE id >= ? AND id < ?",
                (number * OFFSETS_PER_PARTITION, (number + 1) * OFFSETS_PER_PARTITION),
            )
            stored = last[0] - number * OFFSETS_PER_PARTITION + 1 if last and last[0] is not None else 0
            self._ends[number] = max(stored, position)
            self._arrivals.note(number, position)

    def _topic_within(self, tx: Tx, name: str) -> int:
        """Find a topic that an earlier publish of the same commit made, or make it. Nobody polls it yet."""
        row = tx.one("SELECT number FROM bus_topic WHERE name = ?", (name,))
        if row is not None:
            return int(row[0])
        number = tx.draw("bus_topic")
        tx.run("INSERT INTO bus_topic(number, name) VALUES (?, ?)", (number, name))
        own(tx, name)
        return number

    def _learn(self, names: Collection[str]) -> None:
        """Take up topics that are durable now: one that was rolled back must not be remembered."""
        with self._store.read() as tx:
            rows = tx.rows(
                "SELECT t.name, t.number, p.epoch, p.next FROM bus_topic t JOIN position p ON p.partition = t.name"
                f" WHERE t.name IN ({marks(len(names))})",
                list(names),
            )
        for name, number, epoch, position in rows:
            self._epochs.setdefault(number, epoch)
            self._next.setdefault(number, position)
            self._topics[name] = number  # last: from here on it is polled

    def _read(self, limit: int) -> Batch:
        waiting = [(name, t) for name, t in list(self._topics.items()) if self._ends.get(t, 0) > self._next.get(t, 0)]
        if not waiting:
            return Batch((), ())
        self._turn += 1
        start = self._turn % len(waiting)
        records: list[Polled] = []
        owned: list[Owned] = []
        share = max(1, limit // len(waiting))
        for name, topic in waiting[start:] + waiting[:start]:
            first, wanted = self._next.get(topic, 0), min(share, limit - len(records))
            found = self._recent.take(topic, first, wanted) or self._read_back(name, topic, first, wanted)
            if not found:
                continue
            records += found
            after = found[-1].offset + 1
            owned.append(Owned(name, self._epochs[topic], first, after))
            self._next[topic] = after
            self._recent.passed(topic, first, after)
            if len(records) >= limit:
                break
        return Batch(tuple(records), tuple(owned))

    def _read_back(self, name: str, topic: int, first: int, limit: int) -> list[Polled]:
        base = topic * OFFSETS_PER_PARTITION
        with self._store.read() as tx:
            rows = tx.rows(
                "SELECT id, key, value FROM bus_record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                (base + first, base + self._ends[topic], limit),
            )
        return [Polled(name, number - base, Record(name, key, value)) for number, key, value in rows]


def _delete(tx: Tx, *, first: int, last: int) -> int:
    return tx.run("DELETE FROM bus_record WHERE id >= ? AND id < ?", (first, last))
