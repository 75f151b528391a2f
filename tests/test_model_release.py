"""The model's counterexamples about the barrier and the receipt (I1, I7): each forced on the real code, row by row.

Where the one writer excludes the interleaving, the exclusion is tested: the other side asks while the first stands in
its transaction, does not come back before the first is through, and what it then says is true.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.failpoints import disarm
from tests import stores
from tests.interleaving import Doing, counting, failing, paused
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, OBJECTION, Hub, Matter, opened
from tests.stores import disk_full

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        disarm()
        assert faults(one) == []


def ready(hub: Hub, matter: Matter = CONSENT, event: str = "e1") -> tuple[int, str]:
    """Bring one event to a ready delivery; returns (person, consent)."""
    person = hub.link("A", matter)
    consent = hub.grant(person, matter) if matter is not OBJECTION else ""
    hub.publish(event, "A", matter)
    assert hub.decide().releases == 1
    return person, consent


def test_facts_before_fence(hub: Hub) -> None:
    """A hand-out that was asked for before a withdrawal, and runs after it, goes by the facts after it (I1)."""
    person, consent = ready(hub)
    if stores.on_postgres():  # nobody waits in a queue there: the hand-out comes to its fences last
        with paused("store.queued") as late:
            handing = Doing(hub.pull)
            late.reached()
            assert hub.withdraw(person, consent).receipt.opened_before == ()
        assert [event["kind"] for event in hub.read(handing.result())] == ["stop"]
        assert hub.drain() == ([], 1)
        return
    with paused("store.before_commit") as busy, counting("store.queued") as queued:
        other = Doing(lambda: hub.store.write(lambda tx: tx.run("UPDATE fact SET value = value")))
        busy.reached()
        handing = Doing(hub.pull)
        queued.wait(2)  # it has done whatever it does before its transaction
        withdrawing = Doing(lambda: hub.withdraw(person, consent))
        queued.wait(3)  # in the fast lane: it goes first
        busy.go()
        other.result()
        assert withdrawing.result().receipt.opened_before == ()
    assert [event["kind"] for event in hub.read(handing.result())] == ["stop"]
    assert hub.drain() == ([], 1)


def test_no_second_decision(hub: Hub) -> None:
    """What the gate promised is decided again when it would leave: withdrawn in between, it is cancelled (I1)."""
    person, consent = ready(hub)
    assert hub.withdraw(person, consent).receipt.opened_before == ()
    events, cancelled = hub.drain()
    assert ([event["kind"] for event in events], cancelled) == (["stop"], 1)


def test_no_fence_at_hand_out(hub: Hub) -> None:
    """A withdrawal does not return while a hand-out stands between its decision and its commit (I1)."""
    person, consent = ready(hub)
    with paused("handout.decided") as deciding:
        handing = Doing(hub.pull)
        deciding.reached()
        withdrawing = Doing(lambda: hub.withdraw(person, consent))
        assert not withdrawing.returned()
        deciding.go()
        withdrawing.result()
    assert len(handing.result().opened) == 1
    assert [event["kind"] for event in hub.read(hub.pull())] == ["stop"]  # and nothing of it after the return


def test_no_fence_the_receipt(hub: Hub) -> None:
    """The receipt names the delivery whose hand-out was under way when the withdrawal was asked for (I7)."""
    person, consent = ready(hub)
    with paused("handout.decided") as deciding:
        handing = Doing(hub.pull)
        deciding.reached()
        withdrawing = Doing(lambda: hub.withdraw(person, consent))
        assert not withdrawing.returned()
        deciding.go()
        receipt = withdrawing.result().receipt
    (one,) = handing.result().opened
    assert [(said.delivery, said.number) for said in receipt.opened_before] == [(one.public.hex(), one.number)]


def test_no_policy_fence(hub: Hub) -> None:
    """A policy change waits for the hand-out under way; once it has returned nothing leaves by the old one (I1)."""
    ready(hub)
    hub.publish("e2")
    assert hub.decide().releases == 1
    with paused("handout.decided") as deciding:
        handing = Doing(lambda: hub.pull(limit=1))
        deciding.reached()
        forbidding = Doing(hub.forbid)
        assert not forbidding.returned()
        deciding.go()
        forbidding.result()
    assert len(handing.result().opened) == 1
    assert hub.pull().opened == ()  # the workers still hold the verdicts of the former policy
    assert [state for _, state in hub.states()] == [3, 1]  # so it waits, and is not cancelled
    hub.verdicts.revision()
    assert hub.drain() == ([], 1)


def test_row_locks_objection(hub: Hub) -> None:
    """A first objection, of which no row existed, waits for the hand-out under way and stops the next (I1)."""
    person, _ = ready(hub, OBJECTION)
    hub.publish("e2", "A", OBJECTION)
    assert hub.decide().releases == 1
    with paused("handout.decided") as deciding:
        handing = Doing(lambda: hub.pull(OBJECTION, limit=1))
        deciding.reached()
        objecting = Doing(lambda: hub.object(person))
        assert not objecting.returned()
        deciding.go()
        objecting.result()
    assert len(handing.result().opened) == 1
    events, cancelled = hub.drain(OBJECTION)
    assert ([event["kind"] for event in events], cancelled) == (["stop"], 1)


def test_return_before_commit(hub: Hub) -> None:
    """A withdrawal does not return before its commit; one whose commit fails has changed nothing (I1)."""
    person, consent = ready(hub)
    with paused("store.before_commit") as committing:
        withdrawing = Doing(lambda: hub.withdraw(person, consent))
        committing.reached()
        assert not withdrawing.returned()
    withdrawing.result()

    again = hub.grant(person)
    hub.publish("e2")
    hub.decide()
    with failing("store.before_commit", disk_full), pytest.raises(HubError):
        hub.withdraw(person, again)
    events, cancelled = hub.drain()
    assert [event["kind"] for event in events] == ["stop", "data"]  # of the one withdrawn; of the one in force
    assert cancelled == 1


def test_receipt_before_fence(hub: Hub) -> None:
    """A hand-out that commits while the withdrawal already queues is in its receipt (I7)."""
    person, consent = ready(hub)
    with paused("handout.before_commit") as committing:
        handing = Doing(hub.pull)
        committing.reached()
        withdrawing = Doing(lambda: hub.withdraw(person, consent))
        assert not withdrawing.returned()
        committing.go()
        receipt = withdrawing.result().receipt
    assert len(handing.result().opened) == len(receipt.opened_before) == 1
    assert hub.withdraw(person, consent).receipt == receipt  # asked again, it says the same


def test_a_suspension_stops_what_is_ready(hub: Hub) -> None:
    """Once an agreement's suspension has returned, nothing ready under it leaves, asked for before or after (I1)."""
    ready(hub)
    hub.suspend()
    assert hub.drain() == ([], 1)


def test_a_pause_holds_the_barrier_and_keeps_the_stretch(hub: Hub) -> None:
    """A pause stops what is ready like a withdrawal does; what was refused meanwhile does not come back with it."""
    person, consent = ready(hub)
    hub.pause(person, consent)
    assert hub.drain() == ([], 1)
    hub.resume(person, consent)
    assert hub.pull().opened == ()


def test_bytes_after_the_return(hub: Hub) -> None:
    """Bytes may leave after a withdrawal returned if they were opened before it; the receipt names them (limit)."""
    person, consent = ready(hub)
    page = hub.pull()
    receipt = hub.withdraw(person, consent).receipt
    (late,) = hub.read(page)
    assert [(one.delivery, one.number) for one in receipt.opened_before] == [(late["id"], late["number"])]


def test_a_number_never_seen(hub: Hub) -> None:
    """A number that was opened, lost and then cancelled is not waited for for ever: a stop comes under it (limit)."""
    person, consent = ready(hub)
    (lost,) = hub.pull().opened  # nobody ever sees its bytes
    hub.withdraw(person, consent)
    assert [event["kind"] for event in hub.read(hub.pull())] == ["stop"]  # that of the withdrawal
    hub.pass_by(3600)
    events, cancelled = hub.drain()
    assert ("stop", lost.number) in [(event["kind"], event["number"]) for event in events]
    assert cancelled == 1
    hub.pass_by(3600)
    hub.acknowledge(hub.pull())
    assert hub.states() == []
