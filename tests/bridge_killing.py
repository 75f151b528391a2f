"""Kill a bridge under load and look at what it left: ten times for `make test`, a hundred for `make torture`."""

import json
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey
from kafka import KafkaProducer

from agency_adapters.bridge.cluster import settings
from agency_adapters.bridge.feed import Feeder
from agency_adapters.bridge.intake import Intake
from agency_adapters.keys import new_key, public_jwk
from tests.adapters_contract_hub import ContractHub, serving
from tests.bridge_kill_runner import AGENCY, BATCH_RECORDS
from tests.bridge_world import Cluster, client_with, publisher

ROOT = Path(__file__).resolve().parents[1]
AT_RANDOM = "at random"
PLACES = (
    "feed: in a page", "feed: on the topic", "feed: acknowledged", "feed: " + AT_RANDOM,
    "publish: polled", "publish: accepted", "publish: dead letters written", "publish: committed",
    "publish: " + AT_RANDOM,
)  # fmt: skip
PEOPLE, PARTITIONS = 7, 3
REFUSED_EVERY = 9
STEP, STEP_S, MOST = 20, 0.03, 150  # so many more of each, so often, and at most so many while one bridge lives
START_S, REACH_S = 40.0, 30.0


@dataclass
class Load:
    """A hub, a cluster, and how much of both was made so far."""

    cluster: Cluster
    directory: Path
    hub: ContractHub
    producer: Any
    delivered: int = 0
    written: int = 0

    def more(self) -> None:
        """Have the hub more to deliver, and the agency more to publish; every ninth record will be refused."""
        for number in range(self.delivered, self.delivered + STEP):
            one: dict[str, Any] = {"specversion": "1.0", "id": f"{number:032x}", "number": number, "kind": "data"}
            one |= {"source": "urn:hub", "type": "test.visit", "subject": f"P-{number % PEOPLE}", "data": {"n": number}}
            self.hub.outbox.append(one)
        self.delivered += STEP
        for number in range(self.written, self.written + STEP):
            event = {"specversion": "1.0", "type": "test.visit", "subject": f"P-{number % PEOPLE}"}
            data = {"n": number, "bad": number % REFUSED_EVERY == 0}
            value = json.dumps({**event, "data": data}).encode()
            self.producer.send(self.cluster.topic("rows"), key=event["subject"].encode(), value=value)
        self.written += STEP
        self.producer.flush(timeout=20)

    def to_come(self) -> bool:
        """Say whether the hub still has something to deliver."""
        return len(self.hub.acknowledged) < self.delivered


@contextmanager
def loaded(cluster: Cluster, directory: Path) -> Iterator[Load]:
    """A hub that stands in for the real one, and topics with something in them."""
    cluster.make({"feed": PARTITIONS, "rows": PARTITIONS, "refused": 1})
    key = new_key()
    (directory / "key").write_bytes(key.as_pem(private=True))
    producer = KafkaProducer(**settings(cluster.access), acks="all", linger_ms=2)
    try:
        with serving() as hub:
            hub.keys[AGENCY] = OKPKey.import_key(public_jwk(key))
            load = Load(cluster, directory, hub, producer)
            load.more()
            yield load
    finally:
        producer.close(timeout=5)


def kill_once(load: Load, place: str, rng: random.Random) -> list[str]:
    """Start a bridge, let it die at a place or at random, under load; say every promise that it broke."""
    way, armed = place.split(": ")[0], "" if place.endswith(AT_RANDOM) else place
    command = [
        sys.executable, "-m", "tests.bridge_kill_runner", way, str(load.directory), load.hub.issuer,
        load.cluster.address, load.cluster.prefix, armed, str(rng.randrange(1, 4)),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as bridge:
        assert bridge.stdout is not None
        assert bridge.stderr is not None
        if not select.select([bridge.stdout], [], [], START_S)[0]:
            bridge.kill()
        most = load.delivered + MOST
        end_s = time.monotonic() + (REACH_S if armed else rng.uniform(0.3, 2.5))
        while bridge.poll() is None and time.monotonic() < end_s:
            if load.delivered < most or not load.to_come():
                load.more()
            time.sleep(STEP_S)
        reached = bridge.poll() is not None
        bridge.kill()
        said = bridge.stderr.read().decode()[-500:]
    if bridge.returncode != -signal.SIGKILL:
        return [f"{place}: it ended by itself ({bridge.returncode}): {said}"]
    return [f"{place}: never reached"] * bool(armed and not reached) + broken(load)


def broken(load: Load) -> list[str]:
    """Say what may never be: acknowledged and not on the topic, committed and nowhere, another id or content."""
    found = []
    on_topic: dict[str, set[bytes]] = {}
    latest: Counter[str] = Counter()
    for record in load.cluster.read("feed"):
        event = json.loads(record.value)
        news = event["id"] not in on_topic
        on_topic.setdefault(event["id"], set()).add(record.value)
        if news and event["data"]["n"] < latest[event["subject"]]:
            found.append(f"delivery {event['data']['n']} came after one that is newer")
        latest[event["subject"]] = max(latest[event["subject"]], event["data"]["n"])
    found += [f"delivery {one} has two contents" for one, values in on_topic.items() if len(values) > 1]
    lost = set(load.hub.acknowledged) - on_topic.keys()
    found += [f"{len(lost)} deliveries are acknowledged and not on the topic"] * bool(lost)
    accepted = ids_by_content(load)
    letters = {dict(one.headers)["hub_record"].decode() for one in load.cluster.read("refused")}
    committed = load.cluster.committed("rows")
    for record in load.cluster.read("rows"):
        n, where = json.loads(record.value)["data"]["n"], f"{record.topic}-{record.partition}@{record.offset}"
        known = where in letters if n % REFUSED_EVERY == 0 else n in accepted
        if record.offset < committed.get(record.partition, 0) and not known:
            found.append(f"the offset passed {where}, which nobody has")
    found += [f"record {n} was published under {len(ids)} ids" for n, ids in accepted.items() if len(ids) > 1]
    return found


def ids_by_content(load: Load) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for event in list(load.hub.events):
        found.setdefault(event["data"]["n"], set()).add(event["id"])
    return found


def finish(load: Load) -> list[str]:
    """Let a bridge of each kind do the rest; say what is missing then."""
    client = client_with(load.directory / "key", load.hub.issuer, AGENCY, batch_events=BATCH_RECORDS)
    publish = load.cluster.publish(batch_records=BATCH_RECORDS, dead_letters=load.cluster.topic("refused"))
    feeder = Feeder(client, load.cluster.access, load.cluster.feed())
    intake = Intake(client, load.cluster.access, publish, publisher(AGENCY))
    feeder.round()
    intake.to_the_end()
    feeder.close()
    intake.close()
    client.close()
    found = broken(load)
    missing = {one["id"] for one in load.hub.outbox} ^ set(load.hub.acknowledged)
    found += [f"{len(missing)} deliveries are not acknowledged"] * bool(missing)
    sound, published = {n for n in range(load.written) if n % REFUSED_EVERY}, ids_by_content(load).keys()
    found += [f"{len(sound - published)} records are missing"] * (published != sound)
    bad = {json.loads(one.value)["data"]["n"] for one in load.cluster.read("refused")}
    found += ["dead letters are missing"] * (bad != set(range(0, load.written, REFUSED_EVERY)))
    return found
