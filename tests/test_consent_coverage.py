"""What a consent covers at a moment, and the receipt a person keeps of a change to it."""

import json

import pytest

from consent.coverage import NOTHING, covers
from consent.receipt import SCHEMA, Opened, Receipt, receipt_from_bytes, scope_of
from consent.record import narrow, pause, resume, withdraw
from consent.states import State
from tests.consent_examples import (
    ASKED_UNTIL_US,
    DOB_MONTH,
    MUNICIPALITY_CODE,
    NOON_US,
    SELF,
    SEX,
    UNTIL_US,
    agreed,
    asked,
    in_state,
)

BIRTH, RESIDENCE = DOB_MONTH[0], MUNICIPALITY_CODE[0]


def test_without_a_record_nothing_is_covered() -> None:
    assert covers(None, BIRTH, NOON_US) == NOTHING
    assert (NOTHING.state, NOTHING.stretch, NOTHING.fields) == (State.NONE, 0, frozenset())


def test_a_given_consent_covers_the_chosen_fields_of_each_dataset_and_no_others() -> None:
    record = agreed(items=frozenset({DOB_MONTH, MUNICIPALITY_CODE})).record
    birth, residence = covers(record, BIRTH, NOON_US + 5), covers(record, RESIDENCE, NOON_US + 5)
    assert birth.fields == {"dob_month"}
    assert residence.fields == {"municipality_code"}
    assert (birth.state, birth.stretch, birth.until_us, birth.acr) == (State.GIVEN, 1, UNTIL_US, 2)


def test_a_dataset_that_was_left_out_or_never_asked_is_given_no_field() -> None:
    record = agreed(items=frozenset({MUNICIPALITY_CODE})).record
    assert covers(record, BIRTH, NOON_US + 5).fields == frozenset()
    assert covers(record, "health.condition", NOON_US + 5).fields == frozenset()


@pytest.mark.parametrize("state", sorted({*State} - {State.NONE, State.GIVEN}))
def test_in_every_state_but_given_nothing_is_covered(state: State) -> None:
    record = in_state(state).record
    coverage = covers(record, BIRTH, NOON_US + 20)
    assert (coverage.state, coverage.fields, coverage.acr) == (state, frozenset(), 0)
    assert coverage.stretch == record.stretch


@pytest.mark.parametrize("state", [State.GIVEN, State.PAUSED])
def test_coverage_is_over_at_the_instant_of_the_end_though_nobody_wrote_it_down(state: State) -> None:
    record = in_state(state).record
    assert covers(record, BIRTH, UNTIL_US - 1).state is state
    assert covers(record, BIRTH, UNTIL_US).state is State.EXPIRED
    assert covers(record, BIRTH, UNTIL_US).fields == frozenset()


def test_a_request_is_lapsed_at_its_deadline_though_nobody_wrote_it_down() -> None:
    record = asked().record
    assert covers(record, BIRTH, ASKED_UNTIL_US - 1).state is State.REQUESTED
    assert covers(record, BIRTH, ASKED_UNTIL_US).state is State.LAPSED


def test_a_clock_that_lags_revives_nothing() -> None:
    assert covers(in_state(State.WITHDRAWN).record, BIRTH, 0).state is State.WITHDRAWN
    assert covers(in_state(State.EXPIRED).record, BIRTH, 0).state is State.EXPIRED


def test_coverage_follows_pause_resumption_and_narrowing_at_once() -> None:
    record = agreed().record
    assert covers(record, BIRTH, NOON_US + 5).fields == {"dob_month", "sex"}
    paused, _ = pause(record, by=SELF, at_us=NOON_US + 5)
    assert covers(paused, BIRTH, NOON_US + 5).fields == frozenset()
    narrowed, _ = narrow(paused, items={DOB_MONTH}, by=SELF, at_us=NOON_US + 6)
    resumed, _ = resume(narrowed, by=SELF, at_us=NOON_US + 7)
    assert covers(resumed, BIRTH, NOON_US + 7).fields == {"dob_month"}
    assert SEX in record.items


# Receipts

OPENED = Opened("lindum", BIRTH, "0f" * 16, 17, NOON_US)


def receipt() -> Receipt:
    kept = agreed()
    record, event = withdraw(kept.record, by=SELF, at_us=NOON_US + 9)
    assert event is not None
    return Receipt("r-1", record.id, "withdraw", record.state, record.stretch, event.said.at_us, event.hash, (OPENED,))


def test_a_receipt_read_back_from_its_bytes_is_the_same_receipt() -> None:
    assert receipt_from_bytes(receipt().canonical) == receipt()
    assert receipt_from_bytes(receipt().canonical).canonical == receipt().canonical


def test_a_receipt_names_what_was_opened_just_before_and_the_event_it_is_for() -> None:
    said = json.loads(receipt().canonical)
    assert said["opened_before"] == [
        {"recipient": "lindum", "dataset": BIRTH, "delivery": "0f" * 16, "number": 17, "opened_us": NOON_US}
    ]
    assert (said["state"], said["moment_us"], said["event"]) == ("withdrawn", NOON_US + 9, receipt().event.hex())


def issued() -> Receipt:
    """One as a hub issues it: with its address, and with what the consent covers."""
    kept = agreed()
    given = kept.record
    return Receipt(
        "r-2",
        given.id,
        "grant",
        given.state,
        given.stretch,
        given.at_us,
        given.head,
        issuer="https://hub.example",
        status="https://hub.example/v1/receipts/r-2/status",
        scope=scope_of(given),
    )


def test_a_receipt_that_a_hub_issues_says_what_the_consent_covers_and_where_to_ask_what_became_of_it() -> None:
    kept, said = agreed().record, json.loads(issued().canonical)
    assert receipt_from_bytes(issued().canonical) == issued()
    assert (said["v"], said["schema"], said["issuer"]) == (2, SCHEMA, "https://hub.example")
    assert said["status"].endswith("/v1/receipts/r-2/status")
    assert said["scope"]["items"] == sorted([dataset, name] for dataset, name in kept.items)
    assert (said["scope"]["until_us"], said["scope"]["terms"]) == (kept.until_us, kept.terms.digest.hex())
    assert kept.notice is not None
    assert said["scope"]["notice"] == kept.notice.as_json()


def test_a_receipt_of_before_they_were_signed_keeps_its_bytes() -> None:
    said = json.loads(receipt().canonical)
    assert (said["v"], said.keys() & {"schema", "issuer", "status", "scope"}) == (1, set())


def test_a_promise_is_part_of_what_would_be_signed() -> None:
    plain = receipt()
    promising = Receipt(
        plain.id,
        plain.record,
        plain.action,
        plain.state,
        plain.stretch,
        plain.moment_us,
        plain.event,
        plain.opened_before,
        promise={"kind": "answer-by", "moment": "2026-02-01T00:00:00Z"},
    )
    assert promising.canonical != plain.canonical
    assert receipt_from_bytes(promising.canonical) == promising
