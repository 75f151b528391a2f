"""Promise 8: erasure works on an append-only world, as far as it is built.

Personal data at rest is sealed under per-person keys; destroying the key makes it unreadable; the log still verifies
because it never held anything erasable.
"""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from hub.core.leaf import canonical, merkle_root
from hub.exchange.intake import open_record
from hub.identity.day_keys import US_PER_DAY
from tests.protocol_world import Hub, opened

pytestmark = pytest.mark.engines(whole=True)

WAIT_S = 10.0  # for what is there: a poll returns as soon as it has it


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that has delivered something of two people."""
    with opened(tmp_path) as one:
        for local_id in ("A", "B"):
            one.grant(one.link(local_id))
            one.publish(local_id, local_id)
        one.decide()
        one.drain()
        yield one


def leaves(hub: Hub) -> list[bytes]:
    return [leaf for (leaf,) in hub.rows("SELECT leaf FROM audit ORDER BY id")]


def test_after_erasure_nothing_of_the_person_can_be_opened(hub: Hub) -> None:
    """No payload, no detail, no consent, no name: their key is gone, and each was sealed under it."""
    person = hub.person("A")
    assert hub.open_keys.of([person])
    hub.erase(person)
    assert hub.open_keys.of([person]) == {}
    assert hub.rows("SELECT key, born FROM person WHERE id = ?", (person,)) == [(None, None)]


def test_each_sealed_value_opens_with_its_own_persons_key_alone(hub: Hub) -> None:
    """The key of somebody else, or the place of another row, opens nothing."""
    keys = hub.open_keys.of([hub.person("A"), hub.person("B")])
    rows = hub.rows("SELECT public, payload FROM delivery WHERE kind = 1 ORDER BY id")
    opened_by = []
    for public, payload in rows:
        for person, key in keys.items():
            try:
                key.aead.decrypt(payload[:12], payload[12:], public)
            except Exception:  # noqa: BLE001, S112 - any refusal will do here
                continue
            opened_by.append(person)
    assert sorted(opened_by) == sorted(keys)


def test_the_log_verifies_before_and_after(hub: Hub) -> None:
    """Not a byte of any leaf changes, so every root over them stays what it was."""
    before = leaves(hub)
    hub.erase(hub.person("A"))
    after = leaves(hub)[: len(before)]
    assert merkle_root(after) == merkle_root(before)


def test_no_leaf_holds_anything_but_commitments(hub: Hub) -> None:
    """Kind, hour, version, a nonce and salted hashes: nothing that erasure would have to reach."""
    for leaf in leaves(hub):
        said = orjson.loads(leaf)
        assert set(said) == {"c", "h", "k", "n", "v"}
        assert canonical(said) == leaf
        assert len(leaf) <= 1_024 or len(said["c"]) > 10


def test_an_event_that_is_still_on_the_bus_does_not_bring_the_person_back(hub: Hub) -> None:
    """It is refused: the mark is left, and nobody makes a new key."""
    hub.publish("late", "A")
    hub.erase(hub.person("A"))
    assert hub.decide().refusals == 1
    assert [event["kind"] for event in hub.drain()[0]] == ["delete"]
    assert hub.rows("SELECT count(*) FROM person WHERE key IS NULL") == [(1,)]


def test_intake_is_unreadable_once_its_day_key_is_destroyed(hub: Hub) -> None:
    """What lies on the bus was sealed under the publisher's key of the day."""
    hub.publish("late", "A")
    (polled,) = hub.bus.poll(10, WAIT_S).records
    record = polled.record
    assert open_record(record, hub.world.day_key) is not None
    hub.day_keys.destroy_before(hub.clock() // US_PER_DAY + 1)
    assert open_record(record, hub.world.day_key) is None


def test_the_other_person_is_untouched(hub: Hub) -> None:
    """Erasure reaches one person's data and nobody else's."""
    hub.erase(hub.person("A"))
    hub.publish("more", "B")
    hub.decide()
    assert sorted(event["kind"] for event in hub.drain()[0]) == ["data", "delete"]
