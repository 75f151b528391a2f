"""A hub that is killed at any moment, under load, keeps its promises: nothing lost, doubled, or without audit row."""

from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from tests.killing import PHASES, Promised, broken, kill_once

pytestmark = pytest.mark.engines

SEED = 20_261_102
TRIES = 3  # where another thread asked the policy first, or a slow machine erased nobody in time, none dies in a phase


def test_a_killed_hub_keeps_what_it_promised(tmp_path: Path) -> None:
    """Killed once in every named phase and restarted each time on what was left, it has kept every promise."""
    promised, died, runs = Promised(), Counter[str](), count()
    for phase in PHASES:
        for _ in range(TRIES):
            died[phase] += kill_once(tmp_path, promised, run=next(runs), seed=SEED, phase=phase)
            assert broken(tmp_path, promised) == [], phase
            if died[phase]:
                break
    print(dict(died))
    assert [phase for phase in PHASES if not died[phase]] == []
    assert len(promised.published) > 100
    assert promised.acknowledged
    assert promised.withdrawn
    assert promised.erased
    assert promised.asked
    assert promised.answers
