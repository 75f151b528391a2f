"""A bridge, to be killed: it feeds or publishes until it dies.

    python -m tests.bridge_kill_runner feed|publish DIRECTORY HUB ADDRESS PREFIX PLACE COUNT

It kills itself when it comes to PLACE the COUNTth time; without a place it waits to be killed. `R` goes to standard
output when it begins.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agency_adapters.bridge.feed import Feeder
from agency_adapters.bridge.intake import Intake
from agency_adapters.client import HubClient
from agency_adapters.results import CloudEvent, Delivery, PublishResult
from tests.bridge_world import Cluster, client_with, publisher

AGENCY = "lindum"
BATCH_RECORDS = 25
IDLE_S = 0.02
LIFE_S = 30.0  # of a process whose place is never reached; the caller notices


class Fate:
    """Kills this process when it comes to its place."""

    def __init__(self, place: str, count: int) -> None:
        self.place, self.left = place, count

    def at(self, place: str) -> None:
        if place == self.place:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)


class DoomedClient:
    """The hub's client, with places before and after what counts."""

    def __init__(self, client: HubClient, fate: Fate) -> None:
        self.client, self.fate, self.pull = client, fate, client.pull

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self.fate.at("feed: on the topic")
        self.client.acknowledge(deliveries)
        self.fate.at("feed: acknowledged")

    def publish(self, events: Sequence[CloudEvent]) -> PublishResult:
        self.fate.at("publish: polled")
        result = self.client.publish(events)
        self.fate.at("publish: accepted")
        return result


class DoomedFeeder(Feeder):
    """A feeder with a place in the middle of a page."""

    fate: Fate

    def produce_wave(self, deliveries: Sequence[Delivery]) -> None:
        super().produce_wave(deliveries)
        self.fate.at("feed: in a page")


class DoomedIntake(Intake):
    """An intake with a place before and after its commit."""

    fate: Fate

    def commit(self, offsets: Mapping[Any, int]) -> None:
        self.fate.at("publish: dead letters written")
        super().commit(offsets)
        self.fate.at("publish: committed")


def main() -> None:
    way, directory, hub, address, prefix, place, count = sys.argv[1:]
    cluster, fate = Cluster(address, prefix), Fate(place, int(count))
    doomed: Any = DoomedClient(client_with(Path(directory) / "key", hub, AGENCY, batch_events=BATCH_RECORDS), fate)
    bridge: DoomedFeeder | DoomedIntake
    if way == "feed":
        bridge = DoomedFeeder(doomed, cluster.access, cluster.feed())
    else:
        publish = cluster.publish(batch_records=BATCH_RECORDS, dead_letters=cluster.topic("refused"))
        bridge = DoomedIntake(doomed, cluster.access, publish, publisher(AGENCY))
    bridge.fate = fate
    until_s = time.monotonic() + LIFE_S
    os.write(1, b"R\n")
    while time.monotonic() < until_s:
        if not any(bridge.round().values()):
            time.sleep(IDLE_S)


if __name__ == "__main__":
    main()
