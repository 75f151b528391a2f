"""A restored store behind a real Kafka: positions went back with it, so what the topics still hold is decided again."""

from pathlib import Path
from time import monotonic

from hub.bus.kafka_access import access_of
from hub.bus.kafka_plan import wanted_of
from hub.bus.kafka_topics import carry_out, plan_now
from hub.exchange.gate import Gate
from hub.exchange.handout import hand_out
from hub.store.deliveries import DeliveryKind
from tests import stores
from tests.engines import needs_kafka, topic_prefix
from tests.protocol_world import CONSENT
from tests.restore_world import House, house

WITHIN_S = 60.0  # a group is joined anew
KAFKA = {
    "bus": "kafka", "kafka_security": "PLAINTEXT", "kafka_partitions": 2, "kafka_replication": 1, "kafka_min_insync": 1,
}  # fmt: skip


def decided(there: House, events: int) -> None:
    """Let a gate take what is on the topics until so many events are decided in all."""
    gate, end_s = Gate(there.hub.world), monotonic() + WITHIN_S
    while there.rows("SELECT count(*) FROM event_seen") < [(events,)] or not gate.idle():
        assert monotonic() < end_s, "the gate does not come to the end of the topics"
        gate.step(0.1)


def test_what_the_topics_hold_of_after_the_backup_is_decided_again_and_keeps_its_ids(tmp_path: Path) -> None:
    """Handed out since, or never decided before the store was lost: each comes once, under the id it had."""
    stores.server()
    stores.use(stores.REAL)
    try:
        kafka = {**KAFKA, "kafka_bootstrap": (needs_kafka().address,), "kafka_topic_prefix": topic_prefix()}
        with house(tmp_path, **kafka) as there:
            access, wanted = access_of(there.settings), wanted_of(there.settings, there.hub.approved())
            carry_out(access, wanted, plan_now(access, wanted).document()["digest"])
            _restored(there)
    finally:
        stores.use(stores.EMBEDDED)
        stores.drop_all()


def _restored(there: House) -> None:
    there.consents("A", "B")
    there.publish("A", "B")
    decided(there, 2)
    first = there.pull()
    assert [one.number for one in first] == [1, 2]
    backup = there.back_up()
    there.publish("A", "B", "A")
    decided(there, 5)
    since = there.pull()
    assert [one.number for one in since] == [3, 4, 5]
    positions = there.rows("SELECT partition, next FROM position ORDER BY partition")
    there.publish("B")  # accepted, and never decided before the store is lost
    there.lose_to(backup)
    assert "restored from a backup" in there.quarantined()
    assert there.rows("SELECT count(*) FROM event_seen") == [(2,)]
    assert there.rows("SELECT partition, next FROM position ORDER BY partition") < positions
    there.reconcile()
    decided(there, 6)
    again = hand_out(there.hub.world, CONSENT.recipient, 500).opened
    ids = [one.public for one in again if one.kind == DeliveryKind.DATA]
    assert len(ids) == len(set(ids)) == 4
    assert {one.public for one in since} <= set(ids)
    assert not {one.public for one in first} & set(ids), "what the backup knew as acknowledged does not come again"
    assert min(one.number for one in again) > 5, "a number was given out twice"
    given = {one.public: one.person for one in since}
    assert {one.public: one.person for one in again if one.public in given} == given
    assert there.rows("SELECT count(*) FROM event_conflict") == [(0,)]
