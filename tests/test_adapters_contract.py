"""What every adapter owes, whatever it connects: all of it once, in order, through kills and a hub that is down.

Each runs against a real hub, behind a door that can break things (tests/adapters_contract_door.py). A new adapter is a
class and a row in tests/adapters_contract_ways.py. Webhook and drop folder, which the hub reaches by itself, have their
kill points in tests/test_adapters_contract_pushed.py.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import pytest

from agency_adapters.errors import AgencyError
from agency_adapters.keys import new_key, public_jwk
from tests.adapters_contract_door import ACKNOWLEDGES, PUBLISHES, UNKNOWN, Door, door_to
from tests.adapters_contract_ways import (
    KEY_FILE,
    PUBLISHER,
    PUBLISHING,
    RECEIVING,
    RECIPIENT,
    Arrived,
    Birth,
    ClientPublishes,
    client_for,
)
from tests.world import Town, link_family, town

ROWS, CHILDREN = 50, 5  # three requests of 20 rows
REDELIVER_S = 1
PATIENCE_S = 15.0
FAMILIES = count()
EACH_PUBLISHING = pytest.mark.parametrize("name", list(PUBLISHING))
EACH_RECEIVING = pytest.mark.parametrize("name", list(RECEIVING))
Keys = dict[str, bytes]


class Place:
    """A hub, the door before it, and a family of children that no other test knows."""

    def __init__(self, hub: Town, keys: Keys, door: Door, directory: Path) -> None:
        self.hub, self.door, self.directory = hub, door, directory
        self.family = f"F{next(FAMILIES)}-"
        self.children = [f"{self.family}{at}" for at in range(CHILDREN)]
        for child in self.children:
            link_family(hub, child=child, parent="P-1")
        for agency, pem in keys.items():
            (directory / agency).mkdir()
            (directory / agency / KEY_FILE).write_bytes(pem)
        self.clients = {agency: client_for(directory / agency, door.url, agency) for agency in keys}

    def births(self, first: int = 0, rows: int = ROWS) -> list[Birth]:
        """Make births, the children in turn; each has a day of its own, later than those before."""
        days = [(at, f"2026-{at // 28 + 1:02d}-{at % 28 + 1:02d}") for at in range(first, first + rows)]
        return [Birth(at, self.children[at % CHILDREN], day) for at, day in days]

    def add(self, name: str, rows: Sequence[Birth]) -> None:
        PUBLISHING[name](self.directory / PUBLISHER).add(rows)

    def publish(self, name: str) -> int:
        """Run a publishing adapter once; return how many rows were refused."""
        return PUBLISHING[name](self.directory / PUBLISHER).run(self.clients[PUBLISHER])

    def receive(self, name: str) -> list[Arrived]:
        """Run a receiving adapter once; return what it has stored so far of this test's family, and of stops."""
        receiving = RECEIVING[name](self.directory / RECIPIENT)
        receiving.run(self.clients[RECIPIENT])
        ours = f"FB-{self.family}"
        return [one for one in receiving.arrived() if one.kind != "data" or one.data["child_id"].startswith(ours)]

    def heard(self, name: str, enough: Callable[[list[Arrived]], bool]) -> list[Arrived]:
        """Receive until it is enough; whatever comes too much or twice is among it."""
        until_s = monotonic() + PATIENCE_S
        while not enough(arrived := self.receive(name)) and monotonic() < until_s:
            sleep(0.05)
        return arrived

    def heard_all_before(self, last: Birth, *, through: str = "pull") -> list[str]:
        """Publish one more with the plain client and hear until it arrives: the gate goes in order. Days, in order."""
        self.tell([last])
        days = [one.data["dob"] for one in self.heard(through, lambda found: last.dob in map(day_of, found))]
        assert days[-1] == last.dob
        return days[:-1]

    def tell(self, births: Sequence[Birth]) -> None:
        """Publish with the plain client and wait until the gate has decided."""
        (beside := self.directory / f"told-{births[0].number}").mkdir()
        plain = ClientPublishes(beside)
        plain.add(births)
        result = self.hub.agency(PUBLISHER).publish(plain.events())
        assert result.refused == ()
        assert self.hub.decided(result.accepted[-1].token) == "handled"

    def made(self, name: str, agency: str) -> None:
        """Have what an adapter needs made by this process: what the killed one made would go with it."""
        {**PUBLISHING, **RECEIVING}[name](self.directory / agency)

    def killed(self, name: str, agency: str) -> None:
        """Run an adapter in a process of its own, which the door kills."""
        self.made(name, agency)
        command = [
            sys.executable,
            "-m",
            "tests.adapters_contract_ways",
            name,
            str(self.directory / agency),
            self.door.url,
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            self.door.victim = process.pid
            process.communicate(b"go\n", timeout=60)
        assert process.returncode == -signal.SIGKILL
        self.door.reset()


def day_of(one: Arrived) -> str:
    return str(one.data.get("dob"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, Keys]]:
    """Run one hub for all; the two agencies' keys are registered."""
    with town(tmp_path_factory.mktemp("hub"), handout_redeliver_s=REDELIVER_S, quota_requests_burst=100_000) as running:
        keys = {PUBLISHER: new_key(), RECIPIENT: new_key()}
        for agency, key in keys.items():
            running.hub.add_agency_key(agency, public_jwk(key))
        yield running, {agency: key.as_pem(private=True) for agency, key in keys.items()}


@pytest.fixture
def place(hub: tuple[Town, Keys], tmp_path: Path) -> Iterator[Place]:
    with door_to(hub[0].url) as door:
        place = Place(*hub, door, tmp_path)
        yield place
        for client in place.clients.values():
            client.close()


def last(place: Place) -> Birth:
    return Birth(80_000, place.children[0], "2026-12-31")


@EACH_PUBLISHING
def test_every_row_that_is_published_arrives_once_and_in_order(place: Place, name: str) -> None:
    """Published, run again with nothing new, and again with more rows: nothing is lost, doubled or passed."""
    place.add(name, place.births())
    assert place.publish(name) == 0
    assert place.publish(name) == 0
    place.add(name, place.births(first=ROWS, rows=10))
    assert place.publish(name) == 0
    days = place.heard_all_before(last(place))
    assert days == [birth.dob for birth in place.births(rows=ROWS + 10)]


@pytest.mark.parametrize(("nth", "heard"), [(1, False), (1, True), (2, False), (3, True)])
@EACH_PUBLISHING
def test_a_publisher_that_is_killed_loses_and_doubles_nothing(place: Place, name: str, nth: int, heard: bool) -> None:
    """Killed when the hub has or has not heard the first, second or third request, and its answer never came."""
    place.add(name, place.births())
    place.door.kill_at = (PUBLISHES, nth, heard)
    place.killed(name, PUBLISHER)
    place.add(name, place.births(first=ROWS, rows=5))
    assert place.publish(name) == 0
    days = place.heard_all_before(last(place))
    assert days == [birth.dob for birth in place.births(rows=ROWS + 5)]


@EACH_PUBLISHING
def test_a_publisher_goes_on_where_the_hub_went_down(place: Place, name: str) -> None:
    """The hub answers one request and is down for the others; back again, the rest arrives and nothing twice."""
    place.add(name, place.births())
    place.door.down_after = 1
    with pytest.raises(AgencyError):
        place.publish(name)
    with pytest.raises(AgencyError):
        place.publish(name)
    place.door.reset()
    assert place.publish(name) == 0
    assert place.heard_all_before(last(place)) == [birth.dob for birth in place.births()]


@EACH_PUBLISHING
def test_a_row_that_is_refused_is_told_and_stops_no_other(place: Place, name: str) -> None:
    """One row of twenty is no date: it is counted as refused, the others arrive."""
    rows = place.births(rows=20)
    rows[7] = rows[7]._replace(dob="the 8th of January")
    place.add(name, rows)
    assert place.publish(name) == 1
    assert place.heard_all_before(last(place)) == [row.dob for row in rows if row is not rows[7]]


def published(place: Place, rows: int = ROWS) -> list[str]:
    """Have births published and decided; return their days."""
    place.tell(place.births(rows=rows))
    return [birth.dob for birth in place.births(rows=rows)]


@EACH_RECEIVING
def test_every_delivery_is_stored_once_and_each_persons_in_order(place: Place, name: str) -> None:
    """Received in several rounds, as they come."""
    days = published(place)
    assert place.heard_all_before(last(place), through=name) == days
    assert len(place.receive(name)) == ROWS + 1


@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "heard"])
@EACH_RECEIVING
def test_a_receiver_that_is_killed_at_its_acknowledgement_loses_and_doubles_nothing(
    place: Place, name: str, heard: bool
) -> None:
    """Stored, and killed before or after the hub has heard so: what comes again is acknowledged, not stored again."""
    days = published(place)
    place.door.kill_at = (ACKNOWLEDGES, 1, heard)
    place.killed(name, RECIPIENT)
    sleep(REDELIVER_S)
    arrived = place.heard_all_before(last(place), through=name)
    assert sorted(arrived) == days


@EACH_RECEIVING
def test_a_receiver_goes_on_when_the_hub_is_back(place: Place, name: str) -> None:
    """The hub goes down between the deliveries and their acknowledgement."""
    days = published(place)
    place.door.down_after = 0
    with pytest.raises(AgencyError):
        place.heard(name, lambda _: False)
    place.door.reset()
    sleep(REDELIVER_S)
    assert sorted(place.heard_all_before(last(place), through=name)) == days


@EACH_RECEIVING
def test_a_kind_that_is_not_known_is_not_acknowledged(place: Place, name: str) -> None:
    """It waits for a newer version; those beside it are stored and acknowledged."""
    published(place, rows=3)
    place.door.slips_in_unknown = True
    arrived = place.heard(name, lambda found: len(found) >= 3)
    assert {one.kind for one in arrived} == {"data"}
    assert UNKNOWN["id"] not in place.door.acknowledged
    assert {one.id for one in arrived} <= set(place.door.acknowledged)


@EACH_RECEIVING
def test_a_stop_arrives_after_what_it_ends(place: Place, name: str) -> None:
    """Stored, not yet acknowledged, and then the link is undone: the stop is stored too, and says what it ends."""
    published(place, rows=1)
    place.door.down_after = 0
    with pytest.raises(AgencyError):
        place.heard(name, lambda _: False)
    place.door.reset()
    undone = place.hub.agency("population-register").unlink([{"agency": PUBLISHER, "local_id": place.children[0]}])
    assert [one["status"] for one in undone] == ["undone"]
    arrived = place.heard(name, lambda found: any(one.kind == "stop" for one in found))
    data, stop = (next(one for one in arrived if one.kind == kind) for kind in ("data", "stop"))
    assert stop.data == {"stops": data.id}
    assert stop.id in place.door.acknowledged
