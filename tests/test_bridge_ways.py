"""What a bridge makes of deliveries and records, and where it waits rather than pass one by."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey
from kafka.errors import NoOffsetForPartitionError
from kafka.structs import TopicPartition

from agency_adapters.bridge.cluster import ClusterRefused
from agency_adapters.bridge.config import read_config
from agency_adapters.bridge.feed import Feeder
from agency_adapters.bridge.intake import Halted, Intake
from agency_adapters.client import HubClient
from agency_adapters.errors import AgencyError
from agency_adapters.keys import new_key, public_jwk
from tests.adapters_contract_hub import ContractHub, serving
from tests.bridge_world import Cluster, client_with, cluster, publisher


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[ContractHub, HubClient, Cluster]]:
    """A stand-in for the hub, an agency's client, and topics of this test's own."""
    key, there = new_key(), cluster()
    there.make({"rows": 1, "refused": 1})
    (tmp_path / "key").write_bytes(key.as_pem(private=True))
    with serving() as hub:
        hub.keys["lindum"] = OKPKey.import_key(public_jwk(key))
        with client_with(tmp_path / "key", hub.issuer, "lindum") as client:
            yield hub, client, there


def delivery(number: int, subject: str, kind: str = "data", *, text: str = "") -> dict[str, object]:
    told = {"specversion": "1.0", "id": f"{number:032x}", "source": "urn:hub", "type": "test.visit", "kind": kind}
    return told | {"number": number, "subject": subject, "data": {"n": number, "text": text}}


def test_what_is_too_large_holds_up_its_person_and_nothing_is_acknowledged(
    place: tuple[ContractHub, HubClient, Cluster],
) -> None:
    """The second of a person's three is refused: the third isn't sent before it, and the hub hears of none."""
    hub, client, there = place
    there.make({"feed": 1}, **{"max.message.bytes": "2000"})
    hub.outbox = [delivery(1, "P-1"), delivery(2, "P-1", text="x" * 4000), delivery(3, "P-1")]
    feeder = Feeder(client, there.access, there.feed())
    for _ in range(2):
        with pytest.raises(ClusterRefused, match="larger than the topic takes"):
            feeder.round()
    assert [json.loads(one.value)["number"] for one in there.read("feed")] == [1]
    assert hub.acknowledged == []


@pytest.mark.parametrize("form", ["structured", "binary"])
def test_a_kind_that_is_not_named_is_neither_produced_nor_acknowledged(
    place: tuple[ContractHub, HubClient, Cluster], form: str
) -> None:
    """Those beside it are, keyed by the person, with the attributes in headers."""
    hub, client, there = place
    there.make({"feed": 1})
    hub.outbox = [delivery(1, "P-1"), delivery(2, "P-2", "stop")]
    feeder = Feeder(client, there.access, there.feed(kinds=frozenset({"data"}), form=form))
    assert feeder.round() == {"produced": 1, "not_handled": 1}
    feeder.close()
    (record,) = there.read("feed")
    assert (record.key, dict(record.headers)["ce_id"].decode()) == (b"P-1", f"{1:032x}")
    assert json.loads(record.value) == (hub.outbox[0] if form == "structured" else hub.outbox[0]["data"])
    assert hub.acknowledged == [f"{1:032x}"]


def test_a_refused_record_halts_before_it_and_goes_on_once_it_is_taken(
    place: tuple[ContractHub, HubClient, Cluster],
) -> None:
    """Those before it are committed and it is not; with dead letters it is kept as it was, and the rest published."""
    hub, client, there = place
    rows = [{"specversion": "1.0", "type": "test.visit", "data": {"n": n, "bad": n == 2}} for n in range(4)]
    there.write("rows", [("P-1", row) for row in rows])
    intake = Intake(client, there.access, there.publish(), publisher("lindum"))
    with pytest.raises(Halted, match=r"rows-0@2 was refused"):
        intake.to_the_end()
    intake.close()
    assert there.committed("rows") == {0: 2}
    intake = Intake(client, there.access, there.publish(dead_letters=there.topic("refused")), publisher("lindum"))
    assert intake.to_the_end() == {"published": 1, "refused": 1}
    intake.close()
    (letter,) = there.read("refused")
    assert json.loads(letter.value) == rows[2]
    assert dict(letter.headers)["hub_record"].decode().endswith("rows-0@2")
    ids = {event["data"]["n"]: set[str]() for event in hub.events}
    for event in hub.events:
        ids[event["data"]["n"]].add(event["id"])
    assert {n: len(one) for n, one in ids.items()} == {0: 1, 1: 1, 3: 1}


class Slow:
    """A cluster's consumer whose poll ends before the group's offsets are known: on a busy machine, one in some."""

    def __init__(self) -> None:
        self.part = TopicPartition("rows", 0)
        self.at: int | None = None

    def poll(self, timeout_ms: int) -> dict[object, object]:
        return {}

    def assignment(self) -> set[TopicPartition]:
        return {self.part}

    def end_offsets(self, parts: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(parts, 0)

    def position(self, part: TopicPartition) -> int:
        if self.at is None:
            raise NoOffsetForPartitionError({part})
        return self.at

    def seek_to_beginning(self, *parts: TopicPartition) -> None:
        assert parts == (self.part,)
        self.at = 0


def test_a_group_without_offsets_is_begun_with_however_slow_the_cluster_is(tmp_path: Path) -> None:
    """What it is asked for after a poll may be the first that finds out."""
    key = new_key()
    (tmp_path / "key").write_bytes(key.as_pem(private=True))
    there = Cluster("127.0.0.1:9", "t")
    with client_with(tmp_path / "key", "http://127.0.0.1:9", "lindum") as client:
        intake = Intake(client, there.access, there.publish(), publisher("lindum"))
        intake._consumer = Slow()
        assert intake.to_the_end() == {"published": 0, "refused": 0}


def test_a_topic_that_is_not_there_is_told(place: tuple[ContractHub, HubClient, Cluster]) -> None:
    """Before anything is pulled."""
    hub, client, there = place
    hub.outbox = [delivery(1, "P-1")]
    with pytest.raises(ClusterRefused, match="the cluster has no topic"):
        Feeder(client, there.access, there.feed()).round()
    assert hub.handed_out == set()


def test_everything_that_is_wrong_in_a_configuration_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text(
        'servers = ["kafka.example:9092"]\n[security]\nprotocl = "SSL"\n[feed]\ntopic = "a b"\nkinds = ["ask"]\n'
        '[publish]\ntopics = ["x"]\ngroup = "g"\nrefused = "drop"\n'
    )
    with pytest.raises(AgencyError) as told:
        read_config(file)
    for part in ("did you mean protocol?", "in the clear", "cannot be", "ask is nothing", "refused is one of"):
        assert part in told.value.what
