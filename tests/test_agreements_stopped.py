"""Either side stops an agreement at once, with the barrier's force; it goes on when whoever stopped it says so."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency_adapters import agreements as theirs
from agency_adapters.errors import HubProblem
from hub.core.errors import HubError
from hub.exchange.agreements import move, move_agency
from hub.exchange.officers import invented_keys
from hub.store.facts import AGENCY_FENCE, AGREEMENT_FENCE
from tests.interleaving import Doing, paused
from tests.protocol_world import CONSENT, opened
from tests.protocol_world import Hub as Exchange
from tests.signing_world import CODE, NUMBER, PROVIDER, RECIPIENT, SMALLER, STRANGER, Signing, changed
from tests.stores import meddle
from tests.world import agree, birth, link_family, town

pytestmark = pytest.mark.engines


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Signing]:
    with town(tmp_path) as running:
        yield Signing(running, invented_keys(tmp_path))


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    with opened(tmp_path) as one:
        yield one


def test_either_side_suspends_and_only_it_resumes_its_own(place: Signing) -> None:
    """In force again only when everybody who suspended it has resumed; each act has its audit row and fence."""
    link_family(place.town)
    before = place.epoch(AGREEMENT_FENCE, NUMBER)
    assert place.post(RECIPIENT, "suspend").json() == {"code": CODE, "phase": "suspended"}
    assert place.last_act() == {
        "act": "suspend", "agreement": NUMBER, "by": 3, "from": "in_force", "to": "suspended",
    }  # fmt: skip
    refused = place.post(PROVIDER, "resume")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "suspension-not-yours")
    assert place.post(PROVIDER, "suspend").status_code == 200
    assert place.post(PROVIDER, "suspend").status_code == 409
    assert [one["by"] for one in place.view(PROVIDER)["suspended_by"]] == [RECIPIENT, PROVIDER]
    assert place.post(RECIPIENT, "resume").json()["phase"] == "suspended"
    assert place.received("1") == []
    move(place.town.hub.agreements, CODE, "suspend")  # the operator as well
    assert place.post(PROVIDER, "resume").json()["phase"] == "suspended"
    assert move(place.town.hub.agreements, CODE, "resume")["phase"] == "in_force"
    assert place.received("2") == [{"child_id", "dob", "parent_ids"}]
    assert place.epoch(AGREEMENT_FENCE, NUMBER) == before + 6


def test_a_suspension_outlives_signatures_and_new_versions(place: Signing) -> None:
    """Signing is not resuming: whoever stopped it has to let it go on."""
    place.post(RECIPIENT, "suspend")
    place.town.hub.approve(changed(place.town.hub.approved(), **SMALLER))
    assert place.phase() == "suspended"
    assert [place.sign(agency)["phase"] for agency in (PROVIDER, RECIPIENT)] == ["suspended", "suspended"]
    assert place.post(RECIPIENT, "resume").json()["phase"] == "in_force"


def test_resumed_it_is_in_force_only_if_it_is_signed(place: Signing) -> None:
    """A suspension that ends leaves what was missing before."""
    place.post(RECIPIENT, "suspend")
    place.town.hub.approve(changed(place.town.hub.approved(), **SMALLER))
    assert place.post(RECIPIENT, "resume").json()["phase"] == "unsigned"


def test_a_stranger_is_told_that_there_is_no_such_agreement(place: Signing) -> None:
    """Reading, signing, suspending, resuming, ending: the same answer as for one that does not exist."""
    place.proposed()
    before = place.rows()
    for act, body in (("suspend", None), ("resume", None), ("end", None), ("signatures", {"jws": place.jws(STRANGER)})):
        answers = [place.post(STRANGER, act, body, code=code) for code in (CODE, "AGR-999")]
        assert [one.status_code for one in answers] == [404, 404]
        assert answers[0].content == answers[1].content
    with pytest.raises(HubProblem) as refused:
        place.view(STRANGER)
    assert refused.value.problem.code == "agreement-unknown"
    listed = theirs.agreements(place.town.agency(STRANGER).channel)
    assert listed
    assert all(STRANGER in (one["provider"], one["recipient"]) for one in listed)
    assert place.rows() == before


def test_either_side_ends_it_for_good(place: Signing) -> None:
    """Nothing brings it back: no resume, no signature, no new version of the same code."""
    assert place.post(PROVIDER, "end").json() == {"code": CODE, "phase": "ended"}
    assert [place.post(RECIPIENT, act).status_code for act in ("resume", "suspend", "end")] == [409, 409, 409]
    agree(place.town.hub, changed(place.town.hub.approved(), **SMALLER))
    assert place.phase() == "ended"


def test_a_whole_agency_is_suspended_by_the_operator_and_takes_part_again(place: Signing) -> None:
    """Its agreements stay as they are; nothing is released from or to it meanwhile."""
    link_family(place.town)
    desk, before = place.town.hub.agreements, place.epoch(AGENCY_FENCE, 3)
    move_agency(desk, RECIPIENT, "suspend")
    assert place.phase() == "agency_suspended"
    assert place.received("1") == []
    with pytest.raises(HubError) as refused:
        move_agency(desk, RECIPIENT, "suspend")
    assert refused.value.code == "agency-phase"
    move_agency(desk, RECIPIENT, "resume")
    assert place.epoch(AGENCY_FENCE, 3) == before + 2
    assert place.received("2") == [{"child_id", "dob", "parent_ids"}]
    for code, act in (("nobody", "suspend"), (RECIPIENT, "resume")):
        with pytest.raises(HubError):
            move_agency(desk, code, act)


# With the barrier's force.


def test_once_a_suspension_has_returned_nothing_under_it_is_handed_out(place: Signing) -> None:
    """What was ready stays behind, through the agencies' own door."""
    link_family(place.town)
    token = place.town.agency(PROVIDER).publish([birth("1")]).accepted[0].token
    assert place.town.decided(token) == "handled"
    theirs.suspend(place.town.agency(RECIPIENT).channel, CODE)
    assert place.town.pull(RECIPIENT) == ()
    assert theirs.resume(place.town.agency(RECIPIENT).channel, CODE)["phase"] == "in_force"


def test_a_suspension_waits_for_the_hand_out_that_is_committing_and_meets_every_later_one(exchange: Exchange) -> None:
    """It does not return while one that relied on the agreement may still commit."""
    person = exchange.link("A")
    exchange.grant(person)
    exchange.publish("1")
    exchange.publish("2")
    exchange.decide()
    with paused("handout.before_commit") as committing:
        handing = Doing(lambda: exchange.pull(limit=1))
        committing.reached()
        suspending = Doing(exchange.suspend)
        assert not suspending.returned()
        committing.go()
        suspending.result()
    assert len(handing.result().opened) == 1
    assert exchange.drain() == ([], 1)


def test_what_was_opened_before_a_suspension_gets_a_stop_when_it_would_come_again(exchange: Exchange) -> None:
    """Under its own number; the data does not go twice."""
    person = exchange.link("A")
    exchange.grant(person)
    exchange.publish("1")
    exchange.decide()
    (opened_before,) = exchange.pull().opened
    exchange.suspend()
    exchange.pass_by(61)
    events, _ = exchange.drain()
    assert [(event["kind"], event["number"]) for event in events] == [("stop", opened_before.number)]
    assert CONSENT.dataset not in json.dumps(events)


def test_an_agreement_from_before_signatures_resumes_as_it_was(place: Signing) -> None:
    """What an older hub had in force needs no signatures until its next version."""
    with place.town.hub.store.read() as tx:
        assert tx.one("SELECT signed FROM agreement_state WHERE number = 1") == (1,)
    hub = place.town.hub
    for one in ("signature", "proposal"):
        meddle(hub.store, hub.settings.store_path, f"DELETE FROM agreement_{one}")
    view = place.view(RECIPIENT)
    assert (view["phase"], view["approved"]["missing"]) == ("in_force", ["provider", "recipient"])
    place.post(RECIPIENT, "suspend")
    assert place.post(RECIPIENT, "resume").json()["phase"] == "in_force"
    assert place.sign(RECIPIENT)["phase"] == "in_force"  # and may be signed afterwards
    agree(place.town.hub, changed(place.town.hub.approved(), **SMALLER))
    assert place.phase() == "in_force"
