"""A question is decided before it is put, put to one provider, answered once, to one asker, with what was asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.core.leaf import LeafKind
from hub.exchange.asked import ask_as_json, no_answer
from hub.exchange.asks import NewAsk, ask
from hub.identity.people import NewLink, dispute, link
from hub.store.aims import AskState
from hub.web.why import explain
from tests.asks_world import BY_CONSENT, BY_LAW, BY_REQUEST, answered, known, put, questions, state
from tests.protocol_checks import faults
from tests.protocol_world import LINKER, Hub, S, opened

pytestmark = pytest.mark.engines

DAY_S = 86_400


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        assert faults(one) == []


# The way of a question and its answer.


def test_the_provider_reads_who_is_meant_by_its_own_id_and_what_is_asked_for(hub: Hub) -> None:
    """And what for, for whom, until when; no value, and not the asker's case."""
    known(hub)
    asked = put(hub, fields=("expiry",), case="secret-case")
    (question,) = questions(hub)
    assert (question["kind"], question["type"], question["ask"]) == ("ask", "hub.ask", asked.row.public.hex())
    assert question["subject"] == "A"
    assert question["data"]["fields"] == ["expiry"]
    assert (question["data"]["asker"], question["data"]["dataset"]) == ("traffic-police", "police.licence")
    assert question["data"]["deadline"] == "2026-11-03T09:00:00Z"
    assert "secret-case" not in repr(question)


def test_the_answer_reaches_the_asker_alone_with_what_was_asked_for_alone(hub: Hub) -> None:
    """The provider's event holds more, and others subscribe to the dataset."""
    known(hub)
    asked = put(hub, fields=("expiry",))
    questions(hub)
    answered(hub, asked)
    (answer,), _ = hub.drain(BY_LAW)
    assert (answer["kind"], answer["ask"], answer["subject"]) == ("data", asked.row.public.hex(), "asker/A")
    assert answer["data"] == {"expiry": "2031-05-01"}
    assert state(hub, asked).state == AskState.ANSWERED
    assert hub.rows("SELECT count(*) FROM queue WHERE state = 1") == [(0,)]


def test_an_ask_without_fields_asks_for_all_that_is_agreed(hub: Hub) -> None:
    """And for nothing else: what the agreement lacks does not come."""
    known(hub)
    asked = put(hub)
    answered(hub, asked)
    (answer,), _ = hub.drain(BY_LAW)
    assert set(answer["data"]) == {"categories", "expiry", "number"}


def test_a_second_answer_reaches_nobody_and_its_provider_is_told(hub: Hub) -> None:
    """An ask takes one answer; the notice names the provider's own event and says why."""
    known(hub)
    asked = put(hub)
    questions(hub)
    answered(hub, asked)
    token = answered(hub, asked, expiry="2040-01-01")
    events, _ = hub.drain(BY_LAW)
    (notice,) = questions(hub)
    assert len(events) == 1
    assert notice["data"] == {
        "type": "event.refused", "reason": "ask.closed", "dataset": "police.licence", "event": token,
    }  # fmt: skip


def test_what_was_answered_before_it_was_read_is_asked_no_more(hub: Hub) -> None:
    """What was opened comes until it is acknowledged, like anything that was."""
    known(hub)
    known(hub, "B")
    read, unread = put(hub), put(hub, "B")
    hub.pull(BY_LAW._replace(recipient=BY_LAW.publisher), 1)
    answered(hub, read)
    answered(hub, unread, "B")
    hub.pass_by(61)
    assert [one["ask"] for one in questions(hub)] == [read.row.public.hex()]


def test_a_grant_is_good_for_the_questions_put_under_it(hub: Hub) -> None:
    """An answer to an earlier one does not go under a later grant, and does not use that up."""
    person = known(hub, "A", BY_REQUEST)
    consent = hub.grant(person, BY_REQUEST)
    asked = put(hub, "A", BY_REQUEST)
    hub.withdraw(person, consent)
    hub.grant(person, BY_REQUEST)
    answered(hub, asked, "A", BY_REQUEST)
    row = state(hub, asked, BY_REQUEST)
    assert (row.word, "consent.new_stretch" in row.reasons) == ("refused", True)
    assert put(hub, "A", BY_REQUEST).row.word == "asked"


def test_an_answer_about_somebody_else_reaches_nobody_and_leaves_the_ask_open(hub: Hub) -> None:
    """The provider mixed two people up; the question still stands."""
    known(hub)
    known(hub, "B")
    asked = put(hub)
    questions(hub)
    answered(hub, asked, "B")
    assert hub.drain(BY_LAW) == ([], 0)
    (notice,) = questions(hub)
    assert notice["data"]["reason"] == "ask.other_person"
    assert state(hub, asked).state == AskState.ASKED


@pytest.mark.parametrize("named", ["00" * 16, "nothing of the kind", "f" * 255])
def test_an_answer_to_no_question_reaches_nobody(hub: Hub, named: str) -> None:
    """Whatever stands in `answers`."""
    known(hub)
    hub.publish("e", "A", BY_LAW, aim={"answers": named})
    hub.decide()
    assert hub.drain(BY_LAW) == ([], 0)
    (notice,) = questions(hub)
    assert notice["data"]["reason"] == "ask.unknown"


def test_an_answer_by_another_provider_reaches_nobody(hub: Hub) -> None:
    """Its dataset is another one: nobody asked it."""
    known(hub)
    known(hub, "A", BY_CONSENT)
    asked = put(hub)
    answered(hub, asked, "A", BY_CONSENT)
    assert hub.drain(BY_LAW) == ([], 0)
    assert state(hub, asked).state == AskState.ASKED


def test_an_answer_that_may_not_go_closes_the_ask_and_says_why(hub: Hub) -> None:
    """The provider is less sure by now whom it knows under its id than the purpose demands."""
    known(hub)
    asked = put(hub)
    questions(hub)
    link(hub.register, LINKER, [NewLink("licence-register", "A", "R-A", 1)])
    answered(hub, asked)
    assert hub.drain(BY_LAW) == ([], 0)
    row = state(hub, asked)
    assert (row.word, "assurance.too_low" in row.reasons) == ("refused", True)


# Whether it may be put.


def test_a_question_without_an_open_case_is_refused_on_record(hub: Hub) -> None:
    """The policy's own rule; the provider hears of nothing."""
    person = known(hub)
    asked = put(hub, case="")
    assert (asked.row.word, "policy.ask_without_case" in asked.row.reasons) == ("refused", True)
    assert questions(hub) == []
    assert hub.rows("SELECT kind FROM audit JOIN history ON audit = id WHERE person = ? AND kind = 15", (person,))


def test_the_operator_reads_of_a_question_as_of_a_decision(hub: Hub) -> None:
    """Every reason, nobody's name; and what the hand-out made of one that was put."""
    known(hub)
    put(hub, case="")
    put(hub)
    questions(hub)
    refused, passed = explain(hub.world, token="", last=2)
    assert (refused["asked"], refused["recipients"][0]["outcome"]) == (True, "refusal")
    assert "policy.ask_without_case" in refused["recipients"][0]["persons"][0]["reasons"]
    assert (passed["recipients"][0]["outcome"], passed["recipients"][0]["then"]) == ("release", "release")


def test_nobody_is_asked_about_without_consent_where_it_is_needed(hub: Hub) -> None:
    """The refusal says so, and is on record."""
    known(hub, "A", BY_CONSENT)
    asked = put(hub, "A", BY_CONSENT)
    assert asked.row.word == "refused"
    assert "consent.none" in asked.row.reasons
    assert questions(hub, BY_CONSENT) == []


def test_an_id_that_is_linked_to_nobody_is_refused_and_told_apart_from_nothing(hub: Hub) -> None:
    """Whether the provider knows somebody under it plays no part."""
    hub.link("A", BY_LAW)
    asked = put(hub)
    assert (asked.row.word, asked.row.reasons, asked.row.person) == ("refused", ("person.unlinked",), 0)
    assert hub.rows("SELECT count(*) FROM audit WHERE kind = ?", (LeafKind.ASK.value,)) == [(1,)]
    assert hub.rows("SELECT count(*) FROM history WHERE audit IN (SELECT id FROM audit WHERE kind = 15)") == [(0,)]


def test_a_doubtful_link_of_the_askers_own_is_none(hub: Hub) -> None:
    """It may be somebody else."""
    known(hub)
    dispute(hub.register, agency="traffic-police", local_id="asker/A")
    assert put(hub).row.reasons == ("person.unlinked",)


def test_a_link_too_weak_for_the_purpose_asks_nothing(hub: Hub) -> None:
    """By law the asker's own link has to be as sure as the purpose demands."""
    known(hub, level=1)
    assert "assurance.too_low" in put(hub).row.reasons


def test_a_provider_that_does_not_know_the_person_counts_as_no_answer(hub: Hub) -> None:
    """As if it had said so: the asker cannot tell the two apart; the person can."""
    hub.link("X", BY_CONSENT._replace(publisher="traffic-police"))
    asked = ask(hub.world, "traffic-police", NewAsk("X", "LICENCE-CHECK", "police.licence", (), "case"))
    said = ask_as_json(hub.world, "traffic-police", asked.row)
    assert (said["state"], said["reasons"]) == ("no_answer", [])
    assert asked.row.reasons == ("ask.provider_unlinked",)


def test_who_may_not_ask_does_not_learn_whether_the_provider_knows_somebody(hub: Hub) -> None:
    """Without consent the answer is the same either way."""
    hub.link("X", BY_CONSENT._replace(publisher="traffic-police"))
    known(hub, "A", BY_CONSENT)
    unknown = ask(hub.world, "traffic-police", NewAsk("X", "LICENCE-RENEW", "health.fitness", (), "case"))
    there = put(hub, "A", BY_CONSENT)
    assert (unknown.row.word, unknown.row.reasons) == (there.row.word, there.row.reasons)


def test_asking_beyond_the_agreement_names_each_field(hub: Hub) -> None:
    """Nothing is asked, not even what is agreed."""
    known(hub)
    with pytest.raises(HubError) as refused:
        put(hub, fields=("expiry", "penalties", "shoe_size"))
    assert refused.value.code == "ask-beyond-agreement"
    assert [one.where for one in refused.value.items] == ["/fields/1", "/fields/2"]
    assert hub.rows("SELECT count(*) FROM ask") == [(0,)]


@pytest.mark.parametrize("purpose", ["LICENCE-RENEW", "NONE"])
def test_no_agreement_for_it_is_answered_as_if_there_were_no_such_thing(hub: Hub, purpose: str) -> None:
    """Debt collection, or a purpose of the asker's own for another dataset: all the same."""
    known(hub)
    with pytest.raises(HubError) as refused:
        ask(hub.world, "traffic-police", NewAsk("asker/A", purpose, "police.licence", (), "c"))
    assert refused.value.code == "purpose-unknown"


@pytest.mark.parametrize("ahead_s", [-1, 0.5, 31 * DAY_S])
def test_a_deadline_that_is_none_is_an_error(hub: Hub, ahead_s: float) -> None:
    """Past, too soon to answer, or so far away that it is no question."""
    known(hub)
    with pytest.raises(HubError) as refused:
        put(hub, deadline_us=hub.clock() + int(ahead_s * S))
    assert refused.value.code == "ask-deadline"


def test_the_same_ask_again_is_the_same_ask(hub: Hub) -> None:
    """Under the asker's own id of it; the provider is asked once."""
    known(hub)
    first, again = put(hub, id="q-1"), put(hub, id="q-1")
    assert first.row == again.row
    assert len(questions(hub)) == 1


def test_an_id_never_stands_for_two_questions(hub: Hub) -> None:
    """Neither for other fields nor for another person."""
    known(hub)
    known(hub, "B")
    put(hub, id="q-1")
    for name, fields in (("A", ("expiry",)), ("B", ())):
        with pytest.raises(HubError) as refused:
            put(hub, name, id="q-1", fields=fields)
        assert refused.value.code == "ask-repeated"


# One answer per grant.


def test_an_explicit_request_is_good_for_one_answer(hub: Hub) -> None:
    """A second ask under the same grant is refused; a new grant is good for another."""
    person = known(hub, "A", BY_REQUEST)
    consent = hub.grant(person, BY_REQUEST)
    asked = put(hub, "A", BY_REQUEST)
    questions(hub, BY_REQUEST)
    assert "ask.grant_used" in put(hub, "A", BY_REQUEST).row.reasons
    answered(hub, asked, "A", BY_REQUEST)
    assert "ask.grant_used" in put(hub, "A", BY_REQUEST).row.reasons
    hub.withdraw(person, consent)
    hub.grant(person, BY_REQUEST)
    assert put(hub, "A", BY_REQUEST).row.word == "asked"


def test_a_question_that_nobody_answered_does_not_use_up_the_grant(hub: Hub) -> None:
    """The person wanted it answered."""
    hub.grant(known(hub, "A", BY_REQUEST), BY_REQUEST)
    asked = put(hub, "A", BY_REQUEST)
    no_answer(hub.world, "health-insurance", asked.row.public.hex())
    assert put(hub, "A", BY_REQUEST).row.word == "asked"


def test_a_consent_serves_any_number_of_asks(hub: Hub) -> None:
    """Only an explicit request is for one."""
    hub.grant(known(hub, "A", BY_CONSENT), BY_CONSENT)
    assert [put(hub, "A", BY_CONSENT).row.word for _ in range(2)] == ["asked", "asked"]
