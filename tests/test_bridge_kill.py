"""A bridge that is killed under load loses nothing, and says nothing too early to either side."""

import random
from pathlib import Path

from tests.bridge_killing import PLACES, finish, kill_once, loaded
from tests.bridge_world import cluster

SEED = 1


def test_a_bridge_killed_ten_times_under_load_keeps_its_promises(tmp_path: Path) -> None:
    """At each place and at random, both ways, on the same topics: nothing is missing, and repeats share their ids."""
    rng = random.Random(SEED)
    with loaded(cluster(), tmp_path) as load:
        for place in (*PLACES, "publish: at random"):
            assert kill_once(load, place, rng) == []
        assert finish(load) == []
