"""The bus in the same database: one table, each topic a partition that grows at its own end. For one machine.

Publishes share commits with one another (`group`), so that many small ones cost one fsync together.
"""

import threading
from collections.abc import Collection, Sequence
from functools import partial

from hub.ports import Batch, Owned, Polled, Record
from hub.store.engine import Store, Tx, marks
from hub.store.positions import own

OFFSETS_PER_PARTITION = 1 << 40


class EmbeddedBus:
    """Holds every partition of the store it is given; a store has one process, so it is the only owner."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._arrived = threading.Condition()
        self._topics: dict[str, int] = {}
        self._ends: dict[int, int] = {}  # one past the last durable offset per topic
        self._next: dict[int, int] = {}  # where the next poll reads
        self._epochs: dict[int, int] = {}
        self._turn = 0
        store.write(self._open)
        self.rewind()

    def publish(self, records: Sequence[Record]) -> None:
        """See `Bus.publish`."""

        def append(tx: Tx) -> None:
            ends: dict[int, int] = {}
            rows = []
            for record in records:
                topic = self._topics.get(record.topic) or self._topic_within(tx, record.topic)
                at = ends.get(topic, self._ends.get(topic, 0))
                rows.append((topic * OFFSETS_PER_PARTITION + at, record.key, record.value))
                ends[topic] = at + 1
            tx.insert("bus_record(id, key, value)", rows)
            self._ends.update(ends)  # only the writer thread assigns offsets; a rolled-back tail leaves a gap, no more

        self._store.write(append, group=True, rows=len(records))
        new = {record.topic for record in records} - self._topics.keys()
        if new:
            self._learn(new)
        with self._arrived:
            self._arrived.notify_all()

    def poll(self, limit: int, wait_s: float) -> Batch:
        """See `Bus.poll`. Topics take turns, so that a flood in one does not starve the others."""
        batch = self._read(limit)
        if not batch.records and wait_s > 0:
            with self._arrived:
                self._arrived.wait(wait_s)
            batch = self._read(limit)
        return batch

    def rewind(self) -> None:
        """See `Bus.rewind`."""
        with self._store.read() as tx:
            positions: dict[str, int] = dict(tx.rows("SELECT partition, next FROM position"))
        self._next = {topic: positions.get(name, 0) for name, topic in list(self._topics.items())}

    def acknowledge(self, owned: Sequence[Owned]) -> None:
        """See `Bus.acknowledge`. Here the position is the bus's own memory; retention drops what lies behind it."""

    def backlog(self) -> int:
        """Count the records that are published and not yet polled."""
        return sum(end - self._next.get(topic, 0) for topic, end in list(self._ends.items()))

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

    def _topic_within(self, tx: Tx, name: str) -> int:
        """Find a topic that an earlier publish of the same commit made, or make it. Nobody polls it yet."""
        row = tx.one("SELECT number FROM bus_topic WHERE name = ?", (name,))
        if row is None:
            row = tx.one("SELECT coalesce(max(number), 0) + 1 FROM bus_topic")
            assert row is not None
            tx.run("INSERT INTO bus_topic(number, name) VALUES (?, ?)", (row[0], name))
            own(tx, name)
        return int(row[0])

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
        with self._store.read() as tx:
            for name, topic in waiting[start:] + waiting[:start]:
                first = self._next.get(topic, 0)
                base = topic * OFFSETS_PER_PARTITION
                rows = tx.rows(
                    "SELECT id, key, value FROM bus_record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                    (base + first, base + self._ends[topic], min(share, limit - len(records))),
                )
                if not rows:
                    continue
                records += [Polled(name, number - base, Record(name, key, value)) for number, key, value in rows]
                after = rows[-1][0] - base + 1
                owned.append(Owned(name, self._epochs[topic], first, after))
                self._next[topic] = after
                if len(records) >= limit:
                    break
        return Batch(tuple(records), tuple(owned))


def _delete(tx: Tx, *, first: int, last: int) -> int:
    return tx.run("DELETE FROM bus_record WHERE id >= ? AND id < ?", (first, last))
