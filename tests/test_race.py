"""A withdrawal that races gate or hand-out: whoever is first, the receipt is true and nothing leaves after it."""

from pathlib import Path

import pytest

from tests.racing import SIDES, race
from tests.stores import on_postgres

pytestmark = pytest.mark.engines

ROUNDS, ON_POSTGRES = 1_000, 300


def test_nothing_leaves_after_a_withdrawal_that_raced_it(tmp_path: Path) -> None:
    """In hundreds of races each side wins a tenth at least; the receipt names exactly what was opened before it."""
    rounds = ON_POSTGRES if on_postgres() else ROUNDS
    won, wrong = race(tmp_path, rounds=rounds, seed=20_261_102)
    print(dict(won))
    assert wrong == []
    assert sum(won.values()) == rounds
    assert [side for side in SIDES if won[side] < rounds / 2 / 10] == []
