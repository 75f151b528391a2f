"""Two agencies that put together everything they ever got find nothing in common that the hub issued."""

from collections.abc import Iterator
from typing import Any

import pytest

from hub.citizens.choices import grant_unasked
from hub.citizens.objections import object_to
from hub.citizens.withdraw import withdraw_it
from hub.exchange.feed import cloud_event
from hub.exchange.handout import hand_out
from hub.exchange.publish import Accepted, publish
from hub.identity.people import NewLink, link, person_of
from tests.joins import in_common, leaves, words
from tests.stateful_world import AGENCIES, DATASETS, NOTICE, Exchange, engines, signed_in

pytestmark = pytest.mark.engines

FREE = ("n", "d", "c", "p", *(f"s{at}" for at in range(100)))  # free content: no hub can keep it from being joined
PEOPLE = range(4)
RECIPIENTS = ("kinder", "fund", "tax")
OWN = {"kinder": "K", "fund": "F"}  # these two know some of the people by ids of their own


@pytest.fixture(scope="module")
def received(engine_set: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Any]]]:
    """All that each agency got: deliveries of every kind, the status tokens of its own events, its pages' numbers."""
    hub = Exchange(tmp_path_factory.mktemp("joins"))
    got: dict[str, list[Any]] = {code: [] for code in AGENCIES}
    ids = [introduce(hub, at) for at in PEOPLE]
    consents = [yes(hub, person, purpose) for person in ids for purpose in ("PLACE", "HELP")]
    for at in PEOPLE:
        got["register"] += send(
            hub, "birth", at, {"child_id": f"register-{at}", "note": "n", "phone": "p"} | guardian(at)
        )
        got["clinic"] += send(hub, "care", at, {"patient_id": f"clinic-{at}", "code": "c", "number": f"N-{at}"})
    again = send(hub, "care", 0, {"patient_id": "clinic-0", "code": "c", "number": "N-1"}, event_id="care-0")
    got["clinic"] += again
    settle(hub, got)
    withdraw_it(hub.desk, signed_in(ids[0]), consents[0])
    object_to(hub.desk, signed_in(ids[1]), recipient="tax", purpose="TELL")
    settle(hub, got)
    yield got
    hub.store.close()


def introduce(hub: Exchange, at: int) -> int:
    known = [*DATASETS.values()]
    links = [NewLink(agency, f"{agency}-{at}", f"linker-{at}", 3) for agency, _ in known]
    links += [NewLink(agency, f"{short}-{at}", f"linker-{at}", 3) for agency, short in OWN.items() if at % 2]
    assert set(link(hub.register, "linker", links)) == {"linked"}
    with hub.store.read() as tx:
        person = person_of(tx, hub.keys, "linker", f"linker-{at}")
    assert person is not None
    return person


def yes(hub: Exchange, person: int, purpose: str) -> str:
    recipient = {"PLACE": "kinder", "HELP": "fund"}[purpose]
    return grant_unasked(
        hub.desk, signed_in(person), recipient=recipient, purpose=purpose, items=None, notice=NOTICE
    ).consent


def guardian(at: int) -> dict[str, str]:
    return {"guardian_id": f"register-{(at + 1) % len(PEOPLE)}"}


def send(hub: Exchange, dataset: str, at: int, data: dict[str, str], *, event_id: str = "") -> list[Any]:
    agency = DATASETS[dataset][0]
    envelope = {
        "specversion": "1.0", "id": event_id or f"{dataset}-{at}", "source": f"urn:agency:{agency}", "type": dataset,
        "subject": f"{agency}-{at}", "time": "2027-01-15T00:00:00Z", "data": data | {"serial": f"s{at}"},
    }  # fmt: skip
    (outcome,) = publish(hub.publishing, agency, [envelope])
    assert isinstance(outcome, Accepted)
    return [{"token": outcome.token}]


def settle(hub: Exchange, got: dict[str, list[Any]]) -> None:
    while hub.gate.step(0.0) is not None or not hub.gate.idle():
        pass
    for code in AGENCIES:
        page = hand_out(hub.world, code, 500)
        keys = hub.open_keys.of([part.person for one in page.opened for part in one.parts])
        got[code] += [cloud_event(one, keys, hub.keys.wrapping) for one in page.opened]


def aside() -> set[str]:
    return words(engines()[0]) | set(FREE)


def test_nothing_that_the_hub_issued_is_in_two_agencies_hands(received: dict[str, list[Any]]) -> None:
    """Ids of deliveries, subjects, persons named inside, aliases, status tokens, notices: joined, all pairs."""
    assert in_common(received, aside=aside()) == []


def test_there_was_something_to_join(received: dict[str, list[Any]]) -> None:
    """Several recipients heard of the same people, by name, with references and identifiers inside, and of stops."""
    for code, keys in (
        ("kinder", {"child_id", "guardian_id", "number", "subject"}),
        ("fund", {"number"}),
        ("tax", {"number"}),
    ):
        assert {key for key, _ in leaves(received[code])} >= keys | {"subject", "id"}
    kinds = {code: {one.get("kind") for one in got} for code, got in received.items()}
    assert "stop" in kinds["kinder"]
    assert "stop" in kinds["tax"]
    assert "notice" in kinds["clinic"]


def test_no_publishers_own_id_reaches_a_recipient(received: dict[str, list[Any]]) -> None:
    """Neither a local id nor an identifier of the publisher's is in any delivery."""
    sent = {f"{agency}-{at}" for agency, _ in DATASETS.values() for at in PEOPLE} | {f"N-{at}" for at in PEOPLE}
    for code in RECIPIENTS:
        assert not sent & {text for _, text in leaves(received[code])}


def test_a_recipient_names_a_person_the_same_each_time(received: dict[str, list[Any]]) -> None:
    """Pairwise is not random: the four people have four names at each recipient, whatever the event."""
    for code in RECIPIENTS:
        subjects = {one["subject"] for one in received[code]}
        assert len(subjects) == len(PEOPLE), code


@pytest.mark.parametrize("key", ["id", "subject"])
def test_a_shared_id_is_found(received: dict[str, list[Any]], key: str) -> None:
    """Planted: one agency's name of a delivery or a person in another one's hands."""
    stolen = received["kinder"][0][key]
    planted = {**received, "tax": [*received["tax"], {"data": {"refs": [{"deep": stolen}]}}]}
    assert in_common(planted, aside=aside()) == [("kinder", "tax", stolen)]


def test_a_shared_internal_number_is_found(received: dict[str, list[Any]]) -> None:
    """Planted: the hub's own number of a person, which never leaves."""
    planted = {code: [*got, {"person": 1 << 50}] if code in ("fund", "tax") else got for code, got in received.items()}
    assert in_common(planted, aside=aside()) == [("fund", "tax", str(1 << 50))]
