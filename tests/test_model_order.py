"""The model's counterexamples about ids, numbers, order, progress and stretches (I4, I5, I8, I9), row by row."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.exchange.world import Limits
from hub.failpoints import disarm
from tests.interleaving import Doing, paused
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, LOOK_BACK, Hub, later_agreement, opened, shipped

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        disarm()
        assert faults(one) == []


def test_id_with_version(hub: Hub, tmp_path: Path) -> None:
    """A newer version of the agreement gives the same event the same delivery id (I4)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    hub.decide()
    (first,) = hub.pull().opened
    renewed = later_agreement(shipped()[0], CONSENT, 2)
    with opened(tmp_path / "renewed", catalogue=renewed) as other:
        other.grant(other.link("A"))
        other.publish("e1")
        other.decide()
        (again,) = other.pull().opened
    assert again.public == first.public
    assert (first.version, again.version) == (1, 2)


def test_no_recipient_lock(hub: Hub) -> None:
    """Two hand-outs to one recipient at once open nothing twice and share no number (I4)."""
    hub.grant(hub.link("A"))
    for event in ("e1", "e2", "e3"):
        hub.publish(event)
    hub.decide()
    with paused("handout.decided") as deciding:
        first = Doing(lambda: hub.pull(limit=2))
        deciding.reached()
        second = Doing(lambda: hub.pull(limit=2))
        assert not second.returned()
        deciding.go()
        pages = [first.result(), second.result()]
    assert [[one.number for one in page.opened] for page in pages] == [[1, 2], [3]]
    assert len({one.public for page in pages for one in page.opened}) == 3


def test_new_number_each_time(hub: Hub) -> None:
    """What was not acknowledged comes again under the same id and the same number (I4)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    hub.decide()
    first = hub.read(hub.pull())
    assert hub.pull().opened == ()  # it is on its way, and not sent twice at once
    hub.pass_by(3600)
    assert hub.read(hub.pull()) == first
    hub.publish("e2")
    hub.decide()
    assert [one.number for one in hub.pull().opened] == [2]


def test_held_after_newer(hub: Hub) -> None:
    """What was held goes before what came after the grant (I5)."""
    person = hub.link("A", LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK, at_risk=False)
    assert hub.decide().holds == 1
    hub.publish("e2", "A", LOOK_BACK, at_risk=True)
    hub.grant(person, LOOK_BACK)
    assert hub.decide().releases == 1
    assert [event["data"]["at_risk"] for event in hub.drain(LOOK_BACK)[0]] == [False, True]


def test_any_ready_row(hub: Hub) -> None:
    """Of a person's events the earlier goes first, however few are asked for at a time (I5)."""
    hub.grant(hub.link("A"))
    for code in ("M-1", "M-2", "M-3"):
        hub.publish(code, municipality_code=code)
    hub.decide()
    taken = [event["data"]["municipality_code"] for _ in range(3) for event in hub.read(hub.pull(limit=1))]
    assert taken == ["M-1", "M-2", "M-3"]


def test_waiting_is_overtaken(hub: Hub) -> None:
    """An event that waits for its link is not overtaken by a later one of the same person that finds it (I5)."""
    hub.publish("e1", municipality_code="M-1")
    assert hub.decide().parked == 1
    hub.grant(hub.link("A"))
    hub.publish("e2", municipality_code="M-2")
    assert hub.decide().parked == 1  # linked, and still behind the first
    while hub.gate.revisit():
        pass
    assert [event["data"]["municipality_code"] for event in hub.drain()[0]] == ["M-1", "M-2"]


def test_a_long_waiting_list_moves_on(tmp_path: Path) -> None:
    """More events of one person than a batch holds leave the waiting list, in order (I8)."""
    with opened(tmp_path, limits=Limits(batch_events=2)) as small:
        for code in ("M-1", "M-2", "M-3"):
            small.publish(code, municipality_code=code)
        assert small.decide().parked == 3
        small.grant(small.link("A"))
        assert [small.gate.revisit() is not None for _ in range(3)] == [True, True, False]
        assert [event["data"]["municipality_code"] for event in small.drain()[0]] == ["M-1", "M-2", "M-3"]


def test_link_wakes_by_itself(hub: Hub) -> None:
    """A link asked for while the gate lists the event as waiting comes after it, and the workers find it then (I8)."""
    hub.publish("e1")
    with paused("gate.decided") as deciding:
        parking = Doing(hub.decide)
        deciding.reached()
        linking = Doing(lambda: hub.link("A"))
        assert not linking.returned()
        deciding.go()
        assert parking.result().parked == 1
        person = linking.result()
    hub.grant(person)
    revisited = hub.gate.revisit()
    assert revisited is not None
    assert revisited.releases == 1
    assert len(hub.drain()[0]) == 1


def test_grant_revives(hub: Hub) -> None:
    """What a withdrawal stopped stays stopped under a later grant, whether a hand-out looked in between or not (I9)."""
    person = hub.link("A")
    for looked in (False, True):
        consent = hub.grant(person)
        hub.publish(f"e{looked}")
        assert hub.decide().releases == 1
        hub.withdraw(person, consent)
        kinds = [event["kind"] for event in hub.drain()[0]] if looked else []
        again = hub.grant(person)
        kinds += [event["kind"] for event in hub.drain()[0]]
        assert kinds == ["stop"]
        hub.withdraw(person, again)
        hub.drain()


def test_look_back_revives(hub: Hub) -> None:
    """Under look-back what a withdrawal stopped is held, and a later grant opens it (I9, and its exception)."""
    person = hub.link("A", LOOK_BACK)
    consent = hub.grant(person, LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    hub.decide()
    hub.withdraw(person, consent)
    assert [event["kind"] for event in hub.drain(LOOK_BACK)[0]] == ["stop"]
    hub.grant(person, LOOK_BACK)
    assert [event["kind"] for event in hub.drain(LOOK_BACK)[0]] == ["data"]


def test_what_was_held_again_can_be_acknowledged(hub: Hub) -> None:
    """An acknowledgement that comes after the delivery was held again settles it: it is not sent once more (I8)."""
    person = hub.link("A", LOOK_BACK)
    consent = hub.grant(person, LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    hub.decide()
    page = hub.pull(LOOK_BACK)
    hub.pause(person, consent)
    hub.pass_by(3600)
    hub.drain(LOOK_BACK)
    assert hub.acknowledge(page, LOOK_BACK).acknowledged == 1
    hub.resume(person, consent)
    assert hub.drain(LOOK_BACK) == ([], 0)
