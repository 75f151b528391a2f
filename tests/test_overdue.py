"""What a recipient was to confirm and did not: listed for the agency, and shown to the person whose data it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.citizens.history import Decided, HandedOut, history
from hub.web.agency import about_agency
from tests.protocol_world import CONSENT, Hub, opened, principal

pytestmark = pytest.mark.engines

DAY_S = 86_400


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one


def test_a_stop_that_nobody_confirmed_in_time_is_overdue_for_the_agency_and_the_person(hub: Hub) -> None:
    """The citizen's history says since when, and once it is confirmed, at what time."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("e1")
    hub.decide()
    hub.pull()
    hub.withdraw(person, consent)
    hub.pass_by(120)
    stops = hub.drain()[0]
    assert {one["kind"] for one in stops} == {"stop"}
    assert all("due" in one for one in stops)
    assert (stopped_of(hub, person).confirmed_us, stopped_of(hub, person).overdue_since_us) == (None, None)
    assert about_agency(hub.world, CONSENT.recipient)["overdue"] == []
    hub.pass_by(31 * DAY_S)
    late = stopped_of(hub, person)
    assert late.confirmed_us is None
    assert late.overdue_since_us is not None
    assert late.overdue_since_us < hub.clock()
    said = about_agency(hub.world, CONSENT.recipient)["overdue"]
    assert {(one["kind"], one["number"]) for one in said} == {("stop", one["number"]) for one in stops}
    hub.acknowledge(hub.pull())
    assert (stopped_of(hub, person).confirmed_us, stopped_of(hub, person).overdue_since_us) == (hub.clock(), None)
    assert about_agency(hub.world, CONSENT.recipient)["overdue"] == []


def stopped_of(hub: Hub, person: int) -> HandedOut:
    decided = [one for one in history(hub.desk, principal(person)).entries if isinstance(one, Decided)]
    (found,) = [one for entry in decided for one in entry.handed_out if one.stopped]
    return found
