"""The registers' door: a link that is undone, disputed or settled, and what becomes of that which rests on it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agency_adapters.results import Delivery
from hub.citizens.history import Acted, history
from hub.clock import system_clock
from hub.identity.people import person_of
from hub.identity.principal import Principal
from hub.store.facts import PERSON_FENCE
from tests.world import Town, birth, link_family, town, until

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
    """Publish a birth and wait until the gate has seen it; return its token."""
    (accepted,) = place.agency("civil-registry").publish([birth(number, child=child, parents=(parent,))]).accepted
    place.decided(accepted.token)
    return accepted.token


def named(agency: str, local_id: str) -> list[dict[str, str]]:
    return [{"agency": agency, "local_id": local_id}]


def kinds(deliveries: tuple[Delivery, ...]) -> list[tuple[str, int]]:
    return [(one.kind, one.number) for one in deliveries]


EACH_LINK = pytest.mark.parametrize(
    ("agency", "local_id"),
    [("civil-registry", "C-1"), ("civil-registry", "P-1"), ("family-benefits", "FB-C-1")],
    ids=["the child's, at the publisher", "the parent's, at the publisher", "the child's, at the recipient"],
)


@EACH_LINK
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


@EACH_LINK
def test_what_rests_on_a_disputed_link_waits_and_goes_on_in_order_once_it_is_settled(
    place: Town, agency: str, local_id: str
) -> None:
    """Ready before or published since: nothing goes, nothing is lost, and each is named as the recipient knows it."""
    register = place.agency("population-register")
    assert register.dispute(named(agency, local_id))[0]["status"] == "disputed"
    token = born(place, "2")
    assert place.pull("family-benefits") == ()
    register.settle(named(agency, local_id))
    until(lambda: place.agency("civil-registry").status(token), lambda state: state == "handled")
    arrived = place.pull("family-benefits")
    assert [(one.subject, one.number) for one in arrived] == [("FB-C-1", 1), ("FB-C-1", 2)]


def test_a_later_delivery_does_not_pass_one_that_waits_for_a_dispute(place: Town) -> None:
    """Of the same child, without the parent whose link is disputed: it could go, and stays behind."""
    register = place.agency("population-register")
    register.dispute(named("civil-registry", "P-1"))
    alone = birth("2")
    del alone["data"]["parent_ids"]
    (accepted,) = place.agency("civil-registry").publish([alone]).accepted
    assert place.decided(accepted.token) == "handled"
    assert place.pull("family-benefits") == ()
    register.settle(named("civil-registry", "P-1"))
    assert ["parent_ids" in one.document["data"] for one in place.pull("family-benefits")] == [True, False]


def test_what_was_opened_before_the_dispute_comes_again_only_after_it(place: Town, pass_by: Callable[[], None]) -> None:
    """Under its number, as it was; acknowledged in between, it is settled like any."""
    register = place.agency("population-register")
    (delivery,) = place.pull("family-benefits")
    register.dispute(named("civil-registry", "C-1"))
    pass_by()
    assert place.pull("family-benefits") == ()
    register.settle(named("civil-registry", "C-1"))
    (again,) = place.pull("family-benefits")
    assert (again.id, again.number) == (delivery.id, delivery.number)


def test_what_waits_for_a_dispute_is_in_nobody_elses_way(place: Town) -> None:
    """However much of it stands before another person's delivery, that one goes, also in the smallest page."""
    for number in ("2", "3"):
        born(place, number)
    link_family(place, child="C-2", parent="P-2")
    born(place, "4", child="C-2", parent="P-2")
    place.agency("population-register").dispute(named("civil-registry", "C-1"))
    (delivery,) = place.agency("family-benefits").pull(1).deliveries
    assert delivery.subject == "FB-C-2"


def test_a_disputed_link_that_was_wrong_is_undone_and_nothing_of_it_goes(
    place: Town, pass_by: Callable[[], None]
) -> None:
    """Of what was opened before, a stop remains; linked again, the id is in doubt no more."""
    register = place.agency("population-register")
    (delivery,) = place.pull("family-benefits")
    born(place, "2")
    register.dispute(named("civil-registry", "C-1"))
    register.unlink(named("civil-registry", "C-1"))
    pass_by()
    (stop,) = place.pull("family-benefits")
    assert kinds((stop,)) == [("stop", delivery.number)]
    link_family(place)
    born(place, "3")
    assert [one.kind for one in place.pull("family-benefits")] == ["data"]


def test_a_dispute_takes_the_persons_fence_and_is_in_their_history_once(place: Town) -> None:
    """Said again it changes nothing and is told so; an id that is not linked has nothing to dispute or settle."""
    register, hub = place.agency("population-register"), place.hub
    mine = named("family-benefits", "FB-C-1")
    with hub.store.read() as tx:
        person = person_of(tx, hub.register.keys, "family-benefits", "FB-C-1")
    assert person is not None

    def epoch() -> int:
        with hub.store.read() as tx:
            row = tx.one("SELECT epoch FROM fence WHERE kind = ? AND subject = ?", (PERSON_FENCE, person))
        return int(row[0]) if row else 0

    before = epoch()
    acts = (register.settle, register.dispute, register.dispute, register.settle)
    assert [act(mine)[0]["status"] for act in acts] == ["known", "disputed", "known", "settled"]
    assert epoch() == before + 2
    entries = history(hub.citizens, Principal(person, person, "self", 3, "a session")).entries
    said = [one.said["act"] for one in entries if isinstance(one, Acted) and one.said["agency"] == "family-benefits"]
    assert said == ["settled", "disputed", "linked"]
    for act in (register.dispute, register.settle):
        (refused,) = act(named("family-benefits", "nobody"))
        assert refused["problem"]["type"].endswith("/link-unknown")
