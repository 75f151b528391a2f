"""The model's spare protections: pairs that back each other up. Each half is tested alone, so that neither rusts away.

That the other half alone suffices is seen by `make mutants`: without one of them the row's own test stays green.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.exchange.choose import Candidate, _candidates
from hub.exchange.disputes import Disputes
from hub.exchange.expiry import expire_held
from hub.exchange.handout import _leave
from hub.failpoints import disarm
from hub.ports import Owned
from hub.store.engine import Tx
from hub.store.facts import disputed_links
from hub.store.positions import Superseded, advance, own
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, LOOK_BACK, Hub, opened

pytestmark = pytest.mark.engines

DAY_S = 86_400


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        disarm()
        assert faults(one) == []


def test_position_without_owner_epoch(hub: Hub) -> None:
    """A batch polled under the present ownership from another offset than the position's moves nothing (I3)."""
    epoch, _ = hub.store.write(lambda tx: own(tx, "in.payments.pay.account"))
    hub.store.write(lambda tx: advance(tx, [Owned("in.payments.pay.account", epoch, 0, 5)]))
    for first in (0, 4, 6):
        polled = [Owned("in.payments.pay.account", epoch, first, 9)]
        with pytest.raises(Superseded):
            hub.store.write(partial(advance, owned=polled))
    assert hub.rows("SELECT next FROM position") == [(5,)]
    hub.store.write(lambda tx: tx.run("DELETE FROM position"))


def test_position_without_old_offset(hub: Hub) -> None:
    """A batch polled under a former ownership moves nothing, even from where the position stands (I3)."""
    former, _ = hub.store.write(lambda tx: own(tx, "in.payments.pay.account"))
    hub.store.write(lambda tx: own(tx, "in.payments.pay.account"))
    with pytest.raises(Superseded):
        hub.store.write(lambda tx: advance(tx, [Owned("in.payments.pay.account", former, 0, 5)]))
    assert hub.rows("SELECT next FROM position") == [(0,)]
    hub.store.write(lambda tx: tx.run("DELETE FROM position"))


def test_held_moved_by_a_later_job(hub: Hub) -> None:
    """A grant's own transaction makes ready what is held for it: nobody has to come by afterwards (I5)."""
    person = hub.link("A", LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    hub.decide()
    assert [state for _, state in hub.states(LOOK_BACK)] == [2]
    hub.grant(person, LOOK_BACK)
    assert [state for _, state in hub.states(LOOK_BACK)] == [1]


def test_held_does_not_block_newer(hub: Hub) -> None:
    """While an earlier delivery is held, a newer one of the same person does not pass it (I5)."""
    person = hub.link("A", LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    hub.decide()
    hub.pass_by(31 * DAY_S)  # its look-back is over, and nobody has swept it yet: a grant leaves it held
    hub.grant(person, LOOK_BACK)
    hub.publish("e2", "A", LOOK_BACK)
    hub.decide()
    assert [state for _, state in hub.states(LOOK_BACK)] == [2, 1]
    assert hub.pull(LOOK_BACK).opened == ()
    expire_held(hub.world)
    assert len(hub.pull(LOOK_BACK).opened) == 1


def test_erase_without_the_fence(hub: Hub) -> None:
    """A hand-out whose candidate was settled meanwhile notices at its own write, and opens nothing (I6)."""
    person = hub.link("A")
    hub.grant(person)
    hub.publish("e1")
    hub.decide()
    recipient = hub.catalogue.agencies[CONSENT.recipient].number
    with hub.store.read() as tx:
        chosen: list[Candidate] = _candidates(
            tx, recipient, 10, hub.clock(), 10, Disputes(disputed_links(tx), hub.catalogue, recipient)
        )
    assert len(chosen) == 1
    hub.erase(person)
    hub.store.write(lambda tx: tx.run("DELETE FROM queue WHERE person = ?", (person,)))

    def leave(tx: Tx) -> None:
        _leave(tx, recipient, chosen)

    with pytest.raises(HubError, match="changed meanwhile"):
        hub.store.write(leave)
