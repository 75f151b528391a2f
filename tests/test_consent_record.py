"""One consent from the question to its end: who may do what, until when, and which stretch it runs in."""

# long: the transitions stand together, so that a missing one is seen
from collections.abc import Callable

import pytest

from consent.chain import By, Capacity
from consent.errors import Code, ConsentError
from consent.history import fold
from consent.record import (
    Record,
    expire,
    extend,
    give,
    give_unasked,
    lapse,
    narrow,
    pause,
    refuse,
    renew,
    request,
    resume,
    state_at,
    supersede,
    terminate,
    withdraw,
)
from consent.states import WILL_OF_THE_PERSON, Action, State
from tests.consent_examples import (
    AGENCY,
    ASKED_UNTIL_US,
    DAY_US,
    DOB_MONTH,
    FEWER,
    GUARDIAN,
    MUNICIPALITY_CODE,
    NOON_US,
    NOTICE,
    PARENT,
    PERSON,
    SELF,
    SEX,
    SYSTEM,
    TERMS,
    UNTIL_US,
    agreed,
    asked,
    in_state,
    next_of,
    unasked,
)


def refusal(raised: pytest.ExceptionInfo[ConsentError]) -> tuple[Code, tuple[str, ...]]:
    return raised.value.code, raised.value.items


# Giving


def test_a_grant_keeps_what_was_chosen_what_was_read_how_strongly_and_until_when() -> None:
    record = agreed(items=frozenset({DOB_MONTH})).record
    assert (record.state, record.items, record.notice) == (State.GIVEN, frozenset({DOB_MONTH}), NOTICE)
    assert (record.given_us, record.until_us, record.acr, record.stretch) == (NOON_US + 1, UNTIL_US, 2, 1)


def test_a_person_can_give_what_nobody_asked_for() -> None:
    kept = unasked()
    assert [event.said.action for event in kept.events] == ["request", "give"]
    assert {event.said.by for event in kept.events} == {SELF}
    assert {event.said.at_us for event in kept.events} == {NOON_US}
    assert fold(kept.events) == kept.record
    assert kept.record.state is State.GIVEN


def test_an_agency_cannot_give_unasked_in_a_persons_place() -> None:
    with pytest.raises(ConsentError) as raised:
        give_unasked(
            record_id="c-2",
            person=PERSON,
            terms=TERMS,
            items=TERMS.pairs,
            until_us=UNTIL_US,
            notice=NOTICE,
            stretch_before=0,
            by=AGENCY,
            at_us=NOON_US,
        )
    assert raised.value.code is Code.NOT_THEIRS


def test_a_grant_of_a_field_nobody_asked_for_names_it() -> None:
    with pytest.raises(ConsentError) as raised:
        agreed(items=TERMS.pairs | {("civil.birth.registered", "birth_weight")})
    assert refusal(raised) == (Code.UNKNOWN_FIELD, ("civil.birth.registered/birth_weight",))


def test_a_grant_without_a_required_field_of_a_chosen_dataset_names_it() -> None:
    with pytest.raises(ConsentError) as raised:
        agreed(items=frozenset({SEX, MUNICIPALITY_CODE}))
    assert refusal(raised) == (Code.REQUIRED_MISSING, ("civil.birth.registered/dob_month",))


def test_a_grant_of_nothing_names_every_required_field() -> None:
    with pytest.raises(ConsentError) as raised:
        agreed(items=frozenset())
    assert refusal(raised) == (
        Code.NOTHING_LEFT,
        ("civil.birth.registered/dob_month", "pop.residence/municipality_code"),
    )


def test_a_whole_dataset_may_be_left_out() -> None:
    assert agreed(items=frozenset({MUNICIPALITY_CODE})).record.items == {MUNICIPALITY_CODE}


@pytest.mark.parametrize(
    ("until_us", "code"),
    [
        (0, Code.UNTIL_PAST),
        (NOON_US + 1, Code.UNTIL_PAST),  # the moment of the grant itself: it would cover no instant
        (NOON_US + 1 + TERMS.duration_us + 1, Code.UNTIL_TOO_LONG),
        (-1, Code.VALUE),
        (2**53, Code.VALUE),
    ],
)
def test_a_grant_ends_after_it_begins_and_within_the_duration_asked(until_us: int, code: Code) -> None:
    with pytest.raises(ConsentError) as raised:
        agreed(until_us=until_us)
    assert raised.value.code is code


@pytest.mark.parametrize("until_us", [NOON_US + 2, NOON_US + 1 + TERMS.duration_us])
def test_a_grant_may_last_one_microsecond_or_all_that_was_asked(until_us: int) -> None:
    assert agreed(until_us=until_us).record.until_us == until_us


def test_a_request_lapses_at_its_deadline_so_a_yes_at_that_instant_is_too_late() -> None:
    before = agreed(at_us=ASKED_UNTIL_US - 1)
    assert before.record.state is State.GIVEN
    with pytest.raises(ConsentError) as raised:
        agreed(at_us=ASKED_UNTIL_US)
    assert refusal(raised) == (Code.ILLEGAL, ("lapse",))


def test_a_request_whose_deadline_has_passed_is_not_made() -> None:
    with pytest.raises(ConsentError) as raised:
        request(
            record_id="c-1",
            person=PERSON,
            terms=TERMS,
            deadline_us=NOON_US,
            stretch_before=0,
            by=AGENCY,
            at_us=NOON_US,
        )
    assert raised.value.code is Code.UNTIL_PAST


# Who


@pytest.mark.parametrize("by", [AGENCY, SYSTEM, By(PERSON, 1, Capacity.OPERATOR, 3, "")])
def test_nobody_but_the_person_or_a_guardian_says_yes_or_no(by: By) -> None:
    record, waiting = agreed().record, asked().record
    at_us = NOON_US + 5
    paused, _ = pause(record, by=SELF, at_us=at_us)
    attempts: dict[Action, Callable[[], object]] = {
        Action.GIVE: lambda: give(waiting, items=TERMS.pairs, until_us=UNTIL_US, notice=NOTICE, by=by, at_us=at_us),
        Action.REFUSE: lambda: refuse(waiting, by=by, at_us=at_us),
        Action.PAUSE: lambda: pause(record, by=by, at_us=at_us),
        Action.RESUME: lambda: resume(paused, by=by, at_us=at_us),
        Action.NARROW: lambda: narrow(record, items={DOB_MONTH}, by=by, at_us=at_us),
        Action.EXTEND: lambda: extend(record, until_us=UNTIL_US + 1, by=by, at_us=at_us),
        Action.WITHDRAW: lambda: withdraw(record, by=by, at_us=at_us),
    }
    assert {*attempts} == WILL_OF_THE_PERSON
    for try_it in attempts.values():
        with pytest.raises(ConsentError) as raised:
            try_it()
        assert raised.value.code is Code.NOT_THEIRS


def test_a_guardian_may_do_what_the_person_may_and_is_named_in_the_event() -> None:
    _, event = pause(agreed(by=GUARDIAN).record, by=GUARDIAN, at_us=NOON_US + 5)
    assert (event.said.by.person, event.said.by.actor, event.said.by.capacity) == (PERSON, PARENT, "guardian")


def test_nobody_touches_a_record_while_acting_for_another_person() -> None:
    other = By(PARENT, PARENT, Capacity.SELF, 3, "session-3")
    with pytest.raises(ConsentError) as raised:
        withdraw(agreed().record, by=other, at_us=NOON_US + 5)
    assert raised.value.code is Code.OTHER_PERSON
    with pytest.raises(ConsentError) as raised:
        withdraw(in_state(State.WITHDRAWN).record, by=other, at_us=NOON_US + 50)
    assert raised.value.code is Code.OTHER_PERSON


def test_saying_yes_again_needs_a_sign_in_as_strong_as_the_first() -> None:
    weak = By(PERSON, PERSON, Capacity.SELF, 1, "session-4")
    record = agreed().record
    paused, _ = pause(record, by=weak, at_us=NOON_US + 5)
    with pytest.raises(ConsentError) as raised:
        resume(paused, by=weak, at_us=NOON_US + 6)
    assert raised.value.code is Code.ASSURANCE
    with pytest.raises(ConsentError) as raised:
        extend(record, until_us=UNTIL_US + 1, by=weak, at_us=NOON_US + 6)
    assert raised.value.code is Code.ASSURANCE


def test_taking_away_needs_no_strong_sign_in() -> None:
    weak = By(PERSON, PERSON, Capacity.SELF, 0, "session-4")
    narrowed, _ = narrow(agreed().record, items={DOB_MONTH}, by=weak, at_us=NOON_US + 5)
    paused, _ = pause(narrowed, by=weak, at_us=NOON_US + 6)
    assert withdraw(paused, by=weak, at_us=NOON_US + 7)[0].state is State.WITHDRAWN


def test_no_error_repeats_who_the_person_is() -> None:
    other = By(PARENT, PARENT, Capacity.SELF, 3, "session-3")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: withdraw(agreed().record, by=other, at_us=NOON_US),
        lambda: withdraw(agreed().record, by=AGENCY, at_us=NOON_US),
        lambda: agreed(until_us=1),
        lambda: By(PERSON, PARENT, Capacity.SELF, 2, "session-3"),
    )
    for try_it in attempts:
        with pytest.raises(ConsentError) as raised:
            try_it()
        told = f"{raised.value.what} {raised.value.remedy} {raised.value.items}"
        assert not any(str(secret) in told for secret in (PERSON, PARENT, "session-3"))


# Narrowing and extending


def test_narrowing_leaves_fewer_fields_and_all_else_as_it_was() -> None:
    record = agreed().record
    narrowed, _ = narrow(record, items={DOB_MONTH}, by=SELF, at_us=NOON_US + 5)
    assert narrowed.items == {DOB_MONTH}
    assert (narrowed.state, narrowed.stretch, narrowed.until_us) == (record.state, record.stretch, record.until_us)


def test_narrowing_gives_nothing_back_that_was_taken_away() -> None:
    record = agreed(items=frozenset({DOB_MONTH})).record
    with pytest.raises(ConsentError) as raised:
        narrow(record, items={DOB_MONTH, SEX}, by=SELF, at_us=NOON_US + 5)
    assert refusal(raised) == (Code.NOT_NARROWER, ("civil.birth.registered/sex",))


def test_narrowing_to_what_is_given_already_is_said_to_change_nothing() -> None:
    with pytest.raises(ConsentError) as raised:
        narrow(agreed().record, items=TERMS.pairs, by=SELF, at_us=NOON_US + 5)
    assert refusal(raised) == (Code.NOT_NARROWER, ())


def test_narrowing_to_nothing_names_the_required_fields_and_points_to_withdrawal() -> None:
    with pytest.raises(ConsentError) as raised:
        narrow(agreed().record, items=[], by=SELF, at_us=NOON_US + 5)
    assert raised.value.code is Code.NOTHING_LEFT
    assert raised.value.items == ("civil.birth.registered/dob_month", "pop.residence/municipality_code")
    assert "withdraw" in raised.value.remedy


def test_narrowing_step_by_step_or_at_once_gives_the_same_fields() -> None:
    record = agreed().record
    once, _ = narrow(record, items={DOB_MONTH}, by=SELF, at_us=NOON_US + 5)
    first, _ = narrow(record, items={DOB_MONTH, MUNICIPALITY_CODE}, by=SELF, at_us=NOON_US + 5)
    twice, _ = narrow(first, items={DOB_MONTH}, by=SELF, at_us=NOON_US + 6)
    assert once.items == twice.items


def test_an_extension_prolongs_the_same_stretch() -> None:
    record, _ = extend(agreed().record, until_us=UNTIL_US + DAY_US, by=SELF, at_us=NOON_US + 5)
    assert (record.until_us, record.stretch, record.state) == (UNTIL_US + DAY_US, 1, State.GIVEN)


@pytest.mark.parametrize(
    ("until_us", "code"),
    [
        (UNTIL_US, Code.NOT_LONGER),
        (UNTIL_US - 1, Code.NOT_LONGER),
        (NOON_US, Code.UNTIL_PAST),
        (NOON_US + 5 + TERMS.duration_us + 1, Code.UNTIL_TOO_LONG),
    ],
)
def test_an_extension_is_longer_and_within_the_duration_counted_from_now(until_us: int, code: Code) -> None:
    with pytest.raises(ConsentError) as raised:
        extend(agreed().record, until_us=until_us, by=SELF, at_us=NOON_US + 5)
    assert raised.value.code is code


# Time


def test_a_consent_is_expired_at_the_very_instant_of_its_end_before_anybody_wrote_it_down() -> None:
    record = agreed().record
    assert (state_at(record, UNTIL_US - 1), state_at(record, UNTIL_US)) == (State.GIVEN, State.EXPIRED)
    assert record.state is State.GIVEN


def test_an_expired_consent_cannot_be_resumed_extended_or_withdrawn_even_if_nobody_wrote_it_down() -> None:
    record = agreed().record
    with pytest.raises(ConsentError) as raised:
        extend(record, until_us=UNTIL_US + 1, by=SELF, at_us=UNTIL_US)
    assert refusal(raised) == (Code.ILLEGAL, ("expire",))


def test_an_end_by_time_lies_at_that_time_however_late_it_is_written() -> None:
    late, event = expire(agreed().record, by=SYSTEM, at_us=UNTIL_US + 9 * DAY_US)
    assert (late.ended_us, late.at_us, event.said.at_us) == (UNTIL_US, UNTIL_US + 9 * DAY_US, UNTIL_US + 9 * DAY_US)
    lapsed, _ = lapse(asked().record, by=SYSTEM, at_us=ASKED_UNTIL_US + DAY_US)
    assert lapsed.ended_us == ASKED_UNTIL_US


def test_a_clock_that_stepped_back_keeps_nobody_from_withdrawing_and_turns_no_order_round() -> None:
    kept = agreed()
    after = kept.then(withdraw(kept.record, by=SELF, at_us=NOON_US - DAY_US))
    assert after.record.state is State.WITHDRAWN
    assert after.record.ended_us == after.record.at_us == kept.record.at_us
    assert fold(after.events) == after.record


# Withdrawing


def test_a_second_withdrawal_gives_the_same_record_and_no_event() -> None:
    once, _ = withdraw(agreed().record, by=SELF, at_us=NOON_US + 5)
    assert withdraw(once, by=SELF, at_us=NOON_US + 99) == (once, None)
    assert withdraw(once, by=GUARDIAN, at_us=NOON_US + 99) == (once, None)


# Stretches


def granted_after(previous: Record, *, at_us: int, known: bool = True) -> Record:
    """Give a new consent after `previous`, named as the one to go on from, or known by its number only."""
    new = asked("c-9", stretch_before=previous.stretch, at_us=at_us - 1)
    return agreed(new, at_us=at_us, until_us=at_us + DAY_US, continues=previous if known else None).record


def test_the_first_grant_begins_the_first_stretch_and_a_request_begins_none() -> None:
    assert asked().record.stretch == 0
    assert agreed().record.stretch == 1


def test_pause_resumption_and_narrowing_keep_the_stretch() -> None:
    record = agreed().record
    paused, _ = pause(record, by=SELF, at_us=NOON_US + 5)
    narrowed, _ = narrow(paused, items={DOB_MONTH}, by=SELF, at_us=NOON_US + 6)
    resumed, _ = resume(narrowed, by=SELF, at_us=NOON_US + 7)
    assert [one.stretch for one in (record, paused, narrowed, resumed)] == [1, 1, 1, 1]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("end", [State.WITHDRAWN, State.EXPIRED, State.TERMINATED, State.INVALIDATED])
def test_a_grant_after_an_end_begins_the_next_stretch(end: State, known: bool) -> None:
    ended = in_state(end).record
    new = granted_after(ended, at_us=max(ended.at_us, NOON_US + 50), known=known)
    assert (new.stretch, new.continues) == (2, "")


def test_a_grant_at_the_same_microsecond_as_the_withdrawal_begins_the_next_stretch() -> None:
    ended = in_state(State.WITHDRAWN).record
    assert granted_after(ended, at_us=ended.at_us).stretch == 2


def test_a_refusal_or_a_lapse_in_between_uses_up_no_stretch_and_forgets_none() -> None:
    ended = in_state(State.WITHDRAWN).record
    no, _ = refuse(asked("c-2", stretch_before=ended.stretch).record, by=SELF, at_us=NOON_US + 50)
    assert no.stretch == 1
    assert granted_after(no, at_us=NOON_US + 60).stretch == 2


@pytest.mark.parametrize("state", [State.GIVEN, State.PAUSED])
def test_a_grant_while_the_old_consent_runs_goes_on_in_its_stretch(state: State) -> None:
    old = in_state(state).record
    new = granted_after(old, at_us=UNTIL_US - 1)
    assert (new.stretch, new.continues) == (old.stretch, old.id)


def test_a_grant_at_the_instant_the_old_one_expires_begins_a_new_stretch() -> None:
    """The old consent covers no longer at that instant, so there is nothing left to go on from."""
    assert granted_after(agreed().record, at_us=UNTIL_US).stretch == 2


def test_a_grant_that_names_no_old_consent_begins_a_new_stretch_even_while_one_runs() -> None:
    assert granted_after(agreed().record, at_us=NOON_US + 50, known=False).stretch == 2


def test_a_stretch_that_came_and_went_while_the_request_was_open_is_not_counted_twice() -> None:
    waiting = asked("c-8")
    ended, _ = withdraw(agreed().record, by=SELF, at_us=NOON_US + 5)
    assert agreed(waiting, at_us=NOON_US + 6, continues=ended).record.stretch == 2


def test_renewal_and_supersession_hand_over_without_a_gap() -> None:
    at_us = NOON_US + 50
    old = agreed().record
    same, other = next_of(old, terms=TERMS, at_us=at_us), next_of(old, terms=FEWER, at_us=at_us)
    renewed, _ = renew(old, successor=same, by=SELF, at_us=at_us)
    superseded, _ = supersede(old, successor=other, by=SELF, at_us=at_us)
    for new, ended in ((same, renewed), (other, superseded)):
        assert (new.stretch, new.given_us) == (ended.stretch, ended.ended_us)
        assert ended.successor == new.id


def test_a_renewal_for_other_items_is_pointed_to_supersession() -> None:
    old = agreed().record
    with pytest.raises(ConsentError) as raised:
        renew(old, successor=next_of(old, terms=FEWER, at_us=NOON_US + 50), by=SELF, at_us=NOON_US + 50)
    assert raised.value.code is Code.SUCCESSOR
    assert raised.value.remedy == "Supersede it instead of renewing."


def test_a_consent_is_not_superseded_by_one_that_does_not_continue_it() -> None:
    old = agreed().record
    stranger = agreed(asked("c-7"), at_us=NOON_US + 50).record
    only_asked = asked("c-7").record
    ended, _ = withdraw(next_of(old, terms=FEWER, at_us=NOON_US + 50), by=SELF, at_us=NOON_US + 51)
    for successor in (stranger, only_asked, ended, old):
        with pytest.raises(ConsentError) as raised:
            supersede(old, successor=successor, by=SELF, at_us=NOON_US + 60)
        assert raised.value.code is Code.SUCCESSOR


def test_a_grant_cannot_continue_the_consent_of_somebody_else() -> None:
    other = By(PARENT, PARENT, Capacity.SELF, 2, "session-3")
    theirs, _ = give_unasked(
        record_id="c-6",
        person=PARENT,
        terms=TERMS,
        items=TERMS.pairs,
        until_us=UNTIL_US,
        notice=NOTICE,
        stretch_before=0,
        by=other,
        at_us=NOON_US,
    )
    with pytest.raises(ConsentError) as raised:
        agreed(continues=theirs)
    assert raised.value.code is Code.SUCCESSOR


def test_a_grant_cannot_continue_itself() -> None:
    """As when a caller holds an old copy of the record, from before it was given."""
    with pytest.raises(ConsentError) as raised:
        agreed(asked("c-1"), continues=agreed(asked("c-1")).record)
    assert raised.value.code is Code.SUCCESSOR


def test_a_termination_says_why_as_a_code() -> None:
    record, event = terminate(agreed().record, cause="agreement.ended", by=SYSTEM, at_us=NOON_US + 5)
    assert record.cause == event.said.body["cause"] == "agreement.ended"
    with pytest.raises(ConsentError) as raised:
        terminate(agreed().record, cause="", by=SYSTEM, at_us=NOON_US + 5)
    assert raised.value.code is Code.VALUE
