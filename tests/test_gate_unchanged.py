"""What the gate looks at again under its fences tells every change of what its decisions rely on.

On SQLite a count of changes says so; where several processes write nobody can count, and reading all of it again costs
more than deciding does. A change that this look misses would be a release on facts that are over.
"""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from hub.exchange.gate import Facts, read_facts, unchanged
from hub.exchange.intake import Taken, open_record, take
from hub.identity.people import NewLink, dispute, link, settle, unlink
from tests.protocol_world import CONSENT, LINKER, OBJECTION, Hub, opened

UNCOUNTED = -1  # equal to no count of changes: what is looked at has to tell

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one


def taken_of(hub: Hub) -> list[Taken]:
    """Poll what was published and open it, as the gate does."""
    world, found = hub.world, []
    for polled in hub.bus.poll(10, 0.0).records:
        plain = open_record(polled.record, world.day_key)
        assert plain is not None
        event = take(world.keys, world.catalogue, world.datasets, polled.record.topic, plain)
        assert event is not None
        found.append(event)
    assert found
    return found


def stands(hub: Hub, taken: list[Taken], facts: Facts) -> bool:
    return hub.store.write(lambda tx: unchanged(tx, taken, facts, read_at=UNCOUNTED))


def read(hub: Hub, taken: list[Taken]) -> Facts:
    with hub.store.read() as tx:
        return read_facts(tx, taken)


def relink(hub: Hub, *, level: int = 3, born: date = date(2023, 5, 1)) -> None:
    """Say the same link again, with another level or date of birth."""
    link(hub.register, LINKER, [NewLink(CONSENT.publisher, "A", "R-A", level, born)])


def _doubted(hub: Hub) -> None:
    for act in (dispute, settle):
        act(hub.register, agency=CONSENT.publisher, local_id="A")


ACTS: dict[str, Callable[[Hub, int, str], object]] = {
    "withdrawn": lambda hub, person, consent: hub.withdraw(person, consent),
    "paused": lambda hub, person, consent: hub.pause(person, consent),
    "objected": lambda hub, person, _: hub.object(person, OBJECTION),
    "erased": lambda hub, person, _: hub.erase(person),
    "born otherwise": lambda hub, _, __: relink(hub, born=date(2022, 5, 1)),
    "linked worse": lambda hub, _, __: relink(hub, level=1),
    "known elsewhere": lambda hub, _, __: link(
        hub.register, LINKER, [NewLink(CONSENT.recipient, "L-1", "R-A", 3, date(2023, 5, 1))]
    ),
    "unlinked": lambda hub, _, __: unlink(hub.register, agency=CONSENT.publisher, local_id="A"),
    "disputed": lambda hub, _, __: dispute(hub.register, agency=CONSENT.publisher, local_id="A"),
    "disputed and settled": lambda hub, _, __: _doubted(hub),
    "suspended": lambda hub, _, __: hub.suspend(),
    "forbidden": lambda hub, _, __: hub.forbid(),
}


@pytest.mark.parametrize("act", ACTS)
def test_whatever_changes_what_a_decision_relies_on_is_seen(hub: Hub, act: str) -> None:
    """Each act that a person, a register, an officer or an operator can do to it."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("e1")
    taken = taken_of(hub)
    before = read(hub, taken)
    assert stands(hub, taken, before)
    ACTS[act](hub, person, consent)
    assert not stands(hub, taken, before)


def test_a_link_that_was_not_there_is_seen(hub: Hub) -> None:
    """It has no fence yet: nobody knew whose it would be."""
    hub.publish("e1", "B")
    taken = taken_of(hub)
    before = read(hub, taken)
    hub.link("B")
    assert not stands(hub, taken, before)


def test_an_event_that_was_parked_meanwhile_is_seen(hub: Hub) -> None:
    """The next one of its chain may not overtake it."""
    hub.publish("e1", "C")
    taken = taken_of(hub)
    before = read(hub, taken)
    hub.bus.rewind()
    hub.decide()
    assert not stands(hub, taken, before)


def test_what_concerns_somebody_else_leaves_it_standing(hub: Hub) -> None:
    """Or two gates would make each other decide everything anew."""
    hub.grant(hub.link("A"))
    other = hub.link("D")
    hub.publish("e1")
    taken = taken_of(hub)
    before = read(hub, taken)
    hub.grant(other)
    assert stands(hub, taken, before)
