"""Objecting to what the law allows: it stops FAM-ALLOW, at the gate and at the hand-out, until it is taken back."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from hub.citizens.inbox import consents
from hub.citizens.objections import object_to, take_back
from hub.citizens.receipts import own_receipt
from hub.core.errors import HubError
from tests.citizen_world import S, Town

pytestmark = pytest.mark.engines

ALLOWANCE = {"recipient": "family-benefits", "purpose": "FAM-ALLOW"}
ID = "family-benefits:FAM-ALLOW"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.store.close()


@pytest.fixture
def child(town: Town) -> int:
    return town.person("child", "civil-registry", "family-benefits")


def data(town: Town) -> list[str]:
    return [one["kind"] for one in town.pull("family-benefits")]


def test_an_objection_stops_what_the_law_allows(town: Town, child: int) -> None:
    """What lay ready is cancelled, what comes later is refused, and the recipient is told by a stop."""
    town.birth()
    ((epoch,),) = town.rows("SELECT epoch FROM fence WHERE kind = 1 AND subject = ?", (child,))
    receipt = orjson.loads(object_to(town.desk, town.principal(child), **ALLOWANCE))
    assert (receipt["state"], receipt["record"], receipt["opened_before"]) == ("objected", ID, [])
    assert receipt["moment_us"] == town.now_us
    assert town.rows("SELECT epoch FROM fence WHERE kind = 1 AND subject = ?", (child,)) == [(epoch + 1,)]
    (stop,) = town.pull("family-benefits")
    assert (stop["kind"], stop["subject"]) == ("stop", "family-benefits/child")
    assert stop["data"] == {"objection": "recorded", "purpose": "FAM-ALLOW", "since_us": town.now_us}
    town.acknowledge("family-benefits", [stop])
    town.birth()
    assert (data(town), town.queued("family-benefits")) == ([], [])


def test_objecting_again_gives_the_first_receipt(town: Town, child: int) -> None:
    """And writes nothing; what was opened before is named in it."""
    town.birth()
    (delivery,) = town.pull("family-benefits")
    who = town.principal(child)
    first = object_to(town.desk, who, **ALLOWANCE)
    assert [one["delivery"] for one in orjson.loads(first)["opened_before"]] == [delivery["id"]]
    audits = town.rows("SELECT count(*) FROM audit")
    town.now_us += S
    assert object_to(town.desk, who, **ALLOWANCE) == first
    assert town.rows("SELECT count(*) FROM audit") == audits
    assert own_receipt(town.desk, who, orjson.loads(first)["id"]) == first


def test_an_objection_can_be_taken_back_and_made_again(town: Town, child: int) -> None:
    """Each run counts what it opened for itself."""
    who = town.principal(child)
    object_to(town.desk, who, **ALLOWANCE)
    back = take_back(town.desk, who, ID)
    assert orjson.loads(back)["state"] == "none"
    assert take_back(town.desk, who, ID) == back
    town.birth()
    (_stop, delivery) = town.pull("family-benefits")
    assert set(delivery["data"]) == {"child_id", "dob"}
    again = orjson.loads(object_to(town.desk, who, **ALLOWANCE))
    assert [one["delivery"] for one in again["opened_before"]] == [delivery["id"]]


def test_only_a_law_that_knows_objection_can_be_objected_to(town: Town, child: int) -> None:
    """A consent is refused instead; a plain law says so; nobody else's use is found; nothing to take back is none."""
    who = town.principal(child)
    for recipient, purpose, code in (
        ("lindum", "KINDER-PLACE", "objection-not-possible"),
        ("school-board", "SCHOOL-PLACE", "objection-not-possible"),
        ("lindum", "FAM-ALLOW", "use-unknown"),
        ("nobody", "FAM-ALLOW", "use-unknown"),
    ):
        with pytest.raises(HubError) as refused:
            object_to(town.desk, who, recipient=recipient, purpose=purpose)
        assert refused.value.code == code
    for objection in (ID, "lindum:KINDER-PLACE", "nobody:FAM-ALLOW", "nonsense", ""):
        with pytest.raises(HubError) as refused:
            take_back(town.desk, who, objection)
        assert refused.value.code == "entry-unknown"


def test_the_uses_by_law_are_those_that_can_reach_the_person(town: Town, child: int) -> None:
    """Article, items, what is not given, and whether one may object; a provider who does not know them is left out."""
    (use,) = [one for one in consents(town.desk, town.principal(child), "en").by_law if one.objection == ID]
    assert (use.objectable, use.objected, use.offer.law) == (True, False, "Child Benefits Act 2024, article 7")
    assert [share.dataset for share in use.offer.shares] == ["civil.birth.registered"]  # not pay.account
    assert [one.field for one in use.offer.shares[0].items] == ["child_id", "dob", "parent_ids"]
    assert "birth_weight" in [one.field for one in use.offer.shares[0].withheld]
    school = [one for one in consents(town.desk, town.principal(child), "en").by_law if not one.objectable]
    assert {one.offer.refusal for one in school} <= {"refusal.none"}
    object_to(town.desk, town.principal(child), **ALLOWANCE)
    (use,) = [one for one in consents(town.desk, town.principal(child), "en").by_law if one.objection == ID]
    assert use.objected
    stranger = town.person("stranger", "lindum")
    assert ID not in [one.objection for one in consents(town.desk, town.principal(stranger), "en").by_law]
