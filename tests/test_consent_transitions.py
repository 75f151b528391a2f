"""Every action in every state: what it makes of the record, or that it cannot be."""

import pytest

from consent.chain import START, link
from consent.errors import Code, ConsentError
from consent.history import fold
from consent.record import possible
from consent.states import MOVES, Action, State
from tests.consent_examples import ASKED_UNTIL_US, NOON_US, SELF, UNTIL_US, Kept, attempt, in_state

# One row per state, one column per action. "-": not possible. "early": its time has not come. "same": no event.
# "requested!" and the like: the time is over at this instant and nobody has written it down yet.
TABLE = """
            give  refuse  lapse  pause  resume narrow extend withdraw  expire  supersede  renew   terminate  invalidate
requested   given refused early  -      -      -      -      -         -       -          -       -          -
requested!  -     -       lapsed -      -      -      -      -         -       -          -       -          -
given       -     -       -      paused -      given  given  withdrawn early   superseded renewed terminated invalidated
given!      -     -       -      -      -      -      -      -         expired -          -       -          -
paused      -     -       -      -      given  paused -      withdrawn early   superseded -       terminated invalidated
paused!     -     -       -      -      -      -      -      -         expired -          -       -          -
refused     -     -       -      -      -      -      -      -         -       -          -       -          -
lapsed      -     -       -      -      -      -      -      -         -       -          -       -          -
renewed     -     -       -      -      -      -      -      -         -       -          -       -          -
superseded  -     -       -      -      -      -      -      -         -       -          -       -          -
withdrawn   -     -       -      -      -      -      -      same      -       -          -       -          -
expired     -     -       -      -      -      -      -      -         -       -          -       -          -
terminated  -     -       -      -      -      -      -      -         -       -          -       -          -
invalidated -     -       -      -      -      -      -      -         -       -          -       -          -
"""
_HEADER, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [(row[0], Action(action), outcome) for row in _ROWS for action, outcome in zip(_HEADER, row[1:], strict=True)]


def arranged(name: str) -> tuple[Kept, int]:
    """Return the record of a row, and the moment at which something is done to it."""
    kept = in_state(State(name.removesuffix("!")))
    if not name.endswith("!"):
        return kept, max(kept.record.at_us, NOON_US + 20)
    return kept, ASKED_UNTIL_US if name == "requested!" else UNTIL_US


def test_the_table_leaves_out_no_state_and_no_action() -> None:
    states, actions = {row[0].removesuffix("!") for row in _ROWS}, {*_HEADER}
    assert states == {*State} - {State.NONE}
    assert actions == {*Action} - {Action.REQUEST}
    assert len(CELLS) == 14 * 13


@pytest.mark.parametrize(("name", "action", "outcome"), CELLS)
def test_every_action_in_every_state_does_what_the_table_says(name: str, action: Action, outcome: str) -> None:
    """A move gives the state of the table and an event that folds back; anything else raises and names what can be."""
    kept, at_us = arranged(name)
    if outcome == "same":
        assert attempt(action, kept.record, at_us) == (kept.record, None)
    elif outcome in ("-", "early"):
        with pytest.raises(ConsentError) as raised:
            attempt(action, kept.record, at_us)
        # Nobody can give the continuation of a consent that does not run, so there the successor is what is wrong.
        no_next = action in (Action.RENEW, Action.SUPERSEDE)
        expected = (
            {Code.TOO_EARLY} if outcome == "early" else {Code.ILLEGAL, Code.SUCCESSOR} if no_next else {Code.ILLEGAL}
        )
        assert raised.value.code in expected
    else:
        after = kept.then(attempt(action, kept.record, at_us))
        assert after.record.state == outcome
        assert len(after.events) == len(kept.events) + 1
        assert fold(after.events, head=after.record.head) == after.record


@pytest.mark.parametrize("name", [row[0] for row in _ROWS])
def test_what_is_called_possible_is_exactly_what_the_table_lets_happen(name: str) -> None:
    kept, at_us = arranged(name)
    moves = {action for row, action, outcome in CELLS if row == name and outcome not in ("-", "early", "same")}
    assert possible(kept.record, at_us) == moves


@pytest.mark.parametrize("state", sorted({*State} - {State.NONE}))
def test_a_record_is_requested_only_once(state: State) -> None:
    """No function asks again; a history that says so is not believed."""
    kept = in_state(state)
    body = kept.events[0].said.body
    forged = link(
        record=kept.record.id,
        number=kept.record.events,
        action=Action.REQUEST,
        at_us=kept.record.at_us,
        by=SELF,
        prev=kept.record.head,
        body=body,
    )
    with pytest.raises(ConsentError) as raised:
        fold([*kept.events, forged])
    assert (raised.value.code, raised.value.index) == (Code.CHAIN, kept.record.events)


@pytest.mark.parametrize("action", sorted({*Action} - {Action.REQUEST}))
def test_nothing_but_a_request_begins_a_record(action: Action) -> None:
    forged = link(record="c-1", number=0, action=action, at_us=NOON_US, by=SELF, prev=START, body={})
    with pytest.raises(ConsentError) as raised:
        fold([forged])
    assert (raised.value.code, raised.value.index) == (Code.CHAIN, 0)


def test_every_state_has_its_moves_written_down_and_every_end_is_an_end() -> None:
    assert {*MOVES} == {*State}
    assert {state for state in State if not MOVES[state]} == {*State} - {
        State.NONE,
        State.REQUESTED,
        State.GIVEN,
        State.PAUSED,
    }


def test_an_impossible_action_is_answered_with_the_state_and_what_is_possible() -> None:
    with pytest.raises(ConsentError) as raised:
        attempt(Action.EXTEND, in_state(State.PAUSED).record, NOON_US + 20)
    error = raised.value
    assert error.what == "extend is not possible: the consent is paused"
    assert error.items == ("invalidate", "narrow", "resume", "supersede", "terminate", "withdraw")
    assert error.remedy == "Possible: invalidate, narrow, resume, supersede, terminate, withdraw."


def test_after_an_end_only_a_new_consent_can_follow_and_the_error_says_so() -> None:
    with pytest.raises(ConsentError) as raised:
        attempt(Action.RESUME, in_state(State.TERMINATED).record, NOON_US + 20)
    assert raised.value.items == ()
    assert raised.value.remedy == "It has ended; only a new consent can follow."
