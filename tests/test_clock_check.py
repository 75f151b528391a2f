"""A clock that is off: by it consents would end too late or too early, so nothing is released until it is set right."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hub.app import Hub, build
from hub.clock import system_clock
from hub.core.errors import HubError, Kind
from hub.exchange.clock_check import ClockCheck, off_by
from hub.exchange.gate import Gate
from hub.exchange.handout import hand_out
from hub.exchange.publish import Accepted, publish
from hub.identity.day_keys import LOCAL
from hub.identity.keys import read_key_file
from hub.identity.people import NewLink, link
from hub.operations import doctor
from hub.settings import Settings
from hub.web.apps import public_app
from tests import stores
from tests.doors import client_of
from tests.world import birth

S = 1_000_000
HOUR_US, DAY_US = 3_600 * S, 86_400 * S


@dataclass
class Clock:
    """The machine's clock, moved by what a test says."""

    off_us: int = 0

    def __call__(self) -> int:
        return system_clock() + self.off_us


@dataclass
class House:
    """A hub whose threads do not run, with one family linked."""

    hub: Hub
    clock: Clock
    births: int = field(default=0)

    def published(self) -> None:
        self.births += 1
        (said,) = publish(self.hub.desk, "civil-registry", [birth(str(self.births))])
        assert isinstance(said, Accepted), said

    def decided(self) -> int:
        gate = Gate(self.hub.world)
        gate.step(0.2)
        done = gate.finish()
        return done.events if done else 0

    def pulled(self) -> int:
        return len(hand_out(self.hub.world, "family-benefits", 100).opened)

    def ready(self) -> str:
        return client_of(public_app(self.hub)).get("/readyz").text


@pytest.fixture(params=[stores.EMBEDDED, stores.REAL])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    stores.use(request.param)
    clock = Clock()
    given = stores.settings_of(tmp_path) | {"clock_off_max_s": 30}
    settings = Settings(mode="development", data_dir=tmp_path, synchronous="OFF", **given)
    hub = build(settings, clock=clock)
    try:
        people = [("civil-registry", "C-1"), ("civil-registry", "P-1"), ("family-benefits", "FB-1")]
        links = [NewLink(agency, one, "R-C-1" if one != "P-1" else "R-P-1", 3) for agency, one in people]
        assert set(link(hub.register, "population-register", links)) == {"linked"}
        yield House(hub, clock)
    finally:
        hub.close()
        stores.use(stores.EMBEDDED)
        stores.drop_all()


def refused(act: object) -> str:
    """Return in which words an act is refused for the clock."""
    assert callable(act)
    with pytest.raises(HubError) as caught:
        act()
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "clock-off")
    return caught.value.what


def test_a_clock_that_went_back_releases_nothing_until_it_is_set_right(house: House) -> None:
    """Gate and hand-out wait, `/readyz` says it in words; what was published is decided and handed out afterwards."""
    house.published()
    assert house.decided() == 1
    house.published()
    house.clock.off_us = -HOUR_US
    assert "behind" in refused(house.decided)
    assert "behind" in refused(house.pulled)
    assert "behind" in house.ready()
    house.clock.off_us = 0
    assert house.decided() == 1
    assert house.pulled() == 2
    assert "clock" not in house.ready()


def test_less_than_the_limit_is_no_trouble(house: House) -> None:
    """Machines differ by seconds."""
    house.published()
    house.clock.off_us = -20 * S
    assert house.decided() == 1
    assert house.pulled() == 1


def test_a_clock_ahead_of_the_databases_releases_nothing(house: House) -> None:
    """An hour ahead consents would seem over, and keys be destroyed too early. SQLite has no other clock to ask."""
    house.published()
    house.clock.off_us = HOUR_US
    if house.hub.store.path is not None:
        assert house.decided() == 1
        return
    assert refused(house.decided) == "the hub's clock is 3600 s ahead of the store's; nothing is released"
    assert "ahead of the store's" in house.ready()
    house.clock.off_us = 0
    assert house.decided() == 1


def test_a_wrong_clock_destroys_no_keys(house: House) -> None:
    """Retention waits as well: eight days ahead the intake's keys would go, with what is not decided yet."""
    from threading import Event

    house.published()
    if house.hub.threads.leases is not None:
        house.hub.threads.leases.start()  # of several processes one lets go
    house.hub.threads.retention._step(Event())
    assert day_keys(house.hub) > 0
    before = day_keys(house.hub)
    house.clock.off_us = 30 * DAY_US if house.hub.store.path is None else -DAY_US
    with pytest.raises(HubError) as caught:
        house.hub.threads.retention._step(Event())
    assert caught.value.code == "clock-off"
    assert day_keys(house.hub) == before


def test_a_wrong_clock_destroys_no_copies_of_keys_either(house: House) -> None:
    """Each process of a hub has its own, and a store that was restored knows the youngest from nowhere else."""
    from threading import Event

    house.published()
    house.hub.threads.own_keys._step(Event())
    before = set(house.hub.local_store.names(LOCAL))
    assert before
    house.clock.off_us = 30 * DAY_US if house.hub.store.path is None else -DAY_US
    with pytest.raises(HubError) as caught:
        house.hub.threads.own_keys._step(Event())
    assert caught.value.code == "clock-off"
    assert set(house.hub.local_store.names(LOCAL)) >= before


def day_keys(hub: Hub) -> int:
    with hub.store.read() as tx:
        return int(tx.rows("SELECT count(*) FROM day_key")[0][0])


def test_a_jump_between_two_looks_is_noticed_without_asking_the_store(house: House) -> None:
    """By the machine's other clock, which only goes on: inside a transaction nothing is looked up."""
    check: ClockCheck = house.hub.timely
    check.require()
    check.require_still()
    house.clock.off_us = 40 * S
    assert "moved" in refused(check.require_still)
    house.clock.off_us = 0
    check.require_still()


def test_doctor_holds_the_clock_against_the_databases(house: House) -> None:
    """And against the last audit row, whichever store it is."""
    settings = house.hub.settings
    for off_us, levels in ((0, {"PASS"}), (-HOUR_US, {"FAIL"})):
        house.clock.off_us = off_us
        found, _ = doctor.store(settings, read_key_file(settings.key_path), house.clock)
        assert {one.level for one in found if one.check == "clock"} == levels


NOW_US, MOST_US = 1_800_000_000 * S, 30 * S
CASES = [
    ("in step", 0, NOW_US, NOW_US, ""),
    ("no other clock", 0, 0, NOW_US, ""),
    ("at the limit", 30 * S, NOW_US, NOW_US, ""),
    ("ahead", 31 * S, NOW_US, NOW_US, "the hub's clock is 31 s ahead of the store's"),
    ("behind", -31 * S, NOW_US, 0, "the hub's clock is 31 s behind the store's"),
    ("hours ahead", 3 * HOUR_US, NOW_US, NOW_US, "the hub's clock is 3 h ahead of the store's"),
    ("went back", -31 * S, 0, NOW_US, "the hub's clock is 31 s behind the last entry of the audit log"),
    ("never set", -NOW_US, 0, 0, ""),
]


@pytest.mark.parametrize(
    ("off_us", "store_us", "last_us", "said"), [row[1:] for row in CASES], ids=[c[0] for c in CASES]
)
def test_how_far_it_is_off_is_said(off_us: int, store_us: int, last_us: int, said: str) -> None:
    """Against the store's clock first, then against the log."""
    now_us = NOW_US + off_us
    assert off_by(now_us, now_us, store_us, last_us, MOST_US) == said
