"""Each write that names its fences waits for exactly those: on PostgreSQL nothing else keeps two of them apart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from hub.exchange.gate import chain_of
from hub.store.engine import Fences, Key, Tx
from hub.store.facts import BUS_LOCK, CHAIN_LOCK, PERSON_FENCE, RECIPIENT_LOCK, SESSION_LOCK, raise_fence
from hub.store.positions import Superseded
from tests import stores
from tests.interleaving import Doing, doing_at
from tests.protocol_world import CONSENT, OBJECTION, Hub, opened

A_WHILE_S = 0.3


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    stores.server()
    stores.use(stores.REAL)
    try:
        with opened(tmp_path) as one:
            yield one
    finally:
        stores.use(stores.EMBEDDED)
        stores.drop_all()


@contextmanager
def held(hub: Hub, fences: Fences) -> Iterator[None]:
    """Let another transaction hold these as long as the block runs."""
    begun, over = Event(), Event()

    def hold(_tx: Tx) -> None:
        begun.set()
        over.wait(10.0)

    holding = Doing(lambda: hub.store.write(hold, fences=fences))
    assert begun.wait(5.0)
    try:
        yield
    finally:
        over.set()
        holding.result()


def waits(hub: Hub, fences: Fences, act: Callable[[], Any]) -> bool:
    """Do something while another transaction holds these; say whether it had to wait."""
    with held(hub, fences):
        doing = Doing(act)
        waited = not doing.returned(A_WHILE_S)
        if not waited:
            doing.result()
    doing.result()
    return waited


def relies(*keys: Key) -> Fences:
    return Fences(relies=keys)


def changes(*keys: Key) -> Fences:
    return Fences(changes=keys)


def recipient(hub: Hub) -> int:
    return hub.catalogue.agencies[CONSENT.recipient].number


def test_the_gate_relies_on_the_persons_of_its_batch(hub: Hub) -> None:
    """Not on others; and two that rely on the same person do not wait for each other."""
    person, other = hub.link("A"), hub.link("B")
    hub.grant(person)
    for number, (fences, expected) in enumerate(
        [
            (changes((PERSON_FENCE, person)), True),
            (relies((PERSON_FENCE, person)), False),
            (changes((PERSON_FENCE, other)), False),
            (changes((RECIPIENT_LOCK, recipient(hub)), (BUS_LOCK, 0), (SESSION_LOCK, 0)), False),
        ]
    ):
        hub.publish(f"e{number}")
        assert waits(hub, fences, hub.decide) is expected, fences


def test_the_gate_has_the_chains_of_its_events_to_itself(hub: Hub) -> None:
    """Who parks behind a waiting event uses its key, which whoever lets that event go destroys."""
    hub.publish("e1", "nobody")
    hub.decide()
    ((subject,),) = hub.rows("SELECT subject FROM waiting")
    hub.publish("e2", "nobody")
    assert waits(hub, relies((CHAIN_LOCK, chain_of(subject))), hub.decide)
    assert len(hub.rows("SELECT 1 FROM waiting")) == 2


def test_a_batch_whose_event_was_linked_meanwhile_is_taken_up_again(hub: Hub) -> None:
    """The person was not among those it had named; the events wait on the bus, and go in the next round."""
    hub.publish("e1")
    with doing_at("gate.prepared", lambda: hub.link("A")), pytest.raises(Superseded):
        hub.decide()
    assert hub.rows("SELECT 1 FROM event_seen UNION ALL SELECT 1 FROM waiting") == []
    assert hub.decide().events == 1


def test_the_hand_out_relies_on_the_persons_of_its_page_and_has_its_recipient_to_itself(hub: Hub) -> None:
    person, other = hub.link("A"), hub.link("B")
    hub.grant(person)
    for number, (fences, expected) in enumerate(
        [
            (changes((PERSON_FENCE, person)), True),
            (relies((PERSON_FENCE, person)), False),
            (relies((RECIPIENT_LOCK, recipient(hub))), True),
            (changes((PERSON_FENCE, other), (RECIPIENT_LOCK, recipient(hub) + 1)), False),
        ]
    ):
        hub.publish(f"e{number}")
        hub.decide()
        assert waits(hub, fences, hub.pull) is expected, fences


def test_an_acknowledgement_has_its_recipient_to_itself_and_relies_on_nobody(hub: Hub) -> None:
    person = hub.link("A")
    hub.grant(person)
    for number, (fences, expected) in enumerate(
        [(changes((PERSON_FENCE, person)), False), (relies((RECIPIENT_LOCK, recipient(hub))), True)]
    ):
        hub.publish(f"e{number}")
        hub.decide()
        page = hub.pull()
        assert waits(hub, fences, lambda page=page: hub.acknowledge(page)) is expected, fences  # type: ignore[misc]  # each its own


def test_a_citizens_act_waits_for_who_relies_on_that_person_and_for_nobody_else(hub: Hub) -> None:
    """Grant, pause, resume, withdraw, object: beside everything that is about others."""
    person, other, third = hub.link("A"), hub.link("B"), hub.link("C", OBJECTION)
    consent: list[str] = []
    acts: list[tuple[int, Callable[[], Any]]] = [
        (person, lambda: consent.append(hub.grant(person))),
        (person, lambda: hub.pause(person, consent[0])),
        (person, lambda: hub.resume(person, consent[0])),
        (person, lambda: hub.withdraw(person, consent[0])),
        (third, lambda: hub.object(third)),
    ]
    for who, act in acts:
        assert waits(hub, relies((PERSON_FENCE, who)), act)
    again = hub.grant(person)
    others = changes((PERSON_FENCE, other), (RECIPIENT_LOCK, recipient(hub)), (BUS_LOCK, 0))
    assert not waits(hub, others, lambda: hub.withdraw(person, again))


def test_publishing_waits_for_no_decision(hub: Hub) -> None:
    """Only publishes follow each other, so that offsets do."""
    person = hub.link("A")
    hub.publish("e1")
    assert not waits(hub, changes((PERSON_FENCE, person), (RECIPIENT_LOCK, recipient(hub))), lambda: hub.publish("e2"))
    assert waits(hub, relies((BUS_LOCK, 0)), lambda: hub.publish("e3"))


def test_a_fence_that_was_not_named_cannot_be_raised(hub: Hub) -> None:
    """Whoever relied on it was not excluded; a write that names none may raise any."""
    with pytest.raises(AssertionError, match="not this one"):
        hub.store.write(lambda tx: raise_fence(tx, PERSON_FENCE, 7), fences=changes((PERSON_FENCE, 8)))
    assert hub.store.write(lambda tx: raise_fence(tx, PERSON_FENCE, 7), fences=changes((PERSON_FENCE, 7))) == 1
    assert hub.store.write(lambda tx: raise_fence(tx, PERSON_FENCE, 7)) == 2
