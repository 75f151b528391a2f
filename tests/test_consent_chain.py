"""A history is believed as a whole or not at all: whatever was altered, reordered or dropped is noticed and named.

`tests/vectors/consent_events.json` holds whole histories as bytes, for any other implementation to check itself by.
`python -m tests.test_consent_chain` writes it anew; a change there is a change of the format.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consent.chain import Event, link
from consent.errors import Code, ConsentError
from consent.history import fold
from consent.record import extend, narrow, pause, renew, resume, withdraw
from consent.states import State
from tests.consent_examples import (
    DAY_US,
    DOB_MONTH,
    GUARDIAN,
    MUNICIPALITY_CODE,
    NOON_US,
    SELF,
    SYSTEM,
    TERMS,
    UNTIL_US,
    Kept,
    agreed,
    asked,
    in_state,
    next_of,
    unasked,
)

VECTORS = Path(__file__).parent / "vectors" / "consent_events.json"


def long_story() -> Kept:
    """Asked, given, narrowed, paused by a guardian, resumed, extended, withdrawn."""
    kept = agreed()
    kept = kept.then(narrow(kept.record, items={DOB_MONTH, MUNICIPALITY_CODE}, by=SELF, at_us=NOON_US + 10))
    kept = kept.then(pause(kept.record, by=GUARDIAN, at_us=NOON_US + 20))
    kept = kept.then(resume(kept.record, by=SELF, at_us=NOON_US + 30))
    kept = kept.then(extend(kept.record, until_us=UNTIL_US + DAY_US, by=SELF, at_us=NOON_US + 40))
    return kept.then(withdraw(kept.record, by=SELF, at_us=NOON_US + 50))


def continued_story() -> Kept:
    """Given while another one runs, whose stretch goes on, then renewed in its turn."""
    first = agreed().record
    kept = agreed(
        asked("c-1+", stretch_before=1, at_us=NOON_US + 10),
        at_us=NOON_US + 11,
        continues=first,
        items=frozenset({DOB_MONTH}),
    )
    successor = next_of(kept.record, terms=TERMS, at_us=NOON_US + 20)
    return kept.then(renew(kept.record, successor=successor, by=SYSTEM, at_us=NOON_US + 20))


def stories() -> dict[str, Kept]:
    return {
        "long": long_story(),
        "continued": continued_story(),
        "unasked": unasked(),
        **{state.value: in_state(state) for state in State if state is not State.NONE},
    }


def rehashed(data: bytes) -> Event:
    return Event(data, hashlib.sha256(data).digest())


def noticed(events: list[Event], *, head: bytes, why: str = "") -> int:
    """Return the index that `fold` names; fail when it believes the events, or gives another reason than `why`."""
    with pytest.raises(ConsentError) as raised:
        fold(events, head=head)
    assert raised.value.code is Code.CHAIN
    assert why in raised.value.what
    return raised.value.index


def altered(events: tuple[Event, ...], index: int, event: Event) -> list[Event]:
    return [*events[:index], event, *events[index + 1 :]]


# Believing


@pytest.mark.parametrize("name", [*stories()])
def test_a_whole_history_folds_into_the_record_its_transitions_made(name: str) -> None:
    kept = stories()[name]
    assert fold(kept.events, head=kept.record.head) == kept.record


def test_every_beginning_of_a_history_is_a_history_of_that_moment() -> None:
    story = long_story()
    states = [fold(story.events[:count]).state for count in range(1, len(story.events) + 1)]
    assert states == ["requested", "given", "given", "paused", "given", "given", "withdrawn"]


def test_the_order_in_which_fields_were_chosen_leaves_the_same_bytes() -> None:
    record = agreed().record
    _, one = narrow(record, items=[DOB_MONTH, MUNICIPALITY_CODE], by=SELF, at_us=NOON_US + 5)
    _, other = narrow(record, items=[MUNICIPALITY_CODE, DOB_MONTH, DOB_MONTH], by=SELF, at_us=NOON_US + 5)
    assert one == other


# Noticing


def test_no_history_at_all_is_none() -> None:
    assert noticed([], head=b"") == 0


def test_any_flipped_byte_of_any_event_is_noticed_at_that_event() -> None:
    story = long_story()
    for index, event in enumerate(story.events):
        for place in range(len(event.canonical)):
            data = bytearray(event.canonical)
            data[place] ^= 1 << (place % 8)
            events = altered(story.events, index, Event(bytes(data), event.hash))
            assert noticed(events, head=story.record.head, why="do not have its hash") == index


def test_any_flipped_byte_of_any_hash_is_noticed_at_that_event() -> None:
    story = long_story()
    for index, event in enumerate(story.events):
        for place in range(32):
            data = bytearray(event.hash)
            data[place] ^= 0x80
            broken = Event(event.canonical, bytes(data))
            assert noticed(altered(story.events, index, broken), head=story.record.head) == index


def test_a_flipped_byte_under_a_hash_made_to_fit_is_noticed_there_or_at_the_next_event() -> None:
    story = long_story()
    for index, event in enumerate(story.events):
        for place in range(0, len(event.canonical), 3):
            data = bytearray(event.canonical)
            data[place] ^= 1
            named = noticed(altered(story.events, index, rehashed(bytes(data))), head=story.record.head)
            assert named in (index, index + 1)


def test_a_dropped_event_is_noticed_where_it_is_missing_and_the_last_one_by_the_head() -> None:
    story = long_story()
    for index in range(len(story.events)):
        assert noticed([*story.events[:index], *story.events[index + 1 :]], head=story.record.head) == index


def test_two_events_that_changed_places_are_noticed_at_the_first() -> None:
    story = long_story()
    for first in range(len(story.events)):
        for second in range(first + 1, len(story.events)):
            events = [*story.events]
            events[first], events[second] = events[second], events[first]
            assert noticed(events, head=story.record.head, why="" if first == 0 else "does not follow") == first


def test_an_event_told_twice_is_noticed() -> None:
    story = long_story()
    for index, event in enumerate(story.events):
        assert noticed([*story.events[: index + 1], event, *story.events[index + 1 :]], head=b"") == index + 1


def test_an_event_of_another_record_is_noticed() -> None:
    mine, theirs = agreed(), agreed(asked("c-2"))
    assert noticed([mine.events[0], theirs.events[1]], head=theirs.record.head) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"items": [["civil.birth.registered", "birth_weight"]]}, "unknown-field"),
        ({"items": [["civil.birth.registered", "sex"]]}, "required-missing"),
        ({"items": [["civil.birth.registered", "dob_month"]], "more": "x"}, "say more"),
        ({"items": [["civil.birth.registered", "dob_month"]] * 2}, "not canonical"),
        ({"items": 7}, "not an event"),
        ({}, "not an event"),
    ],
)
def test_a_forged_event_that_is_well_linked_but_could_not_have_happened_is_noticed(
    body: dict[str, Any], why: str
) -> None:
    kept = agreed()
    record = kept.record
    forged = link(
        record=record.id,
        number=record.events,
        action="narrow",
        at_us=NOON_US + 5,
        by=SELF,
        prev=record.head,
        body=body,
    )
    with pytest.raises(ConsentError) as raised:
        fold([*kept.events, forged])
    assert (raised.value.code, raised.value.index) == (Code.CHAIN, 2)
    assert why in raised.value.what


@pytest.mark.parametrize("stretch", [0, 1])
def test_a_forged_grant_that_reuses_an_earlier_stretch_is_noticed(stretch: int) -> None:
    waiting = asked(stretch_before=1)
    body = dict(agreed(waiting).events[1].said.body) | {"stretch": stretch}
    forged = link(
        record="c-1", number=1, action="give", at_us=NOON_US + 5, by=SELF, prev=waiting.record.head, body=body
    )
    assert noticed([*waiting.events, forged], head=forged.hash) == 1


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b'{"by":{}}', b"[" * 100_000])
def test_bytes_that_are_no_event_are_noticed_and_crash_nothing(data: bytes) -> None:
    assert noticed([rehashed(data)], head=b"") == 0


def test_the_same_event_with_a_space_in_it_is_another_event() -> None:
    event = asked().events[0]
    assert noticed([rehashed(event.canonical.replace(b":", b": ", 1))], head=b"") == 0


# Vectors


def vectors() -> Iterator[dict[str, Any]]:
    """Describe every story: its bytes as text, their hashes, and the record they make."""
    for name, kept in stories().items():
        record = kept.record
        yield {
            "name": name,
            "events": [{"canonical": event.canonical.decode(), "sha256": event.hash.hex()} for event in kept.events],
            "record": {
                "id": record.id,
                "state": record.state.value,
                "stretch": record.stretch,
                "items": [[*pair] for pair in sorted(record.items)],
                "given_us": record.given_us,
                "until_us": record.until_us,
                "ended_us": record.ended_us,
                "acr": record.acr,
                "continues": record.continues,
                "successor": record.successor,
                "cause": record.cause,
                "terms_sha256": record.terms.digest.hex(),
            },
        }


def written() -> str:
    return json.dumps([*vectors()], indent=1, ensure_ascii=False) + "\n"


def test_the_bytes_of_every_story_are_those_of_the_vectors() -> None:
    assert json.loads(VECTORS.read_text()) == [*vectors()]


@pytest.mark.parametrize(
    "story", json.loads(VECTORS.read_text()) if VECTORS.exists() else [], ids=lambda one: one["name"]
)
def test_the_vectors_hold_together_for_whoever_has_only_json_and_sha256(story: dict[str, Any]) -> None:
    """An independent reading: sorted keys without spaces are RFC 8785 for the ASCII names and integers used here."""
    before = bytes(32).hex()
    for number, event in enumerate(story["events"]):
        said = json.loads(event["canonical"])
        plain = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert plain == event["canonical"].encode()
        assert hashlib.sha256(plain).hexdigest() == event["sha256"]
        assert (said["prev"], said["number"], said["record"]) == (before, number, story["record"]["id"])
        before = event["sha256"]


if __name__ == "__main__":
    VECTORS.write_text(written())
