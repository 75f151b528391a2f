"""Promise 5: nothing acknowledged is lost; no recipient gets a thing twice under two ids."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.exchange.world import Limits
from hub.failpoints import arm, disarm
from hub.store.deliveries import DeliveryKind
from tests.promise_hub import REDELIVER_S, crashing, restarted
from tests.protocol_world import Hub, opened

pytestmark = pytest.mark.engines(whole=True)

GATE = ("gate.polled", "gate.prepared", "gate.begun", "gate.decided", "gate.before_commit", "gate.committed")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that knows one person, who has said yes."""
    with opened(tmp_path) as one:
        one.grant(one.link("A"))
        yield one


@pytest.mark.parametrize("point", GATE)
def test_an_accepted_event_survives_a_crash_of_the_gate_anywhere(hub: Hub, point: str) -> None:
    """It is decided once, and delivered once, whenever the crash came."""
    hub.publish("1")
    after = crashing(hub, point, hub.decide)
    after.decide()
    assert len(after.drain()[0]) == 1
    assert after.rows("SELECT count(*) FROM audit WHERE kind = 1") == [(1,)]
    after.close()


def test_what_is_accepted_is_on_disk(hub: Hub) -> None:
    """A restart right after the answer finds it."""
    hub.publish("1")
    after = restarted(hub)
    assert after.decide().releases == 1
    after.close()


def test_a_repeat_is_dropped_before_and_after_it_was_decided(hub: Hub) -> None:
    """Same source, same id, same content: one delivery."""
    hub.publish("1")
    hub.publish("1")
    assert hub.decide().repeats == 1
    hub.publish("1")
    assert hub.decide().repeats == 1
    assert len(hub.drain()[0]) == 1


def test_other_content_under_the_same_id_is_a_conflict(hub: Hub) -> None:
    """The first content counts, and the publisher is told."""
    hub.publish("1")
    hub.publish("1", municipality_code="M-8")
    assert hub.decide().conflicts == 1
    (event,) = hub.drain()[0]
    assert event["data"] == {"municipality_code": "M-7"}
    assert hub.rows("SELECT count(*) FROM delivery WHERE kind = 6") == [(1,)]


def test_bytes_that_were_lost_come_again_under_the_same_id_and_number(hub: Hub) -> None:
    """The hand-out committed, and the answer never arrived."""
    hub.publish("1")
    hub.decide()
    after = crashing(hub, "handout.committed", hub.pull)
    assert after.pull().opened == ()
    after.pass_by(REDELIVER_S)
    (first,) = after.pull().opened
    after.pass_by(REDELIVER_S)
    (again,) = after.pull().opened
    assert (first.public, first.number) == (again.public, again.number)
    after.close()


def test_what_is_acknowledged_never_comes_again(hub: Hub) -> None:
    """Nor does a second acknowledgement do anything."""
    hub.publish("1")
    hub.decide()
    page = hub.pull()
    assert hub.acknowledge(page) == (1, 0)
    assert hub.acknowledge(page) == (0, 1)
    hub.pass_by(REDELIVER_S)
    assert hub.drain() == ([], 0)


def test_what_was_stopped_before_its_acknowledgement_came_is_not_settled_by_it(tmp_path: Path) -> None:
    """Not even where both happened within one pull. The answer counts it apart, and the stop comes, and settles it."""
    with opened(tmp_path, limits=Limits(page=3)) as hub:
        first, second = hub.link("A"), hub.link("B")
        late, early = hub.grant(first), hub.grant(second)
        for event, name in (("1", "A"), ("2", "B"), ("3", "A")):
            hub.publish(event, name)
        hub.decide()
        hub.withdraw(second, early)  # so the first portion is not full, and a second one follows

        def meanwhile() -> None:
            disarm()
            hub.pass_by(REDELIVER_S)  # what the first portion opened is due again
            hub.withdraw(first, late)

        arm("handout.committed", meanwhile)
        page = hub.pull()
        assert [one.number for one in page.opened] == [1, 2]
        assert hub.acknowledge(page) == (1, 1)
        assert hub.rows("SELECT number FROM handout WHERE acked_us IS NULL") == [(1,)]
        stops = hub.pull()  # of both withdrawals, and of what the first portion had opened
        assert [(one.number, one.kind) for one in stops.opened][-1] == (1, DeliveryKind.STOP)
        assert hub.acknowledge(stops) == (3, 0)
        assert hub.rows("SELECT number FROM handout WHERE acked_us IS NULL") == []


def test_an_id_follows_from_the_event_and_nothing_else(tmp_path: Path) -> None:
    """Two hubs with the same root key give the same event the same delivery id: a replay elsewhere doubles nothing."""
    ids = []
    for name in ("one", "two"):
        with opened(tmp_path / name) as hub:
            hub.grant(hub.link("A"))
            hub.publish("1")
            hub.decide()
            ids.append(hub.read(hub.pull())[0]["id"])
    assert ids[0] == ids[1]
