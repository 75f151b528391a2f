"""The model's counterexamples about what is recorded (I2, I3, I6): each forced on the real code, row by row.

Nothing is lost, nothing is decided twice, nothing leaves without its audit row, nothing of an erased person is opened.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from hub.bus.embedded import EmbeddedBus
from hub.core.errors import HubError
from hub.exchange.gate import Gate, Undecided
from hub.exchange.status import event_of, event_state
from hub.failpoints import disarm
from hub.ports import Batch, Owned
from hub.store.deliveries import DeliveryKind
from hub.store.engine import unavailable
from hub.store.positions import Superseded
from tests.interleaving import Crash, Doing, doing_at, failing, paused
from tests.protocol_checks import faults
from tests.protocol_world import LOOK_BACK, OBJECTION, PATIENCE_S, Hub, opened
from tests.stores import disk_full

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        disarm()
        assert faults(one) == []


def test_facts_before_fence_gate(hub: Hub) -> None:
    """What changed after the gate prepared a batch counts: the event is ready, not held for a grant given (I3)."""
    hub.grant(hub.link("B", LOOK_BACK), LOOK_BACK)
    hub.publish("e0", "B", LOOK_BACK)
    hub.decide()  # from here on the verdict on a consent given is known
    hub.acknowledge(hub.pull(LOOK_BACK), LOOK_BACK)
    person = hub.link("A", LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    with doing_at("gate.prepared", lambda: hub.grant(person, LOOK_BACK)):
        done = hub.decide()
    assert (done.releases, done.holds) == (1, 0)
    assert len(hub.pull(LOOK_BACK).opened) == 1


def test_no_fence_at_gate(hub: Hub) -> None:
    """A grant waits for the gate that decided without it, and then finds what that held (I3)."""
    person = hub.link("A", LOOK_BACK)
    hub.withdraw(person, hub.grant(person, LOOK_BACK))  # a row about the person exists, and says no
    hub.acknowledge(hub.pull(LOOK_BACK), LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    with paused("gate.decided") as deciding:
        deciding_all = Doing(hub.decide)
        deciding.reached()
        granting = Doing(lambda: hub.grant(person, LOOK_BACK))
        assert not granting.returned()
        deciding.go()
        assert deciding_all.result().holds == 1
        granting.result()
    assert len(hub.pull(LOOK_BACK).opened) == 1


def test_row_locks_first_grant(hub: Hub) -> None:
    """The first grant ever, of which no row existed to be locked, waits for the gate as well (I3)."""
    person = hub.link("A", LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    with paused("gate.decided") as deciding:
        deciding_all = Doing(hub.decide)
        deciding.reached()
        granting = Doing(lambda: hub.grant(person, LOOK_BACK))
        assert not granting.returned()
        deciding.go()
        deciding_all.result()
        granting.result()
    assert len(hub.pull(LOOK_BACK).opened) == 1


def test_position_set_blindly(hub: Hub) -> None:
    """A gate that lost its partition while it worked commits nothing: the position does not go back (I3)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")

    def take_over() -> None:
        hub.publish("e2")
        newer = Gate(replace(hub.world, bus=EmbeddedBus(hub.store)))
        assert hub.decide(newer).events == 2

    with doing_at("gate.prepared", take_over), pytest.raises(Superseded):
        hub.decide()
    assert hub.rows("SELECT next FROM position") == [(2,)]
    assert len(hub.drain()[0]) == 2


def test_ack_before_commit(hub: Hub) -> None:
    """The bus is told to forget an event only when its decision is durable; a crash in between repeats it (I3)."""
    hub.grant(hub.link("A"))
    told: list[tuple[int, int]] = []

    class Listening(EmbeddedBus):
        """Notes what the position was when it was told to forget."""

        def acknowledge(self, owned: Sequence[Owned]) -> None:
            told.extend((part.next, hub.rows("SELECT next FROM position")[0][0]) for part in owned)
            super().acknowledge(owned)

    hub.publish("e1")
    gate = Gate(replace(hub.world, bus=Listening(hub.store)))
    with failing("store.before_commit", disk_full), pytest.raises(HubError):
        hub.decide(gate)
    assert told == []
    with paused("store.before_commit") as committing:
        deciding = Doing(lambda: hub.decide(gate))
        committing.reached()
        assert not deciding.returned()
        assert told == []
    assert deciding.result().events == 1
    assert told == [(1, 1)]


def test_what_committed_while_the_next_batch_failed_is_told(hub: Hub) -> None:
    """Whoever waits for its deliveries is woken, and it is counted, though the step that saw it through raised."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    assert hub.gate.step(0.0) is None
    hub.publish("e2")
    with failing("gate.prepared", lambda: unavailable("the policy does not answer", "")), pytest.raises(HubError):
        hub.gate.step(0.0)
    assert [one.counts.events for one in hub.gate.done] == [1]
    assert [len(one.wrote.deliveries) for one in hub.gate.done] == [1]
    assert hub.decide().events == 1


def test_what_committed_while_the_bus_went_away_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not decided again once the bus is back."""

    def away(_limit: int, _wait_s: float) -> Batch:
        raise unavailable("the event bus does not answer", "")

    hub.grant(hub.link("A"))
    hub.publish("e1")
    until_s = monotonic() + PATIENCE_S
    while hub.gate.idle():
        assert hub.gate.step(0.1) is None
        assert monotonic() < until_s
    with monkeypatch.context() as gone:
        gone.setattr(hub.world.bus, "poll", away)
        with pytest.raises(HubError, match="bus"):
            hub.gate.step(0.0)
    assert [one.counts.events for one in hub.gate.done] == [1]
    hub.publish("e2")
    assert hub.decide().events == 1


def test_repeats_not_dropped(hub: Hub) -> None:
    """The same event published twice, in one batch or in two, is decided once and delivered once (I2)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    hub.publish("e1")
    assert hub.decide()[:2] == (1, 1)
    hub.publish("e1")
    assert hub.decide()[:2] == (0, 1)
    assert len(hub.drain()[0]) == 1


def test_a_repeat_with_other_content_is_a_conflict(hub: Hub) -> None:
    """The same id with other content changes nothing, and its publisher is told so (I2)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    token = hub.publish("e1", municipality_code="M-8")
    assert hub.decide()[:3] == (1, 0, 1)
    assert event_state(hub.store, event_of(hub.keys, token)) == "conflict"
    assert [event["data"] for event in hub.drain()[0]] == [{"municipality_code": "M-7"}]


def test_sequence_cursor(hub: Hub) -> None:
    """What becomes ready after newer deliveries went out is still chosen: by its state, not by its place (I3)."""
    late, early = hub.link("A", LOOK_BACK), hub.link("B", LOOK_BACK)
    hub.grant(early, LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    hub.publish("e2", "B", LOOK_BACK)
    assert hub.decide()[5:7] == (1, 1)
    assert len(hub.drain(LOOK_BACK)[0]) == 1
    hub.grant(late, LOOK_BACK)
    assert len(hub.drain(LOOK_BACK)[0]) == 1


def test_bytes_before_commit(hub: Hub) -> None:
    """Nothing can be sent before the hand-out's commit; one whose commit fails has opened nothing (I2)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    hub.decide()
    with failing("store.before_commit", disk_full), pytest.raises(HubError):
        hub.pull()
    assert hub.rows("SELECT count(*) FROM handout") == [(0,)]
    with paused("store.before_commit") as committing:
        handing = Doing(hub.pull)
        committing.reached()
        assert not handing.returned()
    assert len(handing.result().opened) == 1


def test_audit_row_apart(hub: Hub) -> None:
    """From the first moment that an opening can be seen, its audit row can be seen (I2)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    hub.decide()
    seen: list[list[str]] = []
    with doing_at("handout.committed", lambda: seen.append(faults(hub))), paused("store.before_commit", passing=1):
        assert len(hub.pull().opened) == 1
    assert seen == [[]]


def test_undefined_is_a_no(hub: Hub) -> None:
    """Without an answer of the engine an event waits on the bus, unrefused, and goes when the engine is back (I3)."""
    hub.grant(hub.link("A"))
    token = hub.publish("e1")
    hub.policy.down = True
    for _ in range(2):
        with pytest.raises(HubError):
            hub.decide()
    assert hub.rows("SELECT count(*) FROM event_seen") == [(0,)]
    assert event_state(hub.store, event_of(hub.keys, token)) == "accepted"
    hub.policy.down = False
    assert hub.decide().releases == 1


def test_an_outdated_verdict_is_no_answer(hub: Hub) -> None:
    """A verdict given before the policy changed decides nothing: the gate rolls back and asks again (I3)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    with doing_at("gate.prepared", hub.forbid), pytest.raises(Undecided):
        hub.decide()
    assert hub.rows("SELECT count(*) FROM event_seen") == [(0,)]
    hub.verdicts.revision()
    assert hub.decide().refusals == 1


def test_erase_beside_hand_out(hub: Hub) -> None:
    """An erasure waits for the hand-out under way; once it has returned nothing of the person is opened (I6)."""
    person = hub.link("A")
    hub.grant(person)
    for event in ("e1", "e2"):
        hub.publish(event)
    hub.decide()
    with paused("handout.decided") as deciding:
        handing = Doing(lambda: hub.pull(limit=1))
        deciding.reached()
        erasing = Doing(lambda: hub.erase(person))
        assert not erasing.returned()
        deciding.go()
        erasing.result()
    assert len(handing.result().opened) == 1
    hub.pass_by(3600)
    assert {one.kind for one in hub.pull().opened} == {DeliveryKind.DELETE}


def test_erase_leaves_no_mark(hub: Hub) -> None:
    """An event still on the bus when its person is erased is refused: it brings nobody back (I6)."""
    person = hub.link("A", LOOK_BACK)
    hub.grant(person, LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    hub.erase(person)
    done = hub.decide()
    assert done[5:8] == (0, 0, 1)  # nothing is released, nothing is held for somebody who is not there
    assert hub.pull(LOOK_BACK).opened == ()
    assert hub.rows("SELECT key IS NULL FROM person") == [(1,)]


def test_a_crash_before_any_commit_repeats_the_batch(hub: Hub) -> None:
    """A gate that dies in its transaction leaves nothing behind, on disk or in memory (I3, I8)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    with failing("store.before_commit", disk_full), pytest.raises(HubError):
        hub.decide()
    assert hub.decide().releases == 1
    assert len(hub.drain()[0]) == 1  # its shapes were stored with it, not thought to be


def test_a_publish_that_fails_leaves_no_topic_and_no_key(hub: Hub) -> None:
    """What a failed commit took back is not remembered: the next publish can be read after a restart (I3)."""
    hub.link("A", OBJECTION)
    for failed in range(2):  # first the day's key does not become durable, then the topic
        with (
            failing("store.before_commit", disk_full, passing=failed),
            pytest.raises(HubError),
        ):
            hub.publish("e1", "A", OBJECTION)
    hub.publish("e1", "A", OBJECTION)
    hub.close()
    with opened(hub.directory) as after:
        assert after.decide().releases == 1
        assert faults(after) == []
    hub.__post_init__()  # the fixture looks once more


def test_a_hand_out_that_crashes_opens_nothing(hub: Hub) -> None:
    """A hand-out that dies at any moment of its transaction has opened nothing, and the next one opens it (I2)."""
    hub.grant(hub.link("A"))
    hub.publish("e1")
    hub.decide()
    for moment in ("handout.begun", "handout.decided", "handout.before_commit"):
        with failing(moment), pytest.raises(Crash):
            hub.pull()
        assert hub.rows("SELECT number FROM handout UNION ALL SELECT id FROM audit WHERE kind = 2") == []
    assert len(hub.pull().opened) == 1


def test_a_withdrawal_that_crashes_changes_nothing(hub: Hub) -> None:
    """A withdrawal that dies in its transaction has ended nothing, and can be asked for again (I8)."""
    person = hub.link("A")
    consent = hub.grant(person)
    for moment in ("withdraw.begun", "withdraw.recorded", "withdraw.before_commit"):
        with failing(moment), pytest.raises(Crash):
            hub.withdraw(person, consent)
        assert hub.rows("SELECT state FROM consent") == [("given",)]
    assert hub.withdraw(person, consent).state == "withdrawn"
