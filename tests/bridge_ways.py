"""The bridge as ways of the adapters' contract: rows of a topic published, and deliveries fed into a topic.

Each keeps the name of its topics in its directory: the same directory again is a restart.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agency_adapters.bridge.feed import Feeder
from agency_adapters.bridge.intake import Intake
from agency_adapters.bridge.records import Publisher
from agency_adapters.client import HubClient
from agency_adapters.folder import read_map
from tests.bridge_world import ID_KEY, Cluster, cluster
from tests.file_ways import MAP, Arrived, Birth, moment


def cluster_of(directory: Path, topics: Mapping[str, int]) -> Cluster:
    """Return the cluster that this directory has its topics on; make them at first."""
    file = directory / "cluster.json"
    if not file.exists():
        made = cluster()
        made.make(topics)
        file.write_text(json.dumps([made.address, made.prefix]))
    return Cluster(*json.loads(file.read_text()))


class KafkaPublishes:
    """Rows as JSON in a topic, mapped to events; what is refused becomes a dead letter."""

    def __init__(self, directory: Path) -> None:
        self.map = directory / "map.toml"
        self.cluster = cluster_of(directory, {"rows": 1, "refused": 1})
        self.map.write_text(MAP.format(dataset="civil.birth.registered"))

    def add(self, rows: Sequence[Birth]) -> None:
        told = [{"number": row.number, "child": row.child, "dob": row.dob, "at": moment(row.number)} for row in rows]
        self.cluster.write("rows", [(row["child"], row) for row in told])  # type: ignore[misc]  # children are text

    def run(self, client: HubClient) -> int:
        publish = self.cluster.publish(records="rows", map=self.map, dead_letters=self.cluster.topic("refused"))
        publisher = Publisher(client.channel.settings.agency, ID_KEY, read_map(self.map))
        intake = Intake(client, self.cluster.access, publish, publisher)
        try:
            return intake.to_the_end()["refused"]
        finally:
            intake.close()


class KafkaReceives:
    """Deliveries in a topic, whose reader drops what comes again under its CloudEvents id."""

    def __init__(self, directory: Path) -> None:
        self.cluster = cluster_of(directory, {"feed": 1})

    def run(self, client: HubClient) -> None:
        feeder = Feeder(client, self.cluster.access, self.cluster.feed())
        try:
            feeder.round()
        finally:
            feeder.close()

    def arrived(self) -> list[Arrived]:
        found: dict[str, dict[str, Any]] = {}
        for record in self.cluster.read("feed"):
            event = json.loads(record.value)
            assert found.setdefault(event["id"], event) == event, "another content under the same id"
        return [Arrived(one["id"], one["kind"], one["data"]) for one in found.values()]
