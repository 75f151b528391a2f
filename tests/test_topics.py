"""The bus's topics at the brokers: planned from the catalogue, applied as reviewed, and barred where they are open."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewPartitions
from kafka.errors import KafkaError, TopicAuthorizationFailedError
from kafka.structs import TopicPartition

from deploy.engines import launch
from deploy.engines.process import Engine
from hub.bus.kafka import KafkaBus
from hub.bus.kafka_access import KafkaAccess
from hub.bus.kafka_plan import EVERYBODY, Grant, Plan, Seen, Topic, Wanted, barred, plan_of, wanted_of
from hub.bus.kafka_topics import acl_of, barring, carry_out, plan_now
from hub.commands import topics as topics_command
from hub.core.errors import HubError, Kind
from hub.engines import shipped_catalogue
from hub.ports import Record
from hub.settings import Settings
from tests.engines import own
from tests.kafka_world import SESSION_MS, access_to, quiet_log
from tests.stores import open_store

USERS = ("hub-gate", "hub-publish", "stranger")
CATALOGUE = shipped_catalogue()
SMALL = replace(CATALOGUE, datasets=dict(sorted(CATALOGUE.datasets.items())[:2]))
NAMES = sorted(f"in.{one.provider}.{one.name}" for one in SMALL.datasets.values())


def settings(**changed: Any) -> Settings:
    given: dict[str, Any] = {
        "kafka_bootstrap": ("127.0.0.1:1",),
        "kafka_security": "SASL_PLAINTEXT",
        "kafka_username": "hub-gate",
        "kafka_publish_username": "hub-publish",
        "kafka_replication": 1,
        "kafka_min_insync": 1,
        "kafka_partitions": 2,
    }
    return Settings(mode="development", bus="kafka", **(given | changed))


WANTED = wanted_of(settings(), SMALL)


def as_it_should_be(wanted: Wanted) -> Seen:
    return Seen(wanted.topics, wanted.grants, guarded=True, open_by_default=False)


def reasons(seen: Seen, wanted: Wanted = WANTED) -> dict[str, str]:
    return barred(wanted, seen, NAMES)


# What is pure.
def test_a_plan_says_nothing_where_everything_is_as_it_should_be() -> None:
    """Neither steps nor findings, and nothing is barred."""
    plan = plan_of(WANTED, as_it_should_be(WANTED))
    assert plan == Plan((), {}, {}, ())
    assert reasons(as_it_should_be(WANTED)) == {}


def test_intake_is_never_kept_longer_than_its_keys() -> None:
    """Seven days at most, whatever the setting; two at least, as the day keys."""
    kept = [
        {
            topic.config["retention.ms"]
            for topic in wanted_of(settings(intake_retention_days=days), SMALL).topics.values()
        }
        for days in (30, 3, 1)
    ]
    assert kept == [{str(days * 86_400_000)} for days in (7, 3, 2)]


def test_a_topic_that_brokers_compress_is_planned_to_be_left_as_it_was_sent() -> None:
    """What they compress by is set for the whole cluster, too, and the gate's client reads next to none of it."""
    odd = WANTED.topics[NAMES[0]]._replace(config={**WANTED.topics[NAMES[0]].config, "compression.type": "zstd"})
    plan = plan_of(WANTED, as_it_should_be(WANTED)._replace(topics={**WANTED.topics, NAMES[0]: odd}))
    assert plan.configure == {NAMES[0]: {"compression.type": "producer"}}


def test_a_digest_names_exactly_the_steps() -> None:
    """Another partition count, another account: another digest."""
    nothing = Seen({}, frozenset(), guarded=True, open_by_default=False)
    digests = [
        plan_of(wanted_of(one, SMALL), nothing).document()["digest"]
        for one in (settings(), settings(kafka_partitions=3), settings(kafka_publish_username="other"), settings())
    ]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


STRANGE = [
    Grant("TOPIC", NAMES[0], "LITERAL", "User:stranger", "READ"),
    Grant("TOPIC", "in.", "PREFIXED", "User:stranger", "WRITE"),
    Grant("TOPIC", "*", "LITERAL", EVERYBODY, "ALL"),
    Grant("TOPIC", NAMES[0], "LITERAL", "User:hub-publish", "READ"),  # ours, and more than it needs
    Grant("TOPIC", NAMES[0], "LITERAL", "User:stranger", "ALTER"),
    Grant("GROUP", "hub-gate", "LITERAL", "User:stranger", "READ"),  # could take partitions away
]


@pytest.mark.parametrize("stranger", STRANGE, ids=[f"{one.name}-{one.principal}-{one.operation}" for one in STRANGE])
def test_a_topic_that_somebody_else_may_use_is_barred_by_name(stranger: Grant) -> None:
    """However the ACL reaches it: by its name, a prefix, for everybody, or through the gates' group."""
    seen = as_it_should_be(WANTED)
    found = reasons(seen._replace(grants=seen.grants | {stranger}))
    assert NAMES[0] in found
    assert "may " + stranger.operation in found[NAMES[0]]
    assert (NAMES[1] in found) == (stranger.name in ("in.", "*", "hub-gate"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"guarded": False}, "authorizer"),
        ({"open_by_default": True}, "allow.everyone"),
        ({"topics": {**WANTED.topics, NAMES[0]: WANTED.topics[NAMES[0]]._replace(partitions=7)}}, "7 partitions"),
        ({"topics": {**WANTED.topics, NAMES[0]: Topic(2, 1, {"cleanup.policy": "compact"})}}, "compacted"),
        ({"topics": {NAMES[1]: WANTED.topics[NAMES[1]]}}, "not there"),
    ],
)
def test_a_topic_that_is_not_as_planned_is_barred_with_the_reason(changed: dict[str, Any], said: str) -> None:
    """Open brokers bar all of them, another shape bars one."""
    found = reasons(as_it_should_be(WANTED)._replace(**changed))
    assert said in found[NAMES[0]]
    assert (NAMES[1] in found) == ("topics" not in changed)


def test_brokers_without_accounts_are_enough_where_production_is_not() -> None:
    """On a developer's machine nobody is kept out, and nothing is granted."""
    wanted = wanted_of(settings(kafka_security="PLAINTEXT"), SMALL)
    assert wanted.grants == frozenset()
    assert barred(wanted, Seen(wanted.topics, frozenset(), guarded=False, open_by_default=False), NAMES) == {}
    strict = wanted._replace(must_guard=True)
    assert barred(strict, Seen(wanted.topics, frozenset(), guarded=False, open_by_default=False), NAMES).keys() == {
        *NAMES
    }


# At a broker with accounts.
@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    def start(directory: Path) -> Engine:
        return launch.kafka(directory, sasl=True, users=USERS)

    with own(start, tmp_path_factory.mktemp("kafka") / "sasl") as engine:
        yield engine


def applied(broker: Engine, prefix: str, **changed: Any) -> Wanted:
    wanted = wanted_of(settings(kafka_topic_prefix=prefix, **changed), SMALL)
    plan = plan_now(access_to(broker, prefix), wanted)
    carry_out(access_to(broker, prefix), wanted, plan.document()["digest"])
    return wanted


def test_what_was_reviewed_is_what_is_done_and_then_nothing_is_left(broker: Engine) -> None:
    """Topics with partitions and settings, and the grants; a second plan is empty."""
    wanted = wanted_of(settings(kafka_topic_prefix="a."), SMALL)
    admin = access_to(broker, "a.")
    plan = plan_now(admin, wanted)
    assert set(plan.create) == {"a." + name for name in NAMES}
    assert set(plan.grants) == wanted.grants
    carry_out(admin, wanted, plan.document()["digest"])
    again = plan_now(access_to(broker, "a.", "hub-gate"), wanted)  # the gate's own account may look
    assert (again.grants, again.create, again.configure, again.findings) == ((), {}, {}, ())


def test_a_plan_that_changed_since_it_was_reviewed_is_not_carried_out(broker: Engine) -> None:
    """Somebody made a topic, or the setting is another: nothing is done."""
    wanted = wanted_of(settings(kafka_topic_prefix="b."), SMALL)
    admin = access_to(broker, "b.")
    digest = plan_now(admin, wanted).document()["digest"]
    other = wanted_of(settings(kafka_topic_prefix="b.", kafka_partitions=3), SMALL)
    with pytest.raises(HubError) as refused:
        carry_out(admin, other, digest)
    assert refused.value.code == "topics-plan-changed"
    assert plan_now(admin, wanted).create.keys() == wanted.topics.keys()


def test_nobody_but_the_hubs_accounts_can_read_or_write(broker: Engine) -> None:
    """The publishing account writes and cannot read, the gate's reads and cannot write, a stranger can neither."""
    applied(broker, "c.")
    topic = "c." + NAMES[0]
    assert may_write(access_to(broker, "c.", "hub-publish"), topic)
    assert may_read(access_to(broker, "c.", "hub-gate"), topic)
    assert not may_write(access_to(broker, "c.", "hub-gate"), topic)
    assert not may_read(access_to(broker, "c.", "hub-publish"), topic)
    assert not may_write(access_to(broker, "c.", "stranger"), topic)
    assert not may_read(access_to(broker, "c.", "stranger"), topic)


def may_write(access: KafkaAccess, topic: str) -> bool:
    with KafkaProducer(**access.settings(), allow_auto_create_topics=False, max_block_ms=4_000) as producer:
        try:
            producer.send(topic, b"value", key=b"key", partition=0).get(timeout=5)
        except (KafkaError, ValueError):  # the library takes a topic that it may not see for one without partitions
            return False
        return True


def may_read(access: KafkaAccess, topic: str) -> bool:
    consumer = KafkaConsumer(**access.settings(), auto_offset_reset="earliest", allow_auto_create_topics=False)
    try:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        return bool(consumer.poll(timeout_ms=4_000))
    except TopicAuthorizationFailedError:
        return False
    finally:
        consumer.close(timeout_ms=500)


def test_nothing_is_decided_from_a_topic_while_a_stranger_may_use_it(broker: Engine, tmp_path: Path) -> None:
    """The hub runs with its two accounts, and says which topic and why; other topics go on."""
    wanted = applied(broker, "d.")
    with KafkaAdminClient(**access_to(broker, "d.").settings()) as admin:
        admin.create_acls([acl_of(Grant("TOPIC", "d." + NAMES[0], "LITERAL", "User:stranger", "READ"))])
    store, gate = open_store(tmp_path / "hub.sqlite", synchronous="OFF"), access_to(broker, "d.", "hub-gate")
    publisher = access_to(broker, "d.", "hub-publish")
    bus = KafkaBus(
        store, gate, log=quiet_log(), publisher=publisher, topics=NAMES, barred=barring(gate, lambda: wanted),
        session_ms=SESSION_MS,
    )  # fmt: skip
    try:
        bus.publish([Record(name, bytes(16), b"sealed") for name in NAMES])
        polled = [one.record.topic for _ in range(3) for one in bus.poll(10, 2.0).records]
        assert polled == [NAMES[1]]
        assert [item.where for item in bus.troubles()] == ["d." + NAMES[0]]
        assert "User:stranger may READ" in bus.troubles()[0].what
    finally:
        bus.close()
        store.close()


def test_a_topic_with_other_partitions_than_planned_is_named_by_the_plan(broker: Engine) -> None:
    """It is not repaired: which events lie where cannot be mended."""
    wanted = applied(broker, "e.")
    admin = access_to(broker, "e.")
    with KafkaAdminClient(**admin.settings()) as client:
        client.create_partitions({"e." + NAMES[0]: NewPartitions(5)})
    plan = plan_now(admin, wanted)
    assert [(one.topic, one.bars) for one in plan.findings] == [("e." + NAMES[0], True)]
    assert "HUB_KAFKA_TOPIC_PREFIX" in plan.findings[0].remedy  # by its old name it would be read from its old position
    assert not plan.create


def test_an_account_that_may_not_look_leaves_nothing_open(broker: Engine) -> None:
    """Not knowing is not the same as well: the check fails, and says so."""
    wanted = applied(broker, "f.")
    with pytest.raises(HubError) as refused:
        barring(access_to(broker, "f.", "hub-publish"), lambda: wanted)(["f." + NAMES[0]])
    assert refused.value.kind is Kind.UNAVAILABLE


def test_the_command_shows_the_plan_and_carries_out_the_digest(
    broker: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As text and as JSON, without any password in it; applied, it has nothing left to do."""
    password = tmp_path / "admin.password"
    password.touch(mode=0o600)
    password.write_text(broker.passwords[launch.ADMIN])
    monkeypatch.setattr(topics_command, "_on_kafka", lambda: settings(
        data_dir=tmp_path / "data", kafka_bootstrap=(broker.address,), kafka_admin_username=launch.ADMIN,
        kafka_admin_password_file=password, kafka_password_file=password, kafka_topic_prefix="g.",
        kafka_publish_password_file=password,
    ))  # fmt: skip
    monkeypatch.setattr(topics_command, "_wanted", lambda of: wanted_of(of, SMALL))
    topics_command.plan(as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert set(document["create"]) == {"g." + name for name in NAMES}
    topics_command.plan(as_json=False)
    text = capsys.readouterr().out
    assert f"--expect {document['digest']}" in text
    assert broker.passwords[launch.ADMIN] not in text
    topics_command.apply(document["digest"])
    topics_command.plan(as_json=False)
    assert "Nothing to do." in capsys.readouterr().out
