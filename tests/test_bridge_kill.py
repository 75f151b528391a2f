"""A bridge that is killed under load loses nothing, and says nothing too early to either side."""

import random
from pathlib import Path
from time import monotonic

from joserfc.jwk import OKPKey

from agency_adapters.keys import new_key, public_jwk
from tests.adapters_contract_hub import serving
from tests.bridge_kill_runner import AGENCY
from tests.bridge_killing import PLACES, finish, kill_once, loaded
from tests.bridge_world import client_with, cluster

SEED = 1
MANY = 20_000  # more than a hundred kills make


def test_a_bridge_killed_ten_times_under_load_keeps_its_promises(tmp_path: Path) -> None:
    """At each place and at random, both ways, on the same topics: nothing is missing, and repeats share their ids."""
    rng = random.Random(SEED)
    with loaded(cluster(), tmp_path) as load:
        for place in (*PLACES, "publish: at random"):
            assert kill_once(load, place, rng) == []
        assert finish(load) == []


def test_the_stand_in_for_the_hub_answers_at_once_however_much_was_delivered(tmp_path: Path) -> None:
    """Else bridges are late because of it, and a long run of kills counts that against them."""
    key = new_key()
    (tmp_path / "key").write_bytes(key.as_pem(private=True))
    with serving() as hub:
        hub.keys[AGENCY] = OKPKey.import_key(public_jwk(key))
        one = {"specversion": "1.0", "source": "urn:hub", "type": "test.visit", "kind": "data", "data": {}}
        hub.outbox = [{**one, "id": f"{number:032x}", "number": number} for number in range(MANY)]
        hub.acknowledged = [each["id"] for each in hub.outbox[:-100]]
        with client_with(tmp_path / "key", hub.issuer, AGENCY) as client:
            client.pull()  # signs in
            began_s = monotonic()
            deliveries = client.pull().deliveries
            client.acknowledge(deliveries)
            assert monotonic() - began_s < 1.0
    assert len(deliveries) == 100
