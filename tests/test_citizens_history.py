"""Who got my data, and who was refused it: releases, refusals, what was withheld, and what happened afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.citizens.choices import narrow_it, pause_it
from hub.citizens.history import NEWEST, Acted, Decided, history
from hub.citizens.objections import object_to
from hub.citizens.withdraw import withdraw_it
from hub.exchange.world import Limits
from tests.citizen_world import BIRTH, S, Town

pytestmark = pytest.mark.engines


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, limits=Limits(redeliver_us=60 * S))
    yield town
    town.store.close()


def decisions(town: Town, person: int, recipient: str) -> list[Decided]:
    found = history(town.desk, town.principal(person)).entries
    return [one for one in found if isinstance(one, Decided) and one.recipient == recipient]


def test_releases_refusals_and_what_was_withheld_are_all_there(town: Town) -> None:
    """One birth: the allowance got what the law names, the kindergarten was refused for want of consent."""
    child = town.person("child", "lindum", "civil-registry", "family-benefits")
    town.now_us += S
    town.birth()
    (allowed,) = decisions(town, child, "family-benefits")
    assert (allowed.outcome, allowed.fields, allowed.reasons) == ("release", ("child_id", "dob"), ())
    assert {"birth_weight", "hospital", "names"} <= set(allowed.withheld)
    assert (allowed.provider, allowed.dataset, allowed.purpose) == (
        "civil-registry",
        "civil.birth.registered",
        "FAM-ALLOW",
    )
    assert (allowed.moment_us, allowed.role, allowed.handed_out) == (town.now_us, "child", ())
    refused = next(one for one in decisions(town, child, "lindum") if one.purpose == "KINDER-PLACE")
    assert (refused.outcome, refused.fields) == ("refusal", ())
    assert "consent.none" in refused.reasons


def test_a_hand_out_says_when_it_was_opened_acknowledged_and_what_was_in_it(town: Town) -> None:
    """What went is less than what was decided, where the person narrowed in between."""
    person = town.person("patient", "health-region", "health-ministry")
    consent = town.ask("health-region", "patient", "CARE-PLAN")
    town.granted(person, consent)
    condition = {"code": "T-1", "clinical_status": "active", "onset_on": "2026-01-05"}
    town.publish("health-ministry", "health.condition", "patient", condition)
    left = [("health.condition", "code"), ("health.condition", "clinical_status")]
    narrow_it(town.desk, town.principal(person), consent, items=left)
    town.now_us += S
    (delivery,) = town.pull("health-region")
    opened_us = town.now_us
    (entry,) = [one for one in decisions(town, person, "health-region") if one.purpose == "CARE-PLAN"]
    (handed,) = entry.handed_out
    assert entry.fields == ("clinical_status", "code", "onset_month")
    assert (handed.fields, handed.delivery) == (("clinical_status", "code"), delivery["id"])
    assert (handed.opened_us, handed.acknowledged_us, handed.stopped) == (opened_us, None, False)
    town.now_us += S
    town.acknowledge("health-region", [delivery])
    (handed,) = decisions(town, person, "health-region")[0].handed_out
    assert handed.acknowledged_us == town.now_us


def test_what_was_stopped_after_it_was_opened_is_shown_as_such(town: Town) -> None:
    """It was handed out all the same, and its acknowledgement is the stop's."""
    child = town.person("child", "lindum", "civil-registry")
    consent = town.ask("lindum", "child", "KINDER-PLACE")
    town.granted(child, consent)
    town.birth()
    (delivery,) = town.pull("lindum")
    pause_it(town.desk, town.principal(child), consent)
    town.now_us += 61 * S
    town.pull("lindum")
    town.acknowledge("lindum", town.pull("lindum"))
    (entry,) = [one for one in decisions(town, child, "lindum") if one.purpose == "KINDER-PLACE"]
    (handed,) = entry.handed_out
    assert (handed.delivery, handed.stopped, handed.acknowledged_us) == (delivery["id"], True, None)
    assert handed.fields == ("dob_month",)


def test_everybody_sees_their_own_part_only(town: Town) -> None:
    """The parent of the event sees what was decided about the parent, and nothing of the child's."""
    child = town.person("child", "lindum", "civil-registry", "family-benefits")
    parent = town.person("parent", "civil-registry", "family-benefits")
    town.publish("civil-registry", "civil.birth.registered", "child", BIRTH | {"parent_ids": ["civil-registry/parent"]})
    (of_child,) = decisions(town, child, "family-benefits")
    (of_parent,) = decisions(town, parent, "family-benefits")
    assert (of_child.role, set(of_child.fields)) == ("child", {"child_id", "dob"})
    assert (of_parent.role, set(of_parent.fields)) == ("parent", {"parent_ids"})
    assert "dob" not in of_parent.withheld
    town.pull("family-benefits")
    (handed,) = decisions(town, parent, "family-benefits")[0].handed_out
    assert handed.fields == ("parent_ids",)


def test_ones_own_acts_and_links_are_in_it(town: Town) -> None:
    """Newest first: the objection, the withdrawal, the grant, the question, the links."""
    child = town.person("child", "lindum", "civil-registry")
    consent = town.ask("lindum", "child", "KINDER-PLACE")
    town.granted(child, consent)
    withdraw_it(town.desk, town.principal(child), consent)
    object_to(town.desk, town.principal(child), recipient="family-benefits", purpose="FAM-ALLOW")
    entries = [one for one in history(town.desk, town.principal(child)).entries if isinstance(one, Acted)]
    assert [one.said["act"] for one in entries] == ["object", "withdraw", "grant", "request", "linked", "linked"]
    assert [one.kind for one in entries] == ["consent"] * 4 + ["link"] * 2
    assert entries[1].said["consent"] == consent


def test_the_publishers_own_tags_are_shown(town: Town) -> None:
    """Its case and its officer, as opaque as they came."""
    child = town.person("child", "civil-registry")
    town.publish("civil-registry", "civil.birth.registered", "child", BIRTH, case="C-1", actor="desk 4")
    entries = history(town.desk, town.principal(child)).entries
    assert {(one.case, one.actor) for one in entries if isinstance(one, Decided)} == {("C-1", "desk 4")}


def test_pages_go_on_where_the_last_one_ended(town: Town) -> None:
    """Every row is there once, newest first, and the last page says that it is the last."""
    child = town.person("child", "lindum", "civil-registry")
    for _ in range(7):
        town.birth()
    seen: list[int] = []
    page = history(town.desk, town.principal(child), limit=3)
    while page.after is not None:
        seen += sorted({one.audit for one in page.entries}, reverse=True)
        page = history(town.desk, town.principal(child), after=page.after, limit=3)
    seen += sorted({one.audit for one in page.entries}, reverse=True)
    assert seen == sorted({row[0] for row in town.rows("SELECT audit FROM history WHERE person = ?", (child,))})[::-1]


def test_a_page_of_a_long_history_is_as_whole_as_a_short_one(town: Town) -> None:
    """Of a thousand events the newest and the oldest fifty each come with all that became of them."""
    child = town.person("child", "lindum", "civil-registry", "family-benefits")
    town.granted(child, town.ask("lindum", "child", "KINDER-PLACE"))
    (first,) = town.rows("SELECT max(id) + 1 FROM audit")
    for _ in range(10):
        for _ in range(100):
            town.publish_only("civil-registry", "civil.birth.registered", "child", BIRTH)
        town.decide()
        for agency in ("lindum", "family-benefits"):
            town.acknowledge(agency, town.pull(agency))
    for after in (NEWEST, first[0] + 50):
        page = history(town.desk, town.principal(child), after=after)
        entries = [one for one in page.entries if isinstance(one, Decided)]
        released = [one for one in entries if one.recipient in ("lindum", "family-benefits") and one.fields]
        assert len({one.audit for one in entries}) == 50
        assert len(released) == 2 * 50
        assert all(len(one.handed_out) == 1 and one.handed_out[0].acknowledged_us for one in released)
