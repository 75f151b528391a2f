"""Why somebody got something or did not: the operator sees every reason, per recipient and person, and no person."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hub.citizens.withdraw import withdraw_it
from hub.core.errors import HubError
from hub.exchange.intake import event_hash
from hub.exchange.status import status_token
from hub.store.engine import Tx
from hub.web.why import explain
from tests.citizen_world import Town
from tests.test_serve import command, environment, serving

pytestmark = pytest.mark.engines

PARENT_BORN = date(1990, 5, 1)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    place = Town(tmp_path)
    yield place
    place.store.close()


def born(town: Town, *parents: str) -> int:
    """Link a child and its parents, and publish the birth; return the child."""
    child = town.person("child", "civil-registry", "lindum")
    for parent in parents:
        town.person(parent, "civil-registry", born=PARENT_BORN)
    birth = {"dob": "2026-10-20", "parent_ids": [f"civil-registry/{one}" for one in parents], "birth_weight": 3400}
    town.publish("civil-registry", "civil.birth.registered", "child", birth if parents else {"dob": "2026-10-20"})
    return child


def last(town: Town) -> dict[str, Any]:
    (found,) = explain(town.world, token="", last=1)
    return found


def of(found: dict[str, Any], recipient: str) -> dict[str, Any]:
    (one,) = [answer for answer in found["recipients"] if answer["recipient"] == recipient]
    return dict(one)


def test_every_recipient_and_person_of_a_decision_has_an_answer(town: Town) -> None:
    """Fields released, fields withheld and all reasons, per person in the order of their roles."""
    born(town, "mother", "father")
    found = last(town)
    assert found["dataset"] == "civil.birth.registered"
    assert found["persons"] == ["person 1 (child)", "person 2 (parent)", "person 3 (parent)"]
    assert {one["recipient"] for one in found["recipients"]} == {"family-benefits", "lindum", "health-insurance"}
    benefits = of(found, "family-benefits")
    assert benefits["outcome"] == "release"
    assert [one["released"] for one in benefits["persons"]] == [["child_id", "dob"], ["parent_ids"], ["parent_ids"]]
    assert "birth_weight" in benefits["persons"][0]["withheld"]
    lindum = of(found, "lindum")
    assert lindum["outcome"] == "refusal"
    assert "required.lost:dob_month" in lindum["reasons"]
    assert "consent.none" in lindum["persons"][0]["reasons"]


def test_no_id_and_no_value_of_a_person_is_shown(town: Town) -> None:
    """Persons are numbers and roles; neither anybody's id of them nor what was reported comes out."""
    child = born(town, "mother")
    text = json.dumps(last(town))
    for secret in ("civil-registry/", "R-child", "lindum/child", "2026-10-20", "3400", str(child), "p1."):
        assert secret not in text


def test_what_the_hand_out_stopped_is_said_with_its_own_reason(town: Town) -> None:
    """Decided as a release, withdrawn before it went: both are shown."""
    child = town.person("child", "civil-registry", "lindum")
    consent = town.ask("lindum", "child", "KINDER-PLACE")
    town.granted(child, consent)
    town.birth()
    assert of(last(town), "lindum")["then"] == ""
    withdraw_it(town.desk, town.principal(child), consent)
    for recipient in ("lindum", "lindum", "health-insurance"):  # lindum's first pull only learns that a rule is missing
        town.pull(recipient)
    found = last(town)
    assert (of(found, "lindum")["outcome"], of(found, "lindum")["then"]) == ("release", "refusal")
    assert "consent.withdrawn" in of(found, "lindum")["then_reasons"]
    assert of(found, "health-insurance")["then"] == "release"
    assert of(found, "family-benefits")["then"] == ""


def test_a_decision_is_found_by_its_events_token_and_by_a_deliverys_id(town: Town) -> None:
    """Also when others came later; a token of an event that was never decided finds nothing."""
    born(town)
    delivery = town.pull("family-benefits")[0]
    first = last(town)
    for _ in range(3):
        town.birth()
    event = event_hash(town.keys, "civil-registry", "urn:agency:civil-registry", "e-1")
    assert explain(town.world, token=status_token(town.keys, event, 1), last=1)[0]["entry"] == first["entry"]
    assert explain(town.world, token=delivery["id"], last=1)[0]["entry"] == first["entry"]
    assert last(town)["entry"] > first["entry"]
    never = event_hash(town.keys, "civil-registry", "urn:agency:civil-registry", "e-99")
    for token in (status_token(town.keys, never, 1), "0" * 32, "st1.forged"):
        with pytest.raises(HubError, match=r"no such event status|no decision is found"):
            explain(town.world, token=token, last=1)


def test_several_decisions_come_with_the_latest_at_the_end(town: Town) -> None:
    """As one reads a log."""
    born(town)
    town.birth()
    entries = [one["entry"] for one in explain(town.world, token="", last=5)]
    assert entries == sorted(entries)
    assert len(entries) == 2


def test_of_an_erased_person_nothing_is_kept(town: Town) -> None:
    """Their part of the decision is gone with their key, and that is said; the others' parts still stand."""
    child = born(town, "mother")

    def erase(tx: Tx) -> None:
        tx.run("UPDATE person SET erased_us = ?, key = NULL WHERE id = ?", (town.now_us, child))

    town.store.write(erase)
    town.world.open_keys.forget(child)
    found = last(town)
    assert (found["persons"][0], found["erased"]) == ("person 1 (erased)", 1)
    assert [one["person"] for one in of(found, "family-benefits")["persons"]] == ["person 2 (parent)"]


def test_the_command_says_it_in_words_with_and_without_a_running_hub(tmp_path: Path) -> None:
    """Over the operator's socket while a hub runs, by opening the store where none does."""
    environ = environment(tmp_path / "demo")
    with serving(environ, tmp_path):
        asked = command(environ, tmp_path, "why", "--last")
        assert (asked.returncode, asked.stdout.strip()) == (0, "Nothing was decided yet."), asked.stderr
    asked = command(environ, tmp_path, "why", "--last", "--json")
    assert json.loads(asked.stdout) == {"decisions": []}, asked.stderr
    asked = command(environ, tmp_path, "why")
    assert asked.returncode == 2
