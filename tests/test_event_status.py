"""What a publisher learns of an event that was never decided: that it expired, or failed; never why, or of whom."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.exchange.expiry import PIECE, expire_waiting
from hub.exchange.handout import hand_out
from hub.exchange.status import event_of, event_state
from hub.store.engine import Tx
from hub.store.facts import PERSON_FENCE, raise_fence
from tests.protocol_world import CONSENT, LOOK_BACK, Hub, ManualClock, opened

pytestmark = pytest.mark.engines

WAITED_S = 30 * 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> Iterator[Hub]:
    with opened(tmp_path, clock=clock) as one:
        yield one


def state(hub: Hub, token: str) -> str:
    return event_state(hub.store, event_of(hub.keys, token))


def feed(hub: Hub, agency: str) -> list[dict[str, Any]]:
    """Return what an agency's own feed holds for it now."""
    return hub.read(hand_out(hub.world, agency, 500))


def spoil(hub: Hub, person: int) -> None:
    """Leave a person's date of birth unreadable, so that every decision about them meets a defect."""

    def transaction(tx: Tx) -> None:
        tx.run(
            f"UPDATE person SET born = x'{'00' * 40}' WHERE id = ?",
            (person,),
        )
        raise_fence(tx, PERSON_FENCE, person)

    hub.store.write(transaction)


def test_an_event_that_waited_too_long_says_that_it_expired(hub: Hub, clock: ManualClock) -> None:
    """Nobody heard of it, so "handled" would be untrue."""
    token = hub.publish("e1", "A")
    hub.decide()
    clock.pass_by(WAITED_S - 1)
    assert (expire_waiting(hub.world), state(hub, token)) == (0, "waiting")
    clock.pass_by(1)
    assert (expire_waiting(hub.world), state(hub, token)) == (1, "expired")
    hub.link("A")
    assert (hub.gate.revisit(), state(hub, token)) == (None, "expired")


def test_its_publisher_reads_of_it_in_its_own_feed_and_nobody_else_does(hub: Hub, clock: ManualClock) -> None:
    """One notice for all that ended together, by the tokens it has; no id, no name, no reason."""
    tokens = [hub.publish(f"e{number}", f"P-{number}") for number in range(3)]
    other = hub.publish("u1", "U-1", LOOK_BACK)
    hub.decide()
    clock.pass_by(WAITED_S)
    assert expire_waiting(hub.world) == 4
    (notice,) = feed(hub, CONSENT.publisher)
    assert (notice["kind"], notice["type"]) == ("notice", "hub.notice")
    assert notice["data"] == {"type": "event.expired", "dataset": CONSENT.dataset, "events": tokens}
    (theirs,) = feed(hub, LOOK_BACK.publisher)
    assert theirs["data"]["events"] == [other]
    assert notice["id"] != theirs["id"]
    assert feed(hub, CONSENT.recipient) == []


def test_an_event_that_met_a_defect_says_that_it_failed_and_goes_on_saying_so(hub: Hub, clock: ManualClock) -> None:
    """It was not handled and waits for nobody; what waits behind it does wait."""
    spoil(hub, hub.link("A"))
    failed, behind = hub.publish("e1", "A"), hub.publish("e2", "A")
    hub.decide()
    assert (state(hub, failed), state(hub, behind)) == ("failed", "waiting")
    clock.pass_by(WAITED_S)
    assert expire_waiting(hub.world) == 2
    assert (state(hub, failed), state(hub, behind)) == ("failed", "expired")
    told = {one["data"]["type"]: one["data"]["events"] for one in feed(hub, CONSENT.publisher)}
    assert told == {"event.failed": [failed], "event.expired": [behind]}


def test_one_whom_nobody_knows_and_one_whom_somebody_else_knows_look_the_same(hub: Hub, clock: ManualClock) -> None:
    """That the hub knows a person under another agency's id is not to be learned from what expires."""
    hub.link("A", LOOK_BACK)
    tokens = [hub.publish("e1", "A"), hub.publish("e2", "nobody")]
    hub.decide()
    assert [state(hub, token) for token in tokens] == ["waiting"] * 2
    clock.pass_by(WAITED_S)
    expire_waiting(hub.world)
    assert [state(hub, token) for token in tokens] == ["expired"] * 2
    (notice,) = feed(hub, CONSENT.publisher)
    assert notice["data"].keys() == {"type", "dataset", "events"}


def test_an_event_that_was_decided_after_its_link_never_expires(hub: Hub, clock: ManualClock) -> None:
    """Linked in time, it is handled; its time to wait has no meaning any more."""
    token = hub.publish("e1", "A")
    hub.decide()
    hub.link("A")
    assert hub.gate.revisit() is not None
    clock.pass_by(WAITED_S)
    assert (expire_waiting(hub.world), state(hub, token)) == (0, "handled")


def test_very_many_that_end_at_once_make_few_notices(hub: Hub, clock: ManualClock) -> None:
    """One a transaction for each dataset: a publisher whose people nobody links is told without being flooded."""
    tokens = [hub.publish(f"e{number}", f"P-{number}") for number in range(PIECE + 1)]
    hub.decide()
    clock.pass_by(WAITED_S)
    assert (expire_waiting(hub.world), expire_waiting(hub.world)) == (PIECE, 1)
    notices = feed(hub, CONSENT.publisher)
    assert sorted(token for one in notices for token in one["data"]["events"]) == sorted(tokens)
    assert len(notices) == len({one["id"] for one in notices}) == 2
