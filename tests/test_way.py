"""Who stops a release goes first: what can wait stands still meanwhile, and holds the store for less."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest

from hub.core.leaf import LeafKind
from hub.exchange.gate import Gate
from hub.exchange.world import Limits
from hub.failpoints import arm, disarm
from hub.way import AT_MOST_S, PORTIONS, Way
from tests.citizen_world import Browser, Town
from tests.protocol_world import Hub, opened

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        disarm()


def test_work_stands_still_while_somebody_goes_first() -> None:
    """And goes on at once when they are through."""
    way, gone = Way(), Event()

    def work() -> None:
        way.give()
        gone.set()

    with way.first(), way.first():
        worker = Thread(target=work)
        worker.start()
        assert not gone.wait(AT_MOST_S / 3)
    assert gone.wait(10)
    worker.join()


def test_nobody_stands_still_where_nobody_goes_first() -> None:
    """Neither before nor after."""
    way = Way()
    with way.first():
        pass
    began_s = monotonic()
    for _ in range(1_000):
        way.give()
    assert monotonic() - began_s < 1_000 * AT_MOST_S / 10  # on however busy a machine


def test_work_goes_on_for_as_long_as_it_stood_still() -> None:
    """However many withdraw one after the other: half of the time is left for everybody else."""
    way = Way()
    took_s = []
    with way.first():
        for _ in range(3):
            way.give()  # for AT_MOST_S: they are slow
            began_s = monotonic()
            way.give()
            took_s.append(monotonic() - began_s)
    assert min(took_s) < AT_MOST_S / 2  # the least of three: a busy machine may take the thread away in between


def test_a_transaction_holds_less_while_releases_are_being_stopped() -> None:
    """Whoever withdraws next waits for the one that is running."""
    way = Way()
    assert way.portion(300) == 300
    with way.first():
        assert way.portion(300) == 300 // PORTIONS
    assert way.portion(300) == 300 // PORTIONS  # a little longer: where one came, another may
    assert way.portion(1) == 1


def test_a_page_in_portions_is_the_same_page(hub: Hub) -> None:
    """The same deliveries, numbers and order; each portion has its own audit row."""
    hub.grant(hub.link("A"))
    for number in range(9):
        hub.publish(f"e{number}")
    assert hub.decide().releases == 9
    with hub.world.way.first():
        page = hub.pull(limit=9)
    events = hub.read(page)
    assert [event["number"] for event in events] == list(range(1, 10))
    assert len({event["id"] for event in events}) == 9
    assert not hub.pull().opened
    assert hub.rows("SELECT count(*) FROM audit WHERE kind = ?", (LeafKind.HANDOUT.value,)) == [(PORTIONS,)]


def test_the_gate_decides_in_smaller_batches_while_events_come_in(hub: Hub) -> None:
    """A publisher's answer waits for the transaction that is running; what the gate leaves for later lies safe."""
    hub.grant(hub.link("A"))
    for number in range(9):
        hub.publish(f"e{number}")
    assert hub.publishing.intake.portion(9) == 9 // PORTIONS  # whoever publishes says so
    gate = Gate(replace(hub.world, limits=Limits(batch_events=9)))
    with hub.world.intake.first():
        gate.step(0.1)
        first = gate.finish()
    assert first is not None
    assert first.events == 9 // PORTIONS


@pytest.mark.parametrize("act", ["withdraw", "pause", "narrow"])
def test_what_stops_a_release_goes_first_and_a_grant_does_not(tmp_path: Path, act: str) -> None:
    """From the moment it is asked for until its answer is written."""
    town = Town(tmp_path)
    town.person("child", "lindum", "civil-registry", "family-benefits")
    town.ask("lindum", "child", "KINDER-PLACE")
    browser = Browser(town.app())
    browser.sign_in("child")
    portions: list[int] = []
    arm("store.queued", lambda: portions.append(town.world.way.portion(PORTIONS)))
    try:
        (request,) = browser.get("/v1/me/inbox").json()["requests"]
        consent = f"/v1/me/consents/{request['consent']}"
        assert browser.post(f"{consent}/grant").status_code == 200
        assert set(portions) == {PORTIONS}
        portions.clear()
        kept = [{"dataset": "civil.birth.registered", "field": "dob_month"}]
        assert browser.post(f"{consent}/{act}", {"items": kept} if act == "narrow" else None).status_code == 200
        assert set(portions) == {1}
    finally:
        disarm()
        town.store.close()
