"""The registers' door: a link that is undone, disputed or settled, and what becomes of that which rests on it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agency_adapters.results import Delivery
from hub.citizens.history import Acted, history
from hub.clock import system_clock
from hub.identity.people import person_of
from hub.identity.principal import Principal
from hub.store.facts import PERSON_FENCE
from tests.world import Town, birth, link, link_family, town, until

pytestmark = pytest.mark.engines

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


def person_at(place: Town, agency: str, local_id: str) -> int:
    with place.hub.store.read() as tx:
        person = person_of(tx, place.hub.register.keys, agency, local_id)
    assert person is not None
    return person


def epoch(place: Town, person: int) -> int:
    """Return the epoch of a person's fence."""
    with place.hub.store.read() as tx:
        row = tx.one("SELECT epoch FROM fence WHERE kind = ? AND subject = ?", (PERSON_FENCE, person))
    return int(row[0]) if row else 0


def acts_of(place: Town, person: int, agency: str) -> list[Mapping[str, Any]]:
    """Return what a person reads of their links at an agency, newest first."""
    entries = history(place.hub.citizens, Principal(person, person, "self", 3, "a session")).entries
    return [one.said for one in entries if isinstance(one, Acted) and one.said["agency"] == agency]


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
    register, mine = place.agency("population-register"), named("family-benefits", "FB-C-1")
    person = person_at(place, "family-benefits", "FB-C-1")
    before = epoch(place, person)
    acts = (register.settle, register.dispute, register.dispute, register.settle)
    assert [act(mine)[0]["status"] for act in acts] == ["known", "disputed", "known", "settled"]
    assert epoch(place, person) == before + 2
    said = [one["act"] for one in acts_of(place, person, "family-benefits")]
    assert said == ["settled", "disputed", "linked"]
    for act in (register.dispute, register.settle):
        (refused,) = act(named("family-benefits", "nobody"))
        assert refused["problem"]["type"].endswith("/link-unknown")


def test_linked_again_at_a_higher_level_a_purpose_that_needs_it_is_served(place: Town) -> None:
    """Refused at P1, released at P2; what was refused before stays refused."""
    register = place.agency("population-register")
    link_family(place, child="C-3", parent="P-3")
    (lowered,) = register.link([link("civil-registry", "C-3", "R-C-3", level=1)])
    born(place, "3a", child="C-3", parent="P-3")
    (raised,) = register.link([link("civil-registry", "C-3", "R-C-3", level=2)])
    (again,) = register.link([link("civil-registry", "C-3", "R-C-3", level=2)])
    assert [one["status"] for one in (lowered, raised, again)] == ["level-lowered", "level-raised", "known"]
    born(place, "3b", child="C-3", parent="P-3")
    assert [one.subject for one in place.pull("family-benefits")] == ["FB-C-1", "FB-C-3"]


@pytest.mark.parametrize("opened", [False, True], ids=["ready", "opened"])
def test_what_needs_a_higher_level_than_the_link_has_now_does_not_go(
    place: Town, pass_by: Callable[[], None], opened: bool
) -> None:
    """Decided at P3, lowered to P1: what was ready is gone, what was opened is stopped. At P2 it would have gone."""
    register = place.agency("population-register")
    numbers = [one.number for one in place.pull("family-benefits")] if opened else []
    register.link([link("civil-registry", "C-1", "R-C-1", level=1)])
    pass_by()
    assert kinds(place.pull("family-benefits")) == [("stop", number) for number in numbers]


def test_what_the_lowered_level_still_carries_goes(place: Town) -> None:
    """The allowance needs P2, and P2 it is."""
    place.agency("population-register").link([link("civil-registry", "C-1", "R-C-1", level=2)])
    assert kinds(place.pull("family-benefits")) == [("data", 1)]


def test_a_change_of_level_takes_the_persons_fence_and_is_in_their_history(place: Town) -> None:
    """As every change that a decision relies on; the same again is no change."""
    person = person_at(place, "civil-registry", "C-1")
    before, acts = epoch(place, person), len(acts_of(place, person, "civil-registry"))
    for level in (1, 1, 2):
        place.agency("population-register").link([link("civil-registry", "C-1", "R-C-1", level=level)])
    assert epoch(place, person) == before + 2
    newest = acts_of(place, person, "civil-registry")[:-acts]
    assert [(one["act"], one["level"]) for one in newest] == [("level-raised", 2), ("level-lowered", 1)]
