"""The gauges that alarms rest on: what is held, halted, not acknowledged, ends or fills up; never about a person."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency_adapters.keys import new_key, public_jwk
from hub.app import Hub, build
from hub.clock import system_clock
from hub.exchange.intake import POISON
from hub.logs import open_log
from hub.metrics import render
from hub.parts import Part
from hub.settings import Settings
from hub.store.operations import held_oldest
from tests.agency_world import CANARY
from tests.citizen_world import DAY_US, Town
from tests.test_holds import contract
from tests.test_workers import Calendar, decide, put
from tests.world import birth, link_family, town

DAY_S = 86_400


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def hub(tmp_path: Path, calendar: Calendar) -> Iterator[Hub]:
    """A hub whose threads are not started: the test takes each step itself."""
    settings = Settings(mode="demo", data_dir=tmp_path, synchronous="OFF")
    one = build(settings, clock=calendar, log=open_log(clock=calendar, stream=io.StringIO()))
    yield one
    one.close()


def measured(hub: Hub, name: str, labels: str = "") -> float:
    hub.measure()
    found = re.search(rf"^{name}{re.escape(labels)} (\S+)$", render(hub.metrics).decode(), re.MULTILINE)
    assert found, name
    return float(found[1])


def test_how_long_the_oldest_halted_person_stands_still_is_measured(hub: Hub, calendar: Calendar) -> None:
    """From the event that cannot be decided on; an event that waits for a link halts nobody."""
    put(hub, birth("1", child=f"{CANARY}-1"))
    decide(hub)
    calendar.pass_days(1)
    assert measured(hub, "hub_oldest_halted_seconds") == 0
    hub.store.write(lambda tx: tx.run("UPDATE waiting SET local = ?", (POISON,)))
    assert measured(hub, "hub_oldest_halted_seconds") == DAY_S
    assert CANARY.encode() not in render(hub.metrics)


def test_how_long_a_recipient_does_not_acknowledge_is_measured(tmp_path: Path) -> None:
    """By recipient, from its oldest open delivery on."""
    ahead = [0]
    with town(tmp_path, clock=lambda: system_clock() + ahead[0]) as place:
        link_family(place)
        (said,) = place.agency("civil-registry").publish([birth()]).accepted
        place.decided(said.token)
        assert len(place.pull("family-benefits")) == 1
        ahead[0] = 3_600 * 1_000_000
        by = '{agency="family-benefits"}'
        assert 3_600 <= measured(place.hub, "hub_oldest_unacknowledged_seconds", by) < 3_660
        assert measured(place.hub, "hub_oldest_unacknowledged_seconds", '{agency="tax"}') == 0


def test_what_is_held_is_counted_and_since_when_the_oldest_is(tmp_path: Path) -> None:
    """Two deliveries that no consent covers yet: both count, and the first one's decision is the age."""
    place = Town(tmp_path)
    place.person("worker", "social-fund", "employment-service")
    began_us = place.clock()
    for _ in range(2):
        contract(place)
        place.now_us += DAY_US
    with place.store.read() as tx:
        assert held_oldest(tx) == (2, began_us)
    place.store.close()


def test_nothing_held_is_zero(hub: Hub) -> None:
    assert (measured(hub, "hub_held_deliveries"), measured(hub, "hub_oldest_held_seconds")) == (0, 0)


def test_keys_that_end_are_counted_by_whose_they_are(hub: Hub, calendar: Calendar) -> None:
    """An agency whose last key has ended can sign in no more; one with a successor is well."""
    for code in ("tax", "lindum"):
        hub.add_agency_key(code, {**public_jwk(new_key()), "kid": f"{code}-1"})
    hub.add_agency_key("tax", {**public_jwk(new_key()), "kid": "tax-2"})
    assert measured(hub, "hub_keys_ending", '{agency="lindum"}') == 0
    for code in ("tax", "lindum"):
        hub.end_agency_key(code, f"{code}-1")
    assert measured(hub, "hub_keys_ending", '{agency="lindum"}') == 1
    assert measured(hub, "hub_keys_ending", '{agency="tax"}') == 0
    calendar.pass_days(3)
    assert measured(hub, "hub_token_key_age_seconds") == 3 * DAY_S


def test_the_disk_and_what_keeps_the_hub_from_its_work_are_measured(hub: Hub) -> None:
    """Its threads were never started here: each is a reason. The disk has some room and a size."""
    assert measured(hub, "hub_troubles") == len(hub.troubles()) > 0
    assert 0 < measured(hub, "hub_disk_free_bytes") < measured(hub, "hub_disk_total_bytes")


def test_where_one_process_is_the_hub_no_part_is_missing(hub: Hub) -> None:
    """Each part has its series from the first scrape on, so that an alarm over it has data."""
    for part in Part:
        assert measured(hub, "hub_parts_missing", f'{{part="{part}"}}') == 0
