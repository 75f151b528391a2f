"""What stops releases meets a hand-out: forced on the real code, in both orders, and raced at random.

An officer's suspension of an agreement, and the operator's `hub stop-release --agency`: once either has returned, no
hand-out under it commits any more.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.failpoints import disarm
from hub.stop_flag import STOP_FLAG, read_stops
from tests.interleaving import Doing, counting, paused
from tests.protocol_checks import faults
from tests.protocol_world import Hub, opened
from tests.racing_stops import (
    RESUMING,
    STOP,
    STOPPING,
    STOPS_SIDES,
    SUSPENSION,
    handed_out,
    race_stops,
    reading_the_flag,
)

ROUNDS = 400


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        reading_the_flag(one)
        one.grant(one.link("A"))
        for event in ("e1", "e2"):
            one.publish(event)
        one.decide()
        yield one
        disarm()
        assert faults(one) == []


@pytest.mark.parametrize("kind", [SUSPENSION, STOP])
@pytest.mark.parametrize("point", ["handout.begun", "handout.decided", "handout.before_commit", "store.before_commit"])
def test_it_does_not_return_before_the_hand_out_that_is_under_way(hub: Hub, kind: str, point: str) -> None:
    """Wherever that stands in its transaction: what it opens is on record when the stop returns, and no more comes."""
    with paused(point) as under_way:
        handing = Doing(lambda: pulled(hub, limit=1))
        under_way.reached()
        stopping = Doing(lambda: STOPPING[kind](hub))
        assert not stopping.returned()
        if kind == STOP:
            assert read_stops(hub.directory / STOP_FLAG).agencies  # the file is there, and does not suffice
        under_way.go()
        stopping.result()
        opened_then = handed_out(hub)
    assert handing.result() == opened_then
    assert opened_then == (0 if kind == STOP and point in ("handout.begun", "handout.decided") else 1)
    assert pulled(hub) == 0
    assert handed_out(hub) == opened_then


@pytest.mark.parametrize("kind", [SUSPENSION, STOP])
def test_a_hand_out_that_was_chosen_before_it_opens_nothing_behind_it(hub: Hub, kind: str) -> None:
    """Chosen on a snapshot from before, queued behind the stop's transaction: it goes by what holds after it."""
    with paused("store.before_commit") as ending, counting("store.queued") as queued:
        stopping = Doing(lambda: STOPPING[kind](hub))
        ending.reached()
        handing = Doing(lambda: pulled(hub))
        if kind == SUSPENSION:
            queued.wait(2)  # it has chosen: the agreement was in force in what it saw
        assert handed_out(hub) == 0
        ending.go()
        stopping.result()
    assert handing.result() == 0
    assert handed_out(hub) == 0
    RESUMING[kind](hub)
    assert pulled(hub) == (0 if kind == SUSPENSION else 2)  # refused stays refused; what was stopped only waited


def test_nothing_commits_after_a_stop_that_raced_it(tmp_path: Path) -> None:
    """Some hundred races, of which each side wins a tenth at least; what was stopped comes once, afterwards."""
    won, wrong = race_stops(tmp_path, rounds=ROUNDS, seed=20_261_125)
    print(dict(won))
    assert wrong == []
    assert sum(won.values()) == ROUNDS
    assert [side for side in STOPS_SIDES if won[side] < ROUNDS / 2 / 10] == []


def pulled(hub: Hub, limit: int = 500) -> int:
    """Pull once; say how much data came. A recipient that is stopped gets none."""
    try:
        return sum(one.kind == 1 for one in hub.pull(limit=limit).opened)
    except HubError as refused:
        if refused.code != "releases-stopped":
            raise
        return 0
