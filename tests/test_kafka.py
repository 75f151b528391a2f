"""The bus on Kafka under what happens to clusters: owners change, brokers go and come back, one topic floods."""

# long: one bus under whatever happens to its cluster
import gc
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import TopicPartition

from deploy.engines import launch
from deploy.engines.process import Engine
from hub.bus.kafka import KafkaBus, partition_of
from hub.bus.kafka_access import KafkaAccess, access_of
from hub.bus.kafka_intake import JOIN_MS, Part, name, shares
from hub.clock import system_clock
from hub.core.errors import HubError, Kind
from hub.logs import open_log
from hub.ports import Batch, Record
from hub.settings import Settings
from hub.store.engine import Store
from hub.store.positions import Superseded, advance
from hub.store.positions import own as own_position
from tests.engines import needs_kafka, own, topic_prefix
from tests.kafka_world import SESSION_MS, access_to, make_topics, quiet_log
from tests.stores import open_store

FLOOD, QUIET, BOTH = "in.a.flood", "in.b.quiet", ("in.a.flood", "in.b.quiet")
WAIT_S = 10.0


forgotten_sockets = pytest.mark.filterwarnings(  # kafka-python 3.0 lets the collector close what a broker broke off
    r"ignore:unclosed <socket.socket fd=\d+, family=2, type=1, proto=6:ResourceWarning"
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "hub.sqlite", synchronous="NORMAL")
    yield opened
    opened.close()


@pytest.fixture
def access() -> KafkaAccess:
    access = access_to(needs_kafka(), topic_prefix())
    make_topics(access, BOTH, partitions=4)
    return access


@contextmanager
def a_bus(store: Store, access: KafkaAccess, publish_s: int = 5) -> Iterator[KafkaBus]:
    bus = KafkaBus(store, access, log=quiet_log(), topics=BOTH, session_ms=SESSION_MS, publish_s=publish_s)
    try:
        yield bus
    finally:
        bus.close()


def records(count: int, topic: str = FLOOD, size: int = 24) -> list[Record]:
    return [
        Record(topic, number.to_bytes(8) + bytes(8), f"{topic} {number}".encode().ljust(size))
        for number in range(count)
    ]


def until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline_s = monotonic() + within_s
    while not true():
        assert monotonic() < deadline_s
        sleep(0.02)


class Gate:
    """Decides what it polls, as the gate does: positions and effects in one commit, a rewind where it came too late."""

    def __init__(self, bus: KafkaBus, store: Store, effects: Counter[bytes]) -> None:
        self.bus, self.store, self.effects = bus, store, effects
        self.late = 0
        self.holding = False  # polls on, as a member of the group has to, and decides nothing

    def step(self, limit: int = 50, wait_s: float = 0.05) -> Batch:
        if self.holding:
            sleep(0.05)  # what a batch takes to be decided: the library does not get to work on the group meanwhile
            return self.bus.poll(1, wait_s)
        batch = self.bus.poll(limit, wait_s)
        if batch.records:
            self.decide(batch)
        return batch

    def decide(self, batch: Batch) -> None:
        try:
            self.store.write(lambda tx: advance(tx, batch.owned))
        except Superseded:
            self.late += 1
            self.bus.rewind()
            return
        self.effects.update(one.record.value for one in batch.records)
        self.bus.acknowledge(batch.owned)


@contextmanager
def running(*gates: Gate) -> Iterator[None]:
    """Let each step in a thread of its own: whoever joins a group waits for the others."""
    end = Event()

    def run(gate: Gate) -> None:
        while not end.is_set():
            gate.step()

    threads = [Thread(target=run, args=(gate,)) for gate in gates]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def partitions_of(bus: KafkaBus) -> int:
    return 0 if bus._intake is None else len(bus._intake.parts)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 50), min_size=1), st.integers(1, 100), st.integers()
)
def test_shares_are_fair_and_nothing_is_left_over(waiting: dict[str, int], limit: int, turn: int) -> None:
    """Nobody gets more than it has, all is given out, and who gets less than another has no more or one less."""
    given_out = shares(waiting, limit, turn)
    assert sum(given_out.values()) == min(limit, sum(waiting.values()))
    assert all(0 <= given_out[one] <= waiting[one] for one in waiting)
    for less, count in given_out.items():
        assert count == waiting[less] or count >= max(given_out.values()) - 1


def test_two_gates_share_the_partitions_and_each_event_is_decided_once(store: Store, access: KafkaAccess) -> None:
    """The second one joins in the middle: what the first had polled of what it loses is decided by its new owner."""
    effects: Counter[bytes] = Counter()
    with a_bus(store, access) as one, a_bus(store, access) as two:
        first, second = Gate(one, store, effects), Gate(two, store, effects)
        one.publish([*records(200), *records(200, QUIET)])
        held = one.poll(200, WAIT_S)
        assert len(held.records) == 200
        first.holding = True
        with running(first, second):
            until(lambda: partitions_of(one) == partitions_of(two) == 4)
        first.decide(held)
        assert first.late == 1  # some of its partitions are the other's: nothing of the batch counts
        first.holding = False
        with running(first, second):
            until(lambda: sum(effects.values()) == 400)
    assert set(effects.values()) == {1}


def test_a_gate_that_stands_still_loses_its_partitions_and_cannot_decide_afterwards(
    store: Store, access: KafkaAccess
) -> None:
    """Another takes over within the sessions it may be silent for; when it wakes up its batch comes too late."""
    effects: Counter[bytes] = Counter()
    with a_bus(store, access) as one, a_bus(store, access) as two:
        one.publish(records(100))
        asleep, awake = Gate(one, store, effects), Gate(two, store, effects)
        held = one.poll(100, WAIT_S)
        assert len(held.records) == 100
        with running(awake):
            until(lambda: sum(effects.values()) == 100, within_s=6 * SESSION_MS / 1000)
        asleep.decide(held)
        assert asleep.late == 1
        with running(asleep, awake):
            until(lambda: partitions_of(one) == partitions_of(two) == 4)
            one.publish(records(200)[100:])
            until(lambda: sum(effects.values()) == 200)
    assert set(effects.values()) == {1}


def test_a_rebalance_ends_while_every_poll_has_something_to_return(store: Store, access: KafkaAccess) -> None:
    """Gates that are far behind never wait in a poll; a new one gets its share all the same, within seconds."""
    effects: Counter[bytes] = Counter()
    with a_bus(store, access) as one, a_bus(store, access) as two:
        for _ in range(20):
            one.publish([*records(250), *records(250, QUIET)])
        first, second = Gate(one, store, effects), Gate(two, store, effects)
        until(lambda: bool(first.step(1).records))
        first.holding = second.holding = True
        with running(first, second):
            until(lambda: partitions_of(one) == partitions_of(two) == 4, within_s=8.0)


def test_a_gate_that_follows_one_topic_more_gets_its_share_though_another_is_busy(
    store: Store, access: KafkaAccess
) -> None:
    """Its join lasts longer than a poll, for the other has to join too: the library would forget it."""
    effects: Counter[bytes] = Counter()
    with a_bus(store, access) as one, a_bus(store, access) as two:
        first, second = Gate(one, store, effects), Gate(two, store, effects)
        with running(first, second):
            until(lambda: partitions_of(one) == partitions_of(two) == 4)
        make_topics(access, ["in.c.new"])
        one.follow([*BOTH, "in.c.new"])
        two.follow([*BOTH, "in.c.new"])
        with running(first):
            sleep(JOIN_MS / 1000 + 0.4)  # no longer in the one poll that waits for it
            with running(second):
                until(lambda: partitions_of(one) + partitions_of(two) == 10, within_s=8.0)
                one.publish(records(20, "in.c.new"))
                until(lambda: sum(effects.values()) == 20)


def test_a_gate_that_leaves_hands_its_partitions_over_at_once(store: Store, access: KafkaAccess) -> None:
    """Without waiting for the end of its session."""
    effects: Counter[bytes] = Counter()
    with a_bus(store, access) as two:
        with a_bus(store, access) as one:
            one.publish(records(100))
            until(lambda: bool(Gate(one, store, effects).step(10).records))
        began_s = monotonic()
        after = Gate(two, store, effects)
        until(lambda: sum(effects.values()) == 100 or not after.step())
        assert monotonic() - began_s < SESSION_MS / 1000
    assert set(effects.values()) == {1}


@forgotten_sockets
def test_a_broker_that_is_killed_costs_a_few_503_and_nothing_acknowledged(store: Store, tmp_path: Path) -> None:
    """Publish answers within its time, others at once; when the broker is back both go on by themselves."""
    with own(launch.kafka, tmp_path / "kafka") as broker:
        access = access_to(broker, "t.")
        make_topics(access, BOTH)
        effects: Counter[bytes] = Counter()
        with a_bus(store, access, publish_s=3) as bus:
            gate = Gate(bus, store, effects)
            bus.publish(records(50))
            until(lambda: bool(gate.step(20).records))
            broker.kill()
            refused_in_time(bus, within_s=5.0)
            with pytest.raises(HubError):
                bus.ends(FLOOD)  # not knowing is not the same as empty
            until(lambda: bool(bus.troubles()))
            broker.start_again()
            until(lambda: published(bus, records(60)[50:]), within_s=15.0)
            until(lambda: len(effects) == 60 or not gate.step())
            until(lambda: not bus.troubles())
    gc.collect()
    assert all(effects[one.value] == 1 for one in records(50))


def refused_in_time(bus: KafkaBus, within_s: float) -> None:
    """Two publish while the broker is away: one waits and is refused in time, the other meanwhile at once."""
    began_s = monotonic()
    with pytest.raises(HubError) as refused:
        bus.publish(records(1, QUIET))
    assert (refused.value.kind, refused.value.code) == (Kind.UNAVAILABLE, "bus-unavailable")
    assert monotonic() - began_s < within_s
    waiting = Thread(target=published, args=(bus, records(1, QUIET)))
    waiting.start()
    sleep(0.3)
    began_s = monotonic()
    assert not published(bus, records(1, QUIET))
    assert monotonic() - began_s < 0.5
    waiting.join()


def published(bus: KafkaBus, some: list[Record]) -> bool:
    try:
        bus.publish(some)
    except HubError:
        return False
    return True


@forgotten_sockets
def test_what_the_library_sends_again_is_stored_once(store: Store, tmp_path: Path) -> None:
    """The broker stands still until the producer has given up waiting for it, and then finds both requests."""
    with own(launch.kafka, tmp_path / "kafka") as broker:
        access = access_to(broker, "t.")
        make_topics(access, BOTH)
        with a_bus(store, access, publish_s=25) as bus:
            bus.publish(records(1))
            paused(broker, 6.0, lambda: bus.publish(records(5)[1:]))
            assert sum(bus.ends(FLOOD).values()) == 5
    gc.collect()


def paused(broker: Engine, seconds: float, act: Callable[[], None]) -> None:
    broker.pause()
    acting = Thread(target=act)
    acting.start()
    sleep(seconds)
    broker.resume()
    acting.join()


def test_an_agency_that_floods_its_topic_holds_nobody_else_up(store: Store, access: KafkaAccess) -> None:
    """From publishing to the decision under two seconds for another's events, with tens of thousands waiting before."""
    with a_bus(store, access) as bus:
        for _ in range(40):
            bus.publish(records(500, size=1_000))
        decided: dict[bytes, float] = {}
        end = Event()

        def gate() -> None:
            while not end.is_set():
                batch = bus.poll(200, 0.05)
                sleep(0.04)  # a batch takes about this long to be decided
                store.write(lambda tx: advance(tx, batch.owned))  # noqa: B023 - called before the next round
                decided.update({one.record.value: monotonic() for one in batch.records if one.record.topic == QUIET})

        thread = Thread(target=gate)
        thread.start()
        try:
            took = []
            for one in records(15, QUIET):
                began_s = monotonic()
                bus.publish([one])
                until(lambda: one.value in decided)  # noqa: B023 - called at once
                took.append(decided[one.value] - began_s)
            assert bus.backlog() > 5_000  # the flood was there all the time
        finally:
            end.set()
            thread.join()
    assert max(took) < 2.0


def test_a_partition_that_had_to_wait_goes_on_after_a_smaller_one_came_to_its_end(
    store: Store, access: KafkaAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library has fetched of it is handed out, and the next is fetched, though nobody else has anything."""
    monkeypatch.setattr("hub.bus.kafka_intake.KEPT_RECORDS", 10)
    flood = [one._replace(key=bytes(16)) for one in records(200)]
    with a_bus(store, access) as bus:
        gate = Gate(bus, store, Counter())
        until(lambda: partitions_of(bus) == 8 or not gate.step())
        bus.publish(flood + records(5, QUIET))
        until(lambda: sum(gate.effects.values()) == 205 or not gate.step(limit=4))
    assert gate.late == 0


def test_what_the_library_cannot_read_is_told_again_and_again_and_holds_no_other_topic_up(
    store: Store, access: KafkaAccess
) -> None:
    """A broker was told to compress in a way that is not installed here: nothing is skipped, and no poll hangs."""
    with KafkaAdminClient(**access.settings()) as admin:
        admin.create_topics(
            {access.prefix + "in.c.odd": {"num_partitions": 1, "replication_factor": 1,
                                          "configs": {"compression.type": "zstd"}}},
            wait_for_metadata=True,
        )  # fmt: skip
    told: list[str] = []
    bus = KafkaBus(store, access, log=quiet_log(), topics=[*BOTH, "in.c.odd"], session_ms=SESSION_MS)
    try:
        gate = Gate(bus, store, Counter())

        def act() -> None:
            while len(told) < 5 or sum(gate.effects.values()) < 40:
                try:
                    gate.step()
                except HubError as error:
                    told.append(error.what)

        bus.publish(records(5, "in.c.odd", size=1_000))
        acting = Thread(target=act, daemon=True)
        acting.start()
        for number in range(4):
            until(lambda: len(told) > number)  # noqa: B023 - called at once
            bus.publish(records(40, QUIET)[10 * number : 10 * number + 10])
        acting.join(WAIT_S)
        assert not acting.is_alive()
        assert all("UnsupportedCodecError" in what for what in told)
        assert gate.effects == Counter(one.value for one in records(40, QUIET))
    finally:
        bus.close()


def test_what_cannot_be_read_is_told_although_its_partition_had_to_wait_meanwhile(
    store: Store, access: KafkaAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies before it is handed out; then the poll fails, each time, and none hangs."""
    monkeypatch.setattr("hub.bus.kafka_intake.KEPT_RECORDS", 10)
    same = [one._replace(key=bytes(16)) for one in records(28, size=1_000)]
    told: list[str] = []
    with a_bus(store, access) as bus:
        gate = Gate(bus, store, Counter())
        bus.publish(same[:9])
        until(lambda: bool(gate.step(limit=1).records))
        sleep(0.3)  # no fetch is under way any more: the next one holds both what can be read and what cannot
        bus.publish(same[9:18])
        with KafkaAdminClient(**access.settings()) as admin:
            odd = ConfigResource(ConfigResourceType.TOPIC, access.prefix + FLOOD, {"compression.type": "zstd"})
            admin.alter_configs([odd])
        sleep(0.3)
        bus.publish(same[18:])

        def act() -> None:
            while len(told) < 3:
                try:
                    gate.step(limit=1)
                except HubError as error:
                    told.append(error.what)

        acting = Thread(target=act, daemon=True)
        acting.start()
        acting.join(WAIT_S)
        assert not acting.is_alive()
    assert gate.effects == Counter(one.value for one in same[:18])


def test_a_partition_that_the_group_takes_while_positions_are_read_is_no_defect(
    store: Store, access: KafkaAccess
) -> None:
    """A join that lasts longer than its poll ends on the library's own thread, at any moment."""
    with a_bus(store, access) as bus:
        bus.publish(records(1))
        until(lambda: bool(bus.poll(10, 0.1).records))
        assert bus._intake is not None
        taken = TopicPartition(access.prefix + FLOOD, 99)
        epoch, position = store.write(lambda tx: own_position(tx, name(taken)))
        bus._intake.parts[taken] = Part(epoch, position, position)
        bus.rewind()
        assert len(bus.poll(10, 1.0).records) == 1


def test_a_topic_that_is_made_later_is_followed_from_then_on(store: Store, access: KafkaAccess) -> None:
    """A catalogue brings another dataset while the gate runs."""
    with a_bus(store, access) as bus:
        bus.publish(records(1))
        until(lambda: bool(bus.poll(10, 0.1).records))
        make_topics(access, ["in.c.new"])
        bus.publish(records(1, "in.c.new"))
        assert not bus.poll(10, 0.3).records
        bus.follow([*BOTH, "in.c.new"])
        until(lambda: [one.record.topic for one in bus.poll(10, 0.1).records] == ["in.c.new"])


def test_a_look_at_the_topics_that_met_a_defect_is_told_and_not_the_last(store: Store, access: KafkaAccess) -> None:
    """Else nothing would ever be opened, counted or found again, and nobody would hear of it."""
    defects, said = ["one"], io.StringIO()
    log = open_log(clock=system_clock, stream=said)

    def barred(_topics: Collection[str]) -> dict[str, str]:
        if defects:
            raise KeyError(defects.pop())
        return {}

    bus = KafkaBus(store, access, log=log, topics=BOTH, session_ms=SESSION_MS, barred=barred)
    try:
        bus.publish(records(1))
        until(lambda: bool(bus.poll(10, 0.1).records))
        assert '"bus.away"' in said.getvalue()
        until(lambda: bus.troubles() == ())
    finally:
        bus.close()


def test_publishing_to_a_topic_that_is_not_there_is_refused(store: Store, access: KafkaAccess) -> None:
    """Nothing is made by a typing error, and the answer comes in time."""
    with a_bus(store, access, publish_s=1) as bus:
        with pytest.raises(HubError) as refused:
            bus.publish(records(1, "in.c.absent"))
        assert refused.value.code == "bus-unavailable"
        bus.publish(records(1))
        with KafkaAdminClient(**access.settings()) as admin:
            assert access.prefix + "in.c.absent" not in admin.list_topics()


def test_events_that_the_broker_dropped_undecided_are_told_and_do_not_hold_up_the_rest(
    store: Store, access: KafkaAccess
) -> None:
    """Its retention was over: that they are lost is an error in the log, with how many, and the next are decided."""
    said = io.StringIO()
    log = open_log(clock=system_clock, stream=said)
    bus = KafkaBus(store, access, log=log, topics=BOTH, session_ms=SESSION_MS)
    try:
        same = [one._replace(key=bytes(16)) for one in records(10)]
        bus.publish(same)
        at = TopicPartition(access.prefix + FLOOD, partition_of(bytes(16), 4))
        with KafkaAdminClient(**access.settings()) as admin:
            admin.delete_records({at: 7})
        gate = Gate(bus, store, Counter())
        until(lambda: sum(gate.effects.values()) == 3 or not gate.step())
        assert gate.late == 0
        assert '"bus.gap"' in said.getvalue()
        assert '"count":7' in said.getvalue()
    finally:
        bus.close()


def test_an_accounts_password_is_in_no_error_and_no_text(store: Store, tmp_path: Path) -> None:
    """Not in the value that holds it, and not in what is said of brokers that are away."""
    file = tmp_path / "kafka.password"
    file.touch(mode=0o600)
    file.write_text("canary-of-a-password\n")
    settings = Settings(
        mode="development", bus="kafka", kafka_bootstrap=("127.0.0.1:1",), kafka_username="hub",
        kafka_security="SASL_PLAINTEXT", kafka_password_file=file, data_dir=tmp_path,
    )  # fmt: skip
    access = access_of(settings)
    assert access.password == "canary-of-a-password"
    with a_bus(store, access, publish_s=1) as bus, pytest.raises(HubError) as refused:
        bus.publish(records(1))
    for said in (repr(access), str(access), repr(refused.value.__dict__), str(refused.value.__cause__)):
        assert "canary" not in said
    file.chmod(0o644)
    with pytest.raises(HubError) as open_to_all:
        access_of(settings)
    assert open_to_all.value.code == "kafka-password"
