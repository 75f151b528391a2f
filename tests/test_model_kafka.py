"""The model's interleavings where partitions change hands, on PostgreSQL and Kafka: two gates, two hand-outs.

What the other `test_model_*` files force on one bus is forced here where two members of a group share its partitions
and one of them is taken away from a gate that has a batch in its hands (release model: I2 to I5, I8).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import pytest

from hub.bus.kafka import KafkaBus, partition_of
from hub.bus.kafka_intake import Intake
from hub.core.errors import HubError
from hub.exchange.gate import Gate, Undecided
from hub.exchange.intake import topic
from hub.failpoints import disarm
from hub.identity.people import local_of
from hub.store.deliveries import DeliveryKind
from hub.store.positions import Superseded
from tests import stores
from tests.engines import needs_kafka
from tests.interleaving import Crash, Doing, failing, paused
from tests.kafka_world import SESSION_MS, access_to, make_topics, prefix_of, quiet_log
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, Hub, opened

TOPIC = topic(CONSENT.publisher, CONSENT.dataset)
PEOPLE = ("A", "B", "C", "D", "E", "F")  # some in each of two partitions
JOINED_S, TAKEN_S = 40.0, 30.0  # a member that does not poll is given up after six seconds here
GOES_ON = (HubError, Undecided, Superseded)  # what a gate's worker tries again after


class Two(NamedTuple):
    """One exchange by two hubs over one database, each with a gate that is a member of the group."""

    hub: Hub
    other: Hub
    one: Gate
    two: Gate

    def intake(self, gate: Gate) -> Intake | None:
        bus: object = (self.other if gate is self.two else self.hub).bus
        assert isinstance(bus, KafkaBus)
        return bus._intake

    def owns(self, gate: Gate) -> int:
        intake = self.intake(gate)
        return 0 if intake is None else len(intake.parts)

    def seen(self) -> int:
        return int(self.hub.rows("SELECT count(*) FROM event_seen")[0][0])

    def run(self, *gates: Gate, until: Callable[[], bool]) -> None:
        """Step these gates in turn, as their workers would, until something is so."""
        end_s = monotonic() + JOINED_S
        while not until():
            assert monotonic() < end_s, (self.seen(), [self.owns(gate) for gate in gates])
            for gate in gates:
                try:
                    gate.step(0.05)
                except GOES_ON:
                    continue

    def shared(self) -> None:
        """Let both join: each has one of the two partitions then."""
        joining = Doing(lambda: self.run(self.two, until=lambda: self.owns(self.two) == self.owns(self.one) == 1))
        self.run(self.one, until=lambda: joining.returned(0.01))
        joining.result()

    def all_seen(self, *gates: Gate, rounds: int = 1) -> None:
        self.run(*gates, until=lambda: self.seen() == rounds * len(PEOPLE))

    def named(self, gate: Gate) -> list[str]:
        """Name the people whose events lie in this gate's partitions."""
        intake = self.intake(gate)
        assert intake is not None
        mine = {at.partition for at in intake.parts}
        return [one for one in PEOPLE if partition_of(local_of(self.hub.keys, CONSENT.publisher, one), 2) in mine]


def submitted(gate: Gate) -> bool:
    """Say whether a batch of this gate is on its way into the store."""
    return gate._commit is not None


@contextmanager
def on_kafka(directory: Path) -> Iterator[Hub]:
    """Open an exchange whose bus is a member of this directory's group."""
    access = access_to(needs_kafka(), prefix_of(directory))
    make_topics(access, [TOPIC], partitions=2)
    with opened(directory) as hub:
        bus = KafkaBus(hub.store, access, log=quiet_log(), topics=[TOPIC], session_ms=SESSION_MS)
        try:
            hub.bus = bus
            hub.publishing, hub.world = replace(hub.publishing, bus=bus), replace(hub.world, bus=bus)
            yield hub
        finally:
            bus.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    stores.use(stores.REAL)
    try:
        with on_kafka(tmp_path) as hub, on_kafka(tmp_path) as other:
            for name in PEOPLE:
                hub.grant(hub.link(name))
            yield Two(hub, other, Gate(hub.world), Gate(other.world))
            disarm()
            assert [one for one in faults(hub) if not one.startswith("position ")] == []
    finally:
        disarm()
        stores.use(stores.EMBEDDED)
        stores.drop_all()


def publish_all(hub: Hub, prefix: str = "e") -> None:
    for name in PEOPLE:
        hub.publish(f"{prefix}-{name}", name)
        hub.pass_by(1)


def came_once(hub: Hub, rounds: int = 1) -> bool:
    """Pull everything; say whether each event came, and once."""
    ids = [str(event["id"]) for event in hub.drain()[0]]
    return len(ids) == len(set(ids)) == rounds * len(PEOPLE)


def alone(two: Two) -> None:
    """Give the first gate both partitions, and something to decide in each."""
    two.run(two.one, until=lambda: two.owns(two.one) == 2)
    publish_all(two.hub)


def test_a_partition_that_is_taken_away_while_its_batch_is_prepared(two: Two) -> None:
    """The former owner's batch counts as a whole or not at all; the new owner decides what is left, once (I2)."""
    alone(two)
    with paused("gate.prepared") as preparing:
        first = Doing(lambda: two.run(two.one, until=lambda: submitted(two.one)))
        preparing.reached()
        second = Doing(lambda: two.run(two.two, until=lambda: two.seen() > 0))
        assert second.returned(TAKEN_S)  # the first stands still for longer than a member may
        second.result()
        preparing.go()
        first.result()
    two.all_seen(two.one, two.two)
    assert came_once(two.hub)


def test_a_partition_that_is_taken_away_from_a_gate_in_its_transaction(two: Two) -> None:
    """The group gives it to the other; to own it that one waits for the commit, and begins behind it (I2, I3)."""
    alone(two)
    with paused("gate.before_commit") as committing:
        two.run(two.one, until=lambda: submitted(two.one))
        committing.reached()
        second = Doing(lambda: two.run(two.two, until=lambda: two.owns(two.two) > 0))
        end_s = monotonic() + TAKEN_S
        while (intake := two.intake(two.two)) is None or not intake._consumer.assignment():
            assert monotonic() < end_s
            assert not second.returned(0.05)
        assert not second.returned(1.0)
        assert two.seen() == 0
        committing.go()
        assert second.returned(TAKEN_S)
        second.result()
    two.all_seen(two.one, two.two)
    assert came_once(two.hub)


def test_a_gate_that_dies_in_its_transaction_leaves_its_events_to_the_other(two: Two) -> None:
    """Nothing of its batch is there; whoever is given the partitions decides all of it (I3, I8)."""
    alone(two)
    with failing("gate.before_commit"), pytest.raises(Crash):
        two.run(two.one, until=lambda: False)
    assert two.seen() == 0
    two.all_seen(two.two)
    assert came_once(two.hub)


def test_two_gates_at_once_keep_each_persons_order(two: Two) -> None:
    """A person's events lie in one partition, so in one gate's hands: three rounds come in three rounds' order (I5)."""
    two.shared()
    for number in range(3):
        publish_all(two.hub, str(number))
    two.all_seen(two.one, two.two, rounds=3)
    order: dict[str, list[str]] = {}
    for event in two.hub.drain()[0]:
        order.setdefault(str(event["subject"]), []).append(str(event["time"]))
    assert len(order) == len(PEOPLE)
    assert all(times == sorted(times) and len(times) == 3 for times in order.values())


def test_a_withdrawal_waits_for_the_gate_that_has_its_person_and_for_no_other(two: Two) -> None:
    """One gate stands in its transaction: who is in its hands waits for it, who is in the other's does not (I3)."""
    two.shared()
    mine, others = two.named(two.one)[0], two.named(two.two)[0]
    consents = {name: consent_of(two.hub, name) for name in (mine, others)}
    publish_all(two.hub)
    with paused("gate.before_commit") as deciding:
        two.run(two.one, until=lambda: submitted(two.one))
        deciding.reached()
        two.other.withdraw(two.hub.person(others), consents[others])
        withdrawing = Doing(lambda: two.other.withdraw(two.hub.person(mine), consents[mine]))
        assert not withdrawing.returned()
        two.run(two.two, until=lambda: two.seen() > 0)  # the other gate's own partition goes on, too
        deciding.go()
        withdrawing.result()
    two.all_seen(two.one, two.two)
    read = {str(event["id"]) for event in two.hub.drain()[0] if event["type"] == CONSENT.dataset}  # beside the stops
    assert len(read) == len(PEOPLE) - 2  # who withdrew got nothing out, whichever came first


def test_two_hand_outs_and_a_withdrawal_at_once(two: Two) -> None:
    """One hand-out stands before its commit: the other opens nothing twice, and the receipt is true (I4, I7)."""
    consent = consent_of(two.hub, "A")
    publish_all(two.hub)
    two.all_seen(two.one)
    with paused("handout.before_commit") as leaving:
        first = Doing(two.hub.pull)
        leaving.reached()
        second = Doing(two.other.pull)
        withdrawing = Doing(lambda: two.other.withdraw(two.hub.person("A"), consent))
        assert not second.returned()
        assert not withdrawing.returned()
        leaving.go()
        opened_first = {one.number for one in first.result().opened}
        receipt = withdrawing.result().receipt
        again = {one.number for one in second.result().opened if one.kind == DeliveryKind.DATA}
    assert len(opened_first) == len(PEOPLE)
    assert not again
    assert len(receipt.opened_before) == 1
    assert {one.number for one in receipt.opened_before} < opened_first


def consent_of(hub: Hub, name: str) -> str:
    ((public,),) = hub.rows("SELECT public FROM consent WHERE person = ?", (hub.person(name),))
    return str(public)
