"""What a recipient says it used of a delivery, and who reads it: the person, of their own fields, and nobody else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.world import Town, birth, link_family, town

pytestmark = pytest.mark.engines

CANARY = "Doe-Jane-1990"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Town]:
    """Run a hub with one family, whose child was born: a delivery is ready for family benefits."""
    with town(tmp_path) as running:
        link_family(running)
        (accepted,) = running.agency("civil-registry").publish([birth()]).accepted
        assert running.decided(accepted.token) == "handled"
        yield running


def handed_out(place: Town, handle: str) -> list[dict[str, Any]]:
    """Return what family benefits was handed of a person, as their own history has it."""
    with httpx.Client(base_url=place.url) as browser:
        browser.post("/dev/sign-in", json={"person": handle}).raise_for_status()
        entries = browser.get("/v1/me/history").json()["entries"]
    return [one for entry in entries if entry.get("recipient") == "family-benefits" for one in entry["handed_out"]]


def test_the_person_reads_which_of_the_released_fields_the_recipient_used(place: Town) -> None:
    """Each of their own fields: the child what was the child's, the parent what was the parent's."""
    (delivery,) = place.pull("family-benefits")
    place.agency("family-benefits").acknowledge([delivery], fields_used={delivery.id: ["parent_ids", "dob"]})
    (of_child,) = handed_out(place, "civil-registry:C-1")
    (of_parent,) = handed_out(place, "civil-registry:P-1")
    assert (of_child["fields"], of_child["used"]) == (["child_id", "dob"], ["dob"])
    assert (of_parent["fields"], of_parent["used"]) == (["parent_ids"], ["parent_ids"])


def test_a_recipient_that_does_not_say_is_not_said_to_have_used_nothing(place: Town) -> None:
    """Before the acknowledgement, and after one that names no field, nothing is known of its use."""
    (delivery,) = place.pull("family-benefits")
    assert [one["used"] for one in handed_out(place, "civil-registry:C-1")] == [None]
    place.agency("family-benefits").acknowledge([delivery])
    (handed,) = handed_out(place, "civil-registry:C-1")
    assert (handed["acknowledged"] is not None, handed["used"]) == (True, None)


def test_only_names_of_what_was_in_it_are_kept(place: Town) -> None:
    """What is kept is kept for ever, unsealed; whatever else somebody writes there goes nowhere, and is no error."""
    (delivery,) = place.pull("family-benefits")
    names = ["dob", CANARY, "birth_weight"]
    assert place.agency("family-benefits").acknowledge([delivery], fields_used={delivery.id: names}).acknowledged == 1
    assert [one["used"] for one in handed_out(place, "civil-registry:C-1")] == [["dob"]]
    with place.hub.store.read() as tx:
        bodies = tx.rows("SELECT i.body FROM handout h JOIN interned i ON i.id = h.used")
        assert bodies == [('["dob"]',)]
        assert not [body for (body,) in tx.rows("SELECT body FROM interned") if CANARY in body]


def test_a_page_says_of_each_delivery_what_was_used_of_it(place: Town) -> None:
    """Of many at once: the same of some, something else of one, nothing said of another; the first word counts."""
    benefits = place.agency("family-benefits")
    for number in "234":
        (accepted,) = place.agency("civil-registry").publish([birth(number)]).accepted
        assert place.decided(accepted.token) == "handled"
    page = place.pull("family-benefits")
    used = {one.id: names for one, names in zip(page, (["dob"], ["dob"], ["child_id"]), strict=False)}
    assert benefits.acknowledge(page, fields_used=used).acknowledged == 4
    assert benefits.acknowledge(page, fields_used={one.id: ["parent_ids"] for one in page}).already == 4
    said = {one["number"]: one["used"] for one in handed_out(place, "civil-registry:C-1")}
    assert said == {1: ["dob"], 2: ["dob"], 3: ["child_id"], 4: None}
