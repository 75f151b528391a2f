"""How an ask ends: stopped by its person, without an answer, by time; a person's own; and around a crash."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.exchange.asked import ask_as_json, expire_asks, find_ask, no_answer
from hub.exchange.own_asks import OWN_A_DAY, OWN_US, ask_for_oneself, own_ask
from hub.identity.people import dispute, settle, unlink
from tests.asks_world import BY_CONSENT, BY_LAW, answered, known, put, questions, state
from tests.promise_hub import crashing
from tests.protocol_checks import faults
from tests.protocol_world import Hub, S, opened

pytestmark = pytest.mark.engines

DAY_S = 86_400


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        assert faults(one) == []


# What a person stops.


def test_after_a_withdrawal_the_question_does_not_leave(hub: Hub) -> None:
    """It lay ready; its ask is refused, and the provider never learns of it."""
    person = known(hub, "A", BY_CONSENT)
    consent = hub.grant(person, BY_CONSENT)
    asked = put(hub, "A", BY_CONSENT)
    hub.withdraw(person, consent)
    assert questions(hub, BY_CONSENT) == []
    row = state(hub, asked, BY_CONSENT)
    assert (row.word, "consent.withdrawn" in row.reasons) == ("refused", True)


def test_an_opened_question_is_stopped_under_its_number(hub: Hub) -> None:
    """The provider had it, and is told that nobody waits any more."""
    person = known(hub, "A", BY_CONSENT)
    consent = hub.grant(person, BY_CONSENT)
    put(hub, "A", BY_CONSENT)
    (question,) = questions(hub, BY_CONSENT)
    hub.withdraw(person, consent)
    hub.pass_by(61)
    stops = questions(hub, BY_CONSENT)
    assert [(one["kind"], one["number"]) for one in stops] == [("stop", question["number"])]


def test_after_a_withdrawal_the_answer_is_not_decided_for_the_asker(hub: Hub) -> None:
    """It was asked, the person withdrew, and then it was answered: nothing leaves, and the ask says why."""
    person = known(hub, "A", BY_CONSENT)
    consent = hub.grant(person, BY_CONSENT)
    asked = put(hub, "A", BY_CONSENT)
    questions(hub, BY_CONSENT)
    hub.withdraw(person, consent)
    answered(hub, asked, "A", BY_CONSENT)
    events, _ = hub.drain(BY_CONSENT)
    assert [one["kind"] for one in events] == ["stop"]
    assert state(hub, asked, BY_CONSENT).word == "refused"


def test_after_a_withdrawal_an_answer_that_lies_ready_does_not_leave(hub: Hub) -> None:
    """And the ask, which was answered, is refused after all."""
    person = known(hub, "A", BY_CONSENT)
    consent = hub.grant(person, BY_CONSENT)
    asked = put(hub, "A", BY_CONSENT)
    answered(hub, asked, "A", BY_CONSENT)
    hub.withdraw(person, consent)
    events, cancelled = hub.drain(BY_CONSENT)
    assert ([one["kind"] for one in events], cancelled) == (["stop"], 1)
    row = state(hub, asked, BY_CONSENT)
    assert (row.word, "consent.withdrawn" in row.reasons) == ("refused", True)


def test_a_later_grant_does_not_let_an_answer_go_that_rested_on_an_earlier_one(hub: Hub) -> None:
    """Its stretch has ended."""
    person = known(hub, "A", BY_CONSENT)
    consent = hub.grant(person, BY_CONSENT)
    asked = put(hub, "A", BY_CONSENT)
    answered(hub, asked, "A", BY_CONSENT)
    hub.withdraw(person, consent)
    hub.grant(person, BY_CONSENT)
    events, cancelled = hub.drain(BY_CONSENT)
    assert ([one["kind"] for one in events], cancelled) == (["stop"], 1)


def test_an_erased_person_is_asked_about_no_more(hub: Hub) -> None:
    """Neither the question nor the answer leaves, and a new ask is about nobody."""
    person = known(hub)
    asked = put(hub)
    hub.erase(person)
    assert questions(hub) == []
    answered(hub, asked)
    assert hub.drain(BY_LAW) == ([], 0)
    assert put(hub).row.reasons == ("person.unlinked",)


def test_undoing_the_askers_link_ends_its_asks(hub: Hub) -> None:
    """It asked about somebody else than it thought: neither question nor answer reaches anybody."""
    known(hub)
    asked = put(hub)
    unlink(hub.register, agency="traffic-police", local_id="asker/A")
    assert questions(hub) == []
    answered(hub, asked)
    assert hub.drain(BY_LAW) == ([], 0)
    assert (state(hub, asked).word, state(hub, asked).reasons) == ("refused", ("person.unlinked",))


def test_while_the_askers_link_is_in_doubt_its_question_waits(hub: Hub) -> None:
    """Settled, it goes on."""
    known(hub)
    put(hub)
    dispute(hub.register, agency="traffic-police", local_id="asker/A")
    assert questions(hub) == []
    settle(hub.register, agency="traffic-police", local_id="asker/A")
    assert len(questions(hub)) == 1


def test_a_suspended_agreement_stops_question_and_answer(hub: Hub) -> None:
    """Whichever is on its way."""
    known(hub)
    known(hub, "B")
    first, second = put(hub), put(hub, "B")
    answered(hub, first)
    hub.suspend(BY_LAW)
    assert questions(hub) == []
    assert hub.drain(BY_LAW)[0] == []
    assert [state(hub, one).word for one in (first, second)] == ["refused", "refused"]


# How it ends without an answer.


def test_a_provider_without_an_answer_says_so_and_the_asker_is_told(hub: Hub) -> None:
    """By the ask's state, and by a notice for who does not look."""
    known(hub)
    asked = put(hub)
    questions(hub)
    done = no_answer(hub.world, "licence-register", asked.row.public.hex())
    assert done.ring == asked.row.asker
    assert state(hub, asked).word == "no_answer"
    (notice,), _ = hub.drain(BY_LAW)
    assert notice["data"] == {"type": "ask.closed", "ask": asked.row.public.hex(), "state": "no_answer"}
    assert no_answer(hub.world, "licence-register", asked.row.public.hex()).ring == 0
    answered(hub, asked)
    assert hub.drain(BY_LAW) == ([], 0)


def test_only_the_provider_can_say_that_it_has_no_answer(hub: Hub) -> None:
    """Nor can it of an ask that was answered."""
    known(hub)
    asked = put(hub)
    for agency in ("traffic-police", "health-ministry"):
        with pytest.raises(HubError) as refused:
            no_answer(hub.world, agency, asked.row.public.hex())
        assert refused.value.code == "ask-unknown"
    answered(hub, asked)
    with pytest.raises(HubError) as refused:
        no_answer(hub.world, "licence-register", asked.row.public.hex())
    assert refused.value.code == "ask-closed"


def test_a_deadline_that_passes_ends_the_ask_and_takes_the_question_back(hub: Hub) -> None:
    """Ready or opened; a late answer reaches nobody, and its provider is told."""
    known(hub)
    known(hub, "B")
    first = put(hub)
    (question,) = questions(hub)
    second = put(hub, "B")
    hub.pass_by(DAY_S)
    assert expire_asks(hub.world) == 2
    assert [state(hub, one).word for one in (first, second)] == ["expired", "expired"]
    (stop,) = questions(hub)
    assert (stop["kind"], stop["number"]) == ("stop", question["number"])
    assert [one["data"]["state"] for one in hub.drain(BY_LAW)[0]] == ["expired", "expired"]
    answered(hub, first)
    assert hub.drain(BY_LAW) == ([], 0)
    assert questions(hub)[0]["data"]["reason"] == "ask.closed"


def test_a_deadline_counts_before_anybody_has_written_it_down(hub: Hub) -> None:
    """To the microsecond, for the answer and for the question."""
    known(hub)
    known(hub, "B")
    first, second = put(hub), put(hub, "B")
    hub.pass_by(DAY_S)
    assert questions(hub) == []
    assert state(hub, second).word == "expired"
    assert state(hub, first).word == "expired"
    third = put(hub)
    hub.pass_by(DAY_S)
    answered(hub, third)
    assert hub.drain(BY_LAW) == ([], 0)
    assert [one["data"]["reason"] for one in questions(hub)] == ["ask.expired"]


def test_neither_side_sees_another_agencys_ask(hub: Hub) -> None:
    """It does not exist for them; the provider reads no reasons."""
    known(hub)
    asked = put(hub)
    with pytest.raises(HubError):
        find_ask(hub.world, "health-ministry", asked.row.public.hex())
    mine = find_ask(hub.world, "licence-register", asked.row.public.hex())
    assert "reasons" not in ask_as_json(hub.world, "licence-register", mine)
    assert "case" not in ask_as_json(hub.world, "licence-register", mine)


# For oneself.


def test_a_person_sees_what_would_go_before_they_consent(hub: Hub) -> None:
    """The provider is asked, its answer reaches no agency, and nothing of what would stay is kept."""
    person = known(hub, "A", BY_CONSENT)
    asked = ask_for_oneself(
        hub.world, person, recipient="traffic-police", purpose="LICENCE-RENEW", dataset="health.fitness"
    )
    (question,) = questions(hub, BY_CONSENT)
    assert question["data"]["for"] == "person"
    assert "asker" not in question["data"]
    answered(hub, asked, "A", BY_CONSENT)
    assert hub.drain(BY_CONSENT) == ([], 0)
    row, held = own_ask(hub.world, person, asked.row.public.hex())
    assert row.word == "answered"
    assert held == {"categories_fit": ["B"], "valid_until": "2031-05-01"}
    assert b"secret" not in (row.answer or b"")
    with pytest.raises(HubError):
        own_ask(hub.world, known(hub, "B", BY_CONSENT), asked.row.public.hex())


def test_the_answer_to_ones_own_question_reaches_no_agency(hub: Hub) -> None:
    """Not even the recipient that the person has said yes to: it did not ask."""
    person = known(hub, "A", BY_CONSENT)
    hub.grant(person, BY_CONSENT)
    asked = ask_for_oneself(
        hub.world, person, recipient="traffic-police", purpose="LICENCE-RENEW", dataset="health.fitness"
    )
    answered(hub, asked, "A", BY_CONSENT)
    assert hub.drain(BY_CONSENT) == ([], 0)
    assert state(hub, asked, BY_CONSENT._replace(recipient="health-ministry")).word == "answered"


def test_a_preview_is_forgotten_when_its_hour_is_over(hub: Hub) -> None:
    """At once for who looks; and from the store as soon as somebody cleans up."""
    person = known(hub, "A", BY_CONSENT)
    asked = ask_for_oneself(
        hub.world, person, recipient="traffic-police", purpose="LICENCE-RENEW", dataset="health.fitness"
    )
    answered(hub, asked, "A", BY_CONSENT)
    hub.pass_by(OWN_US / S)
    assert own_ask(hub.world, person, asked.row.public.hex())[1] is None
    assert expire_asks(hub.world) == 1
    assert hub.rows("SELECT count(*) FROM ask WHERE answer IS NOT NULL") == [(0,)]


def test_a_person_asks_a_bounded_number_of_times_a_day(hub: Hub) -> None:
    """Each is work for a provider. The next day there are others."""
    person = known(hub, "A", BY_CONSENT)

    def once() -> None:
        ask_for_oneself(
            hub.world, person, recipient="traffic-police", purpose="LICENCE-RENEW", dataset="health.fitness"
        )

    for _ in range(OWN_A_DAY):
        once()
    with pytest.raises(HubError) as refused:
        once()
    assert refused.value.code == "asks-too-many"
    hub.pass_by(DAY_S + 1)
    once()


# Around a crash.


@pytest.mark.parametrize("point", ["asking.before_commit", "asking.committed"])
def test_a_crash_around_its_commit_neither_loses_nor_doubles_an_ask(tmp_path: Path, point: str) -> None:
    """Asked again under the same id it is the same one; the provider is asked once."""
    hub = Hub(tmp_path)
    known(hub)
    after = crashing(hub, point, lambda: put(hub, id="q-1"))
    asked = put(after, id="q-1")
    assert asked.row.word == "asked"
    assert len(questions(after)) == 1
    assert faults(after) == []
    after.close()


@pytest.mark.parametrize("point", ["gate.before_commit", "gate.committed"])
def test_a_crash_around_its_commit_neither_loses_nor_doubles_an_answer(tmp_path: Path, point: str) -> None:
    """The ask is closed exactly when its answer is queued."""
    hub = Hub(tmp_path)
    known(hub)
    asked = put(hub)
    hub.publish("a", "A", BY_LAW, aim={"answers": asked.row.public.hex()})
    after = crashing(hub, point, hub.decide)
    after.decide()
    events, _ = after.drain(BY_LAW)
    assert [one["ask"] for one in events] == [asked.row.public.hex()]
    assert state(after, asked).word == "answered"
    assert faults(after) == []
    after.close()
