"""Asks between agencies of the shipped catalogue, on an exchange of the protocol's tests: put, answered, read."""

from collections.abc import Mapping
from typing import Any

from hub.exchange.asked import find_ask
from hub.exchange.asks import Asked, NewAsk, ask
from hub.identity.people import NewLink, link
from hub.store.asks import AskRow
from tests.protocol_world import LINKER, Hub, Matter

BY_LAW = Matter(
    "licence-register", "police.licence", "traffic-police", "LICENCE-CHECK", "driver_id",
    {"categories": ["B"], "expiry": "2031-05-01", "number": "L-77", "penalties": ["none"]},
)  # fmt: skip
BY_CONSENT = Matter(
    "health-ministry", "health.fitness", "traffic-police", "LICENCE-RENEW", "driver_id",
    {"categories_fit": ["B"], "valid_until": "2031-05-01", "clinic": "North", "lab_results": ["secret"]},
)  # fmt: skip
BY_REQUEST = Matter(
    "health-insurance", "ins.cover", "child-card-centre", "CHILD-CARD", "insured_person_id",
    {"insured": True, "valid_until": "2031-05-01", "claims": ["a claim"]},
)  # fmt: skip


def known(hub: Hub, name: str = "A", matter: Matter = BY_LAW, *, level: int = 3) -> int:
    """Link a person at the provider, as `name`, and at the asker, as `asker/name`; returns the person."""
    person = hub.link(name, matter)
    said = link(hub.register, LINKER, [NewLink(matter.recipient, f"asker/{name}", f"R-{name}", level)])
    assert set(said) <= {"linked", "known"}, said
    return person


def put(hub: Hub, name: str = "A", matter: Matter = BY_LAW, **more: Any) -> Asked:
    """Ask about a person by the asker's own id; with an open case unless `case` says otherwise."""
    said = {"case": "visit-1", "fields": ()} | more
    return ask(hub.world, matter.recipient, NewAsk(f"asker/{name}", matter.purpose, matter.dataset, **said))


def questions(hub: Hub, matter: Matter = BY_LAW) -> list[dict[str, Any]]:
    """Drain the provider's feed; returns what is in it."""
    return hub.drain(matter._replace(recipient=matter.publisher))[0]


def answered(hub: Hub, asked: Asked, name: str = "A", matter: Matter = BY_LAW, **changed: Any) -> str:
    """Publish the provider's answer and decide it; returns its token."""
    aim: Mapping[str, Any] = {"answers": asked.row.public.hex()}
    token = hub.publish(f"answer-{asked.row.public.hex()[:6]}-{len(changed)}", name, matter, aim=aim, **changed)
    hub.decide()
    return token


def state(hub: Hub, asked: Asked, matter: Matter = BY_LAW) -> AskRow:
    return find_ask(hub.world, matter.recipient, asked.row.public.hex())
