"""What every implementation of `hub.ports.Bus` must pass. A new engine joins by one more entry in ENGINES."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import pytest

from hub.bus.embedded import EmbeddedBus
from hub.bus.kafka import KafkaBus
from hub.ports import Batch, Behind, Bus, Record
from hub.store.engine import Store
from hub.store.positions import Superseded, advance
from tests.engines import needs_kafka
from tests.kafka_world import SESSION_MS, access_to, make_topics, prefix_of, quiet_log
from tests.stores import open_store

pytestmark = pytest.mark.engines

Opened = tuple[Bus, Store]
Engine = Callable[[Path], AbstractContextManager[Opened]]
TOPICS = ("in.a.x", "in.a.y", "in.a.flood", "in.b.quiet")


@contextmanager
def embedded(directory: Path) -> Iterator[Opened]:
    store = open_store(directory / "hub.sqlite", synchronous="NORMAL")
    try:
        yield EmbeddedBus(store), store
    finally:
        store.close()


@contextmanager
def kafka(directory: Path) -> Iterator[Opened]:
    """Over the tests' one broker, with topics of the directory's own; the same directory finds them again."""
    store = open_store(directory / "hub.sqlite", synchronous="NORMAL")
    access = access_to(needs_kafka(), prefix_of(directory))
    make_topics(access, TOPICS)
    bus = KafkaBus(store, access, log=quiet_log(), topics=TOPICS, session_ms=SESSION_MS)
    try:
        yield bus, store
    finally:
        bus.close()
        store.close()


ENGINES: dict[str, Engine] = {"embedded": embedded, "kafka": kafka}
WAIT_S = 10.0  # for what is there: returns as soon as it is polled


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[str(request.param)]


def record(number: int, topic: str = "in.a.x", key: int = 1) -> Record:
    return Record(topic, bytes([key]) * 16, f"sealed {number}".encode())


def values(batch: Batch) -> list[str]:
    return [polled.record.value.decode() for polled in batch.records]


def decide(bus: Bus, store: Store, batch: Batch) -> None:
    """Move the positions as the gate does, then acknowledge."""
    store.write(lambda tx: advance(tx, batch.owned))
    bus.acknowledge(batch.owned)


def test_records_of_one_key_come_in_the_order_they_were_published(engine: Engine, tmp_path: Path) -> None:
    """However they were sent: together or one by one."""
    with engine(tmp_path) as (bus, _):
        bus.publish([record(1), record(2)])
        bus.publish([record(3)])
        assert values(bus.poll(10, WAIT_S)) == ["sealed 1", "sealed 2", "sealed 3"]


def test_what_was_polled_is_not_polled_again_until_rewound(engine: Engine, tmp_path: Path) -> None:
    """A poll goes on from the last; a rewind goes back to what is decided."""
    with engine(tmp_path) as (bus, store):
        bus.publish([record(n) for n in range(4)])
        first = bus.poll(2, WAIT_S)
        assert values(bus.poll(2, WAIT_S)) == ["sealed 2", "sealed 3"]
        decide(bus, store, first)
        bus.rewind()
        assert values(bus.poll(10, WAIT_S)) == ["sealed 2", "sealed 3"]


def test_what_was_rewound_counts_as_backlog_again(engine: Engine, tmp_path: Path) -> None:
    """While an engine is down a batch is polled in vain, again and again: it waits, and status has to say so."""
    with engine(tmp_path) as (bus, _):
        bus.publish([record(1), record(2)])
        assert len(bus.poll(10, WAIT_S).records) == 2
        assert bus.backlog() == 0
        bus.rewind()
        assert bus.backlog() == 2


def test_an_undecided_record_comes_again_after_a_restart(engine: Engine, tmp_path: Path) -> None:
    """Durable before `publish` returned, and not forgotten before it was decided."""
    with engine(tmp_path) as (bus, store):
        bus.publish([record(1), record(2)])
        decide(bus, store, bus.poll(1, WAIT_S))
        bus.poll(1, WAIT_S)
    with engine(tmp_path) as (bus, _):
        assert values(bus.poll(10, WAIT_S)) == ["sealed 2"]


def test_a_lost_acknowledgement_loses_nothing_and_repeats_nothing(engine: Engine, tmp_path: Path) -> None:
    """The position in the store is what counts."""
    with engine(tmp_path) as (bus, store):
        bus.publish([record(1), record(2)])
        batch = bus.poll(1, WAIT_S)
        store.write(lambda tx: advance(tx, batch.owned))
    with engine(tmp_path) as (bus, _):
        assert values(bus.poll(10, WAIT_S)) == ["sealed 2"]


def test_a_former_owner_cannot_move_the_position(engine: Engine, tmp_path: Path) -> None:
    """Whoever takes a partition over raises its epoch; a commit under the old one matches no row."""
    with engine(tmp_path) as (bus, _):
        bus.publish([record(1)])
        stale = bus.poll(1, WAIT_S)
    with engine(tmp_path) as (bus, store):
        assert values(bus.poll(1, WAIT_S)) == ["sealed 1"]
        with pytest.raises(Superseded):
            store.write(lambda tx: advance(tx, stale.owned))


def test_a_flood_in_one_topic_does_not_starve_another(engine: Engine, tmp_path: Path) -> None:
    """Topics take turns within a batch."""
    with engine(tmp_path) as (bus, _):
        bus.publish([record(n, "in.a.flood") for n in range(100)])
        bus.publish([record(1, "in.b.quiet")])
        topics = [polled.record.topic for polled in bus.poll(10, WAIT_S).records]
        assert topics.count("in.b.quiet") == 1


def test_an_empty_poll_waits_and_is_woken_by_a_publish(engine: Engine, tmp_path: Path) -> None:
    """It does not return early without records, and not late with one."""
    with engine(tmp_path) as (bus, _):
        began = monotonic()
        assert values(bus.poll(10, 0.2)) == []
        assert monotonic() - began >= 0.15

        def later() -> None:
            sleep(0.1)
            bus.publish([record(1)])

        sender = Thread(target=later)
        sender.start()
        assert values(bus.poll(10, 10.0)) == ["sealed 1"]
        sender.join()


def test_what_is_kept_in_memory_and_what_is_read_back_make_one_order(tmp_path: Path) -> None:
    """With room for a few records only, published by several at once: each comes once, in order, and the room is free
    again. (Of the embedded bus alone.)"""
    store = open_store(tmp_path / "hub.sqlite", synchronous="NORMAL")
    bus = EmbeddedBus(store, recent_bytes=40)
    bus.publish([record(n) for n in range(9)])
    senders = [Thread(target=lambda: [bus.publish([record(9)]) for _ in range(50)]) for _ in range(2)]  # type: ignore[func-returns-value]  # for its effect
    for sender in senders:
        sender.start()
    offsets: list[int] = []
    found: list[str] = []
    deadline = monotonic() + 20
    while len(found) < 109 and monotonic() < deadline:
        batch = bus.poll(4, 0.2)
        decide(bus, store, batch)
        offsets += [polled.offset for polled in batch.records]
        found += values(batch)
    for sender in senders:
        sender.join()
    assert found == [f"sealed {n}" for n in range(9)] + ["sealed 9"] * 100
    assert offsets == list(range(109))
    bus.publish([record(n) for n in range(3)])
    bus.rewind()
    assert values(bus.poll(10, WAIT_S)) == ["sealed 0", "sealed 1", "sealed 2"]  # a rewind reads the table
    store.close()


def test_the_ends_of_a_topic_are_where_its_next_records_begin(engine: Engine, tmp_path: Path) -> None:
    """What was published before is decided once every partition's position has reached them."""
    with engine(tmp_path) as (bus, store):
        assert bus.ends("in.a.x") == {}
        bus.publish([record(1), record(2), record(3, topic="in.a.y")])
        ends = dict(bus.ends("in.a.x"))
        assert sum(ends.values()) == 2
        batch = bus.poll(10, WAIT_S)
        decide(bus, store, batch)
        reached = {one.partition: one.next for one in batch.owned}
        assert all(reached[partition] >= end for partition, end in ends.items())
        assert dict(bus.ends("in.a.x")) == ends


def test_how_far_decisions_are_behind_is_known_with_the_age_of_the_oldest(engine: Engine, tmp_path: Path) -> None:
    """What was polled counts until it is decided; of what is left the oldest has an age, of nothing there is none."""

    def soon(records: int, oldest_s: int = 0) -> Behind:
        end_s = monotonic() + WAIT_S
        while (said := bus.behind()).records != records or said.oldest_s < oldest_s:
            assert monotonic() < end_s, said
            sleep(0.05)
        return said

    with engine(tmp_path) as (bus, store):
        bus.poll(1, 0.0)
        bus.publish([record(n) for n in range(3)])
        batch = bus.poll(2, WAIT_S)
        soon(3, oldest_s=2)
        decide(bus, store, batch)
        bus.publish([record(9)])
        soon(2, oldest_s=2)
        while batch.records:
            batch = bus.poll(10, 1.0)
            decide(bus, store, batch)
        assert soon(0).oldest_s == 0
