"""A bridge's world: topics of each test's own on the broker that all share, read and written as an agency does."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import CoordinatorNotAvailableError
from kafka.structs import TopicPartition

from agency_adapters.bridge.cluster import settings
from agency_adapters.bridge.config import KINDS, Access, Feed, Publish
from agency_adapters.bridge.records import Publisher
from agency_adapters.channel import Settings
from agency_adapters.client import HubClient
from agency_adapters.keys import key_from_pem
from agency_adapters.retry import Backoff
from tests.engines import needs_kafka, topic_prefix

ID_KEY = b"k" * 32
SESSION_S = 1  # so that a bridge that died is noticed soon; the tests' broker allows it
ONCE = Backoff(attempts=1, first_s=0.0, cap_s=0.0)


@dataclass(frozen=True)
class Cluster:
    """A broker, and the beginning of every name that a test uses on it."""

    address: str
    prefix: str

    @property
    def access(self) -> Access:
        return Access((self.address,))

    def topic(self, name: str) -> str:
        return self.prefix + name

    def feed(self, **given: Any) -> Feed:
        return Feed(**{"topic": self.topic("feed"), "kinds": KINDS, "topics": {}, **given})

    def publish(self, **given: Any) -> Publish:
        named = {"topics": (self.topic("rows"),), "group": self.topic("bridge"), "session_s": SESSION_S}
        return Publish(**{**named, **given})

    def make(self, names: Mapping[str, int], **configs: str) -> None:
        """Make topics, each with so many partitions."""
        topics = {self.topic(name): {"num_partitions": count, "configs": configs} for name, count in names.items()}
        with KafkaAdminClient(bootstrap_servers=self.address) as admin:
            admin.create_topics(topics, wait_for_metadata=True)

    def write(self, name: str, records: Iterable[tuple[str, Any]], *, headers: Sequence[Any] = ()) -> None:
        """Produce (key, document) each, as the agency's application does; bytes go as they are."""
        producer = KafkaProducer(**settings(self.access), acks="all", linger_ms=5)
        sent = [
            producer.send(
                self.topic(name),
                key=key.encode(),
                value=document if isinstance(document, bytes | None) else json.dumps(document).encode(),
                headers=list(headers),
            )
            for key, document in records
        ]
        for one in sent:
            one.get(timeout=20)
        producer.close(timeout=5)

    def read(self, name: str) -> list[Any]:
        """Return every record of a topic, partition by partition."""
        consumer = KafkaConsumer(**settings(self.access), group_id=None, auto_offset_reset="earliest")
        try:
            parts = [
                TopicPartition(self.topic(name), one) for one in sorted(consumer.partitions_for_topic(self.topic(name)))
            ]
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends, found = consumer.end_offsets(parts), []
            while any(consumer.position(part) < ends[part] for part in parts):
                found += [one for page in consumer.poll(timeout_ms=500).values() for one in page]
            return sorted(found, key=lambda one: (one.partition, one.offset))
        finally:
            consumer.close()

    def committed(self, name: str, group: str = "bridge") -> dict[int, int]:
        """Return the group's offset of each partition of a topic; 0 where there is none."""
        with KafkaAdminClient(bootstrap_servers=self.address) as admin:
            group = self.topic(group)
            try:
                told = admin.list_group_offsets({group: None})[group]
            except CoordinatorNotAvailableError:  # no group has ever been on this broker
                return {}
        return {part.partition: one.offset for part, one in told.items() if part.topic == self.topic(name)}


def cluster() -> Cluster:
    return Cluster(needs_kafka().address, topic_prefix())


def publisher(agency: str) -> Publisher:
    return Publisher(agency, ID_KEY)


def client_with(key_file: Path, hub: str, agency: str, *, batch_events: int = 100) -> HubClient:
    """Sign in with the key in this file. A hub that is down is told at once."""
    return HubClient(
        Settings(hub, agency, batch_events=batch_events, backoff=ONCE), key_from_pem(key_file.read_bytes())
    )
