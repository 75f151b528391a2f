"""The registers' door: a link that is undone, and what becomes of that which rested on it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agency_adapters.results import Delivery
from hub.clock import system_clock
from tests.world import Town, birth, link_family, town

REDELIVER_S = 1


@pytest.fixture
def ahead_s() -> list[int]:
    """How far the hub's clock runs ahead; a test moves it."""
    return [0]


@pytest.fixture
def place(tmp_path: Path, ahead_s: list[int]) -> Iterator[Town]:
    """Run a hub with one family, whose child was born: a delivery is ready for family benefits."""

    def clock() -> int:
        return system_clock() + ahead_s[0] * 1_000_000

    with town(tmp_path, clock=clock, handout_redeliver_s=REDELIVER_S) as running:
        link_family(running)
        born(running, "1")
        yield running


@pytest.fixture
def pass_by(ahead_s: list[int]) -> Callable[[], None]:
    """Let pass what brings again what nobody acknowledged."""
    return lambda: ahead_s.__setitem__(0, ahead_s[0] + 2 * REDELIVER_S)


def born(place: Town, number: str, *, child: str = "C-1", parent: str = "P-1") -> str:
    """Publish a birth and wait for the gate; return the state."""
    (accepted,) = place.agency("civil-registry").publish([birth(number, child=child, parents=(parent,))]).accepted
    return place.decided(accepted.token)


def named(agency: str, local_id: str) -> list[dict[str, str]]:
    return [{"agency": agency, "local_id": local_id}]


def kinds(deliveries: tuple[Delivery, ...]) -> list[tuple[str, int]]:
    return [(one.kind, one.number) for one in deliveries]


@pytest.mark.parametrize(
    ("agency", "local_id"),
    [("civil-registry", "C-1"), ("civil-registry", "P-1"), ("family-benefits", "FB-C-1")],
    ids=["the child's, at the publisher", "the parent's, at the publisher", "the child's, at the recipient"],
)
def test_what_was_opened_under_an_undone_link_comes_as_a_stop(
    place: Town, pass_by: Callable[[], None], agency: str, local_id: str
) -> None:
    """Not acknowledged, it would have come again; a stop stands under its number, and is acknowledged like any."""
    benefits = place.agency("family-benefits")
    (delivery,) = place.pull("family-benefits")
    assert place.agency("population-register").unlink(named(agency, local_id))[0]["status"] == "undone"
    pass_by()
    (stop,) = place.pull("family-benefits")
    assert kinds((stop,)) == [("stop", delivery.number)]
    assert stop.document["data"] == {"stops": delivery.id}
    assert benefits.acknowledge([delivery]).already == 1  # it had arrived; the stop is still to be read
    assert benefits.acknowledge([stop]).acknowledged == 1
    pass_by()
    assert place.pull("family-benefits") == ()


def test_what_was_acknowledged_before_its_link_was_undone_is_not_stopped(
    place: Town, pass_by: Callable[[], None]
) -> None:
    """The recipient has it; what becomes of it there is not the hub's to say."""
    place.agency("family-benefits").acknowledge(place.pull("family-benefits"))
    place.agency("population-register").unlink(named("civil-registry", "C-1"))
    pass_by()
    assert place.pull("family-benefits") == ()
