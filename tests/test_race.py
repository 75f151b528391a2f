"""A withdrawal that races gate or hand-out: whoever is first, the receipt is true and nothing leaves after it."""

from pathlib import Path

from tests.racing import SIDES, race

ROUNDS = 1_000


def test_nothing_leaves_after_a_withdrawal_that_raced_it(tmp_path: Path) -> None:
    """In a thousand races each side wins a tenth at least; the receipt names exactly what was opened before it."""
    won, wrong = race(tmp_path, rounds=ROUNDS, seed=20_261_102)
    print(dict(won))
    assert wrong == []
    assert sum(won.values()) == ROUNDS
    assert [side for side in SIDES if won[side] < ROUNDS / 2 / 10] == []
