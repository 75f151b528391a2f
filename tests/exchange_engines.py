"""Bus and policy engine of the tests' exchange: embedded; where the whole set of engines runs, Kafka and OPA."""

from pathlib import Path

from hub.bus.embedded import EmbeddedBus
from hub.bus.kafka import KafkaBus
from hub.core.agreement import Catalogue
from hub.policy.embedded import EmbeddedPolicy
from hub.policy.opa import OpaServer
from hub.policy.server import ServerPolicy
from hub.store.engine import Store
from tests.decision_vectors import COMPILED
from tests.engines import needs_kafka, needs_opa
from tests.kafka_world import SESSION_MS, access_to, make_topics, prefix_of, quiet_log
from tests.opa_world import give
from tests.stores import on_whole_set

TOPICS = ("in.population-register.pop.residence", "in.utilities.util.account", "in.payments.pay.account")
_served: list[ServerPolicy] = []  # one for the process: what is shipped does not change


def open_bus(store: Store, directory: Path) -> EmbeddedBus | KafkaBus:
    """Open the bus of an exchange over `directory`. On Kafka it has topics of its own; a restart finds them again."""
    if not on_whole_set():
        return EmbeddedBus(store)
    access = access_to(needs_kafka(), prefix_of(directory))
    make_topics(access, TOPICS, partitions=1)
    return KafkaBus(store, access, log=quiet_log(), topics=TOPICS, session_ms=SESSION_MS)


def ends_of(bus: EmbeddedBus | KafkaBus) -> dict[str, int]:
    """Say, per partition, where the gate is to come: a poll of Kafka returns what was fetched, not what is there."""
    if isinstance(bus, EmbeddedBus):
        return {}
    return {partition: end for topic in TOPICS for partition, end in bus.ends(topic).items()}


def open_policy(shipped: Catalogue, embedded: EmbeddedPolicy) -> EmbeddedPolicy | ServerPolicy:
    """Return what answers about the shipped catalogue, of one revision either way."""
    if not on_whole_set():
        return embedded
    if not _served:
        address = needs_opa().address
        give(address, shipped)
        _served.append(ServerPolicy(shipped, COMPILED, OpaServer(address)))
    return _served[0]


def leave() -> None:
    """End this process's connections."""
    while _served:
        _served.pop().close()
