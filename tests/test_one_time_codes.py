"""One-time codes: right once, for ten minutes, however they are typed or pasted; and nobody gets to guess."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import HubError, Kind
from hub.identity.one_time_codes import (
    ATTEMPTS,
    HOUR_US,
    ISSUED_PER_HOUR,
    LIFE_US,
    Tried,
    check,
    digits,
    forget_codes,
    issue,
)
from tests.citizen_world import Town

pytestmark = pytest.mark.engines
ADA, BEN, AIM = 17, 18, "counter:V-17"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.store.close()


def given(town: Town, person: int = ADA, aim: str = AIM) -> str:
    return issue(town.store, town.keys, person=person, aim=aim, now_us=town.now_us)


def tried(town: Town, typed: str, person: int = ADA, aim: str = AIM) -> Tried:
    return check(town.store, town.keys, typed, person=person, aim=aim, now_us=town.now_us)


def wrong(code: str) -> str:
    return f"{(int(digits(code)) + 1) % 10**8:08}"


def test_a_code_is_right_once(town: Town) -> None:
    """For its person and its aim alone."""
    code = given(town)
    assert tried(town, code, person=BEN) is Tried.OVER
    assert tried(town, code, aim="counter:V-18") is Tried.OVER
    assert tried(town, code) is Tried.RIGHT
    assert tried(town, code) is Tried.OVER


def test_a_code_lasts_ten_minutes(town: Town) -> None:
    """To the microsecond."""
    code, first_us = given(town), town.now_us
    town.now_us = first_us + LIFE_US
    assert tried(town, code) is Tried.OVER
    town.now_us = first_us + LIFE_US - 1
    assert tried(town, code) is Tried.RIGHT


def test_after_five_wrong_tries_the_right_one_is_worth_nothing(town: Town) -> None:
    """A slip that cannot be a code at all is not counted."""
    code = given(town)
    for _ in range(ATTEMPTS - 1):
        assert tried(town, wrong(code)) is Tried.WRONG
        assert tried(town, "1234") is Tried.WRONG
    assert tried(town, code) is Tried.RIGHT
    code = given(town)
    for _ in range(ATTEMPTS):
        assert tried(town, wrong(code)) is Tried.WRONG
    assert tried(town, code) is Tried.OVER


def test_many_tries_at_once_are_no_more_tries(town: Town) -> None:
    """Each is counted in the transaction that compares it."""
    code = given(town)
    found: list[Tried] = []
    guesses = [wrong(code)] * (3 * ATTEMPTS)
    threads = [threading.Thread(target=lambda one=one: found.append(tried(town, one))) for one in guesses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(Tried.WRONG) == ATTEMPTS
    assert tried(town, code) is Tried.OVER


def test_a_new_code_replaces_the_one_before_and_there_are_five_an_hour(town: Town) -> None:
    """The sixth has to wait, and says how long; other aims and people are not concerned."""
    first, second = given(town), given(town)
    assert first == second or tried(town, first) is Tried.WRONG
    assert tried(town, second) is Tried.RIGHT
    for _ in range(ISSUED_PER_HOUR - 2):
        given(town)
    town.now_us += 60_000_000
    with pytest.raises(HubError) as caught:
        given(town)
    assert (caught.value.kind, caught.value.retry_after_s) == (Kind.TOO_MANY, 3_541)
    given(town, BEN)
    given(town, aim="counter:V-18")
    town.now_us += HOUR_US - 60_000_000
    given(town)


def test_only_a_keyed_hash_is_stored_and_it_differs_for_the_same_code(town: Town) -> None:
    """Who reads the store cannot try all hundred million of them without the hub's key."""
    code = given(town)
    ((stored,),) = town.rows("SELECT code FROM one_time_code")
    assert digits(code).encode() not in stored
    assert len(stored) == 16
    tried(town, code)
    assert town.rows("SELECT length(code) FROM one_time_code") == [(0,)]


def test_that_there_were_codes_is_forgotten_after_an_hour(town: Town) -> None:
    """Not before: how many there were is what limits them."""
    given(town)
    town.now_us += HOUR_US - 1
    assert forget_codes(town.store, town.now_us, 10) == 0
    town.now_us += 1
    assert forget_codes(town.store, town.now_us, 10) == 1


def test_a_code_that_was_made_at_the_end_of_that_hour_is_good_for_its_ten_minutes(town: Town) -> None:
    """Clearing away what the hour limited takes no good code along."""
    given(town)
    town.now_us += HOUR_US - 1
    code = given(town)
    town.now_us += 1
    assert forget_codes(town.store, town.now_us, 10) == 0
    assert tried(town, code) is Tried.RIGHT


@pytest.mark.embedded_only  # asks no store
@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("1234 5678", "12345678"),
        ("  1234-5678\n", "12345678"),
        ("1234\u00a05678", "12345678"),
        ("\u200f١٢٣٤ ٥٦٧٨", "12345678"),  # Arabic-Indic digits after a mark of direction
        ("１２３４５６７８", "12345678"),  # full width, from a Chinese keyboard
        ("12345678 is your code", ""),
        ("1234567x", ""),
        ("1" * 65, ""),
        ("²345678", "2345678"),
    ],
)
def test_a_code_is_read_as_people_write_and_paste_it(typed: str, read: str) -> None:
    """In the digits of any script, with what stands between them."""
    assert digits(typed) == read
