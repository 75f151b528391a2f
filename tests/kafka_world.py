"""A real Kafka broker for tests: one for all of them, with topics of each test's own."""

import io
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

from kafka import KafkaAdminClient

from deploy.engines import launch
from deploy.engines.process import Engine
from hub.bus.kafka_access import KafkaAccess
from hub.clock import system_clock
from hub.logs import Log, open_log

SESSION_MS = 2_000  # so that a consumer that died is noticed soon; the tests' broker allows it


def prefix_of(directory: Path) -> str:
    return f"t{sha256(str(directory).encode()).hexdigest()[:10]}."


def access_to(engine: Engine, prefix: str, user: str = launch.ADMIN) -> KafkaAccess:
    if not engine.passwords:
        return KafkaAccess((engine.address,), prefix=prefix)
    return KafkaAccess(
        (engine.address,), "SASL_PLAINTEXT", username=user, password=engine.passwords[user], prefix=prefix
    )


def make_topics(access: KafkaAccess, topics: Collection[str], partitions: int = 2) -> None:
    """Make those that are not there."""
    with KafkaAdminClient(**access.settings()) as admin:
        there = set(admin.list_topics())
        new = {
            access.prefix + topic: {"num_partitions": partitions, "replication_factor": 1}
            for topic in topics
            if access.prefix + topic not in there
        }
        if new:
            admin.create_topics(new, wait_for_metadata=True)


def quiet_log() -> Log:
    return open_log(clock=system_clock, stream=io.StringIO())
