"""Promise 4: one door, one moment. Once a withdrawal has returned, no hand-out that relied on it commits any more.

Not from a queue, a retry, a replay, a hold or a restart; what was opened just before is named in the receipt.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.promise_hub import REDELIVER_S, crashing, restarted
from tests.protocol_world import CONSENT, LOOK_BACK, OBJECTION, Hub, Matter, opened

pytestmark = pytest.mark.engines(whole=True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub without anybody."""
    with opened(tmp_path) as one:
        yield one


def kinds(hub: Hub, matter: Matter = CONSENT) -> list[str]:
    return [event["kind"] for event in hub.drain(matter)[0]]


@pytest.mark.parametrize("matter", [CONSENT, LOOK_BACK], ids=["without look-back", "with look-back"])
def test_what_was_ready_does_not_go_after_a_withdrawal(hub: Hub, matter: Matter) -> None:
    """The recipient hears of the withdrawal alone."""
    person = hub.link("A", matter)
    consent = hub.grant(person, matter)
    hub.publish("1", matter=matter)
    hub.decide()
    hub.withdraw(person, consent)
    assert kinds(hub, matter) == ["stop"]


def test_what_was_still_on_the_bus_does_not_go(hub: Hub) -> None:
    """Published before, decided after: the answer of the moment counts."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("1")
    hub.withdraw(person, consent)
    hub.decide()
    assert kinds(hub) == ["stop"]


def test_what_was_opened_before_is_named_and_does_not_come_again(hub: Hub) -> None:
    """Unacknowledged it would have come again; now a stop comes under its number."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("1")
    hub.publish("2")
    hub.decide()
    (first,) = hub.pull(limit=1).opened
    receipt = hub.withdraw(person, consent).receipt
    assert [(one.delivery, one.number) for one in receipt.opened_before] == [(first.public.hex(), first.number)]
    hub.pass_by(REDELIVER_S)
    events = hub.drain()[0]
    assert {event["kind"] for event in events} == {"stop"}
    assert first.number in {event["number"] for event in events}


def test_a_restart_or_a_replay_opens_nothing_either(hub: Hub) -> None:
    """Neither does the same event published once more."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("1")
    hub.decide()
    hub.withdraw(person, consent)
    after = restarted(hub)
    after.publish("1")
    after.decide()
    assert kinds(after) == ["stop"]
    after.close()


def test_a_crash_after_the_commit_of_a_withdrawal_does_not_undo_it(hub: Hub) -> None:
    """The answer was lost; asked again it is the same receipt, and nothing goes."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("1")
    hub.decide()
    after = crashing(hub, "withdraw.committed", lambda: hub.withdraw(person, consent))
    first = after.withdraw(person, consent).receipt
    assert first == after.withdraw(person, consent).receipt
    assert kinds(after) == ["stop"]
    after.close()


def test_a_crash_before_the_commit_has_withdrawn_nothing(hub: Hub) -> None:
    """It did not return, so it promised nothing."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("1")
    hub.decide()
    after = crashing(hub, "withdraw.before_commit", lambda: hub.withdraw(person, consent))
    assert kinds(after) == ["data"]
    after.close()


def test_a_pause_an_objection_and_a_suspension_hold_the_barrier_as_well(hub: Hub) -> None:
    """Each returns with the door closed."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("1")
    paying = hub.link("P", OBJECTION)
    hub.publish("2", "P", OBJECTION)
    hub.decide()
    hub.pause(person, consent)
    hub.object(paying)
    assert kinds(hub) == []
    assert kinds(hub, OBJECTION) == ["stop"]
    hub.resume(person, consent)
    hub.publish("3")
    hub.decide()
    hub.suspend()
    assert kinds(hub) == []


def test_a_new_yes_does_not_let_go_what_the_former_one_promised(hub: Hub) -> None:
    """Without look-back every stretch of consent begins with nothing."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("1")
    hub.decide()
    hub.withdraw(person, consent)
    hub.grant(person)
    hub.publish("2")
    hub.decide()
    data = [event for event in hub.drain()[0] if event["kind"] == "data"]
    assert len(data) == 1
