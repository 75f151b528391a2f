"""An event whose decision meets a defect stops its own chain and nobody else's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.store.engine import Tx
from hub.store.facts import PERSON_FENCE, raise_fence
from tests.protocol_world import CONSENT, Hub, opened

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one


def _spoil(hub: Hub, person: int) -> None:
    """Leave a person's date of birth unreadable, as a damaged disk would."""

    def transaction(tx: Tx) -> None:
        tx.run("UPDATE person SET born = ? WHERE id = ?", (bytes(40), person))
        raise_fence(tx, PERSON_FENCE, person)

    hub.store.write(transaction)


def test_a_defect_met_by_one_event_holds_up_nobody_else(hub: Hub) -> None:
    """One person's data cannot be read: their events wait, listed; everybody else's are decided and handed out."""
    spoilt, sound = hub.link("A"), hub.link("B")
    hub.grant(spoilt)
    hub.grant(sound)
    _spoil(hub, spoilt)
    hub.publish("e1", "A")
    hub.publish("e2", "B")
    counts = hub.decide()
    assert (counts.parked, counts.poisoned, counts.events) == (1, 1, 1)
    assert len(hub.pull().opened) == 1
    assert hub.rows("SELECT count(*) FROM waiting") == [(1,)]


def test_what_comes_after_a_poisoned_event_waits_behind_it(hub: Hub) -> None:
    """A later event of the same person does not overtake the one that cannot be decided."""
    spoilt = hub.link("A")
    hub.grant(spoilt)
    _spoil(hub, spoilt)
    hub.publish("e1", "A")
    hub.decide()
    hub.store.write(lambda tx: tx.run("UPDATE person SET born = NULL WHERE id = ?", (spoilt,)))
    hub.publish("e2", "A")
    counts = hub.decide()
    assert (counts.parked, counts.poisoned) == (1, 0)
    assert hub.states(CONSENT) == []
