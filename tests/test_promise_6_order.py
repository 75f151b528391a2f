"""Promise 6: in order per (subscription, dataset, person)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.promise_hub import restarted
from tests.protocol_world import LOOK_BACK, Hub, Matter, opened

pytestmark = pytest.mark.engines(whole=True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub without anybody."""
    with opened(tmp_path) as one:
        yield one


def codes(hub: Hub) -> list[str]:
    return [event["data"]["municipality_code"] for event in hub.drain()[0]]


def test_events_of_a_person_go_out_as_they_came_in(hub: Hub) -> None:
    """Over several batches, pages and a restart in between."""
    hub.grant(hub.link("A"))
    for at in range(6):
        hub.publish(str(at), municipality_code=f"M-{at}")
        if at == 2:
            hub.decide()
    first = [event["data"]["municipality_code"] for event in hub.read(hub.pull(limit=2))]
    hub.decide()
    after = restarted(hub)
    assert first + codes(after) == [f"M-{at}" for at in range(6)]
    after.close()


def test_a_later_event_does_not_overtake_one_that_waits_for_its_link(hub: Hub) -> None:
    """The link comes, the next event comes, and only then the waiting one is looked at."""
    hub.publish("1", municipality_code="M-1")
    hub.decide()
    hub.grant(hub.link("A"))
    hub.publish("2", municipality_code="M-2")
    hub.decide()
    assert codes(hub) == []
    while hub.gate.revisit() is not None:
        pass
    assert codes(hub) == ["M-1", "M-2"]


def test_another_person_waits_for_nobody(hub: Hub) -> None:
    """Order is per person: one who is not linked holds up no other."""
    hub.publish("1", "unknown")
    hub.grant(hub.link("A"))
    hub.publish("2", municipality_code="M-2")
    hub.decide()
    assert codes(hub) == ["M-2"]


@pytest.mark.parametrize("matter", [LOOK_BACK])
def test_what_was_held_goes_before_what_is_newer(hub: Hub, matter: Matter) -> None:
    """A grant lets the held one go, and the newer one only behind it."""
    person = hub.link("A", matter)
    hub.publish("1", matter=matter, at_risk=True)
    hub.decide()
    hub.grant(person, matter)
    hub.publish("2", matter=matter, at_risk=False)
    hub.decide()
    events = hub.drain(matter)[0]
    assert [(event["number"], event["data"]["at_risk"]) for event in events] == [(1, True), (2, False)]


def test_nothing_passes_what_is_held(hub: Hub) -> None:
    """Paused, resumed and paused again: the newer one is not handed out while the older is held."""
    person = hub.link("A", LOOK_BACK)
    consent = hub.grant(person, LOOK_BACK)
    hub.pause(person, consent)
    hub.publish("1", matter=LOOK_BACK, at_risk=True)
    hub.decide()
    hub.store.write(
        lambda tx: tx.run("UPDATE choice SET state = 2")
    )  # given again, and nobody has let go what was held
    hub.publish("2", matter=LOOK_BACK, at_risk=False)
    hub.decide()
    assert [state for _, state in hub.states(LOOK_BACK)] == [2, 1]
    assert hub.drain(LOOK_BACK)[0] == []
