"""Promise 2: no release without its audit row, committed in the same transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from hub.store.history import HANDED
from tests.promise_hub import crashing, restarted
from tests.protocol_world import Hub, opened
from tests.stores import on_postgres, owner_dsn_of

pytestmark = pytest.mark.engines(whole=True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that knows one person, who has said yes."""
    with opened(tmp_path) as one:
        one.grant(one.link("A"))
        yield one


FULL = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END"
FULL_ON_POSTGRES = "ALTER TABLE audit ADD CONSTRAINT no_room CHECK (id < 0) NOT VALID"


@contextmanager
def no_room(hub: Hub) -> Iterator[None]:
    """Let nobody write an audit row."""
    if on_postgres():
        with psycopg.connect(owner_dsn_of(hub.directory / "hub.sqlite"), autocommit=True) as owner:
            owner.execute(FULL_ON_POSTGRES)
            yield
            owner.execute("ALTER TABLE audit DROP CONSTRAINT no_room")
    else:
        hub.store.write(lambda tx: tx.run(FULL))
        yield
        hub.store.write(lambda tx: tx.run("DROP TRIGGER full"))


def test_nothing_is_opened_where_its_audit_row_cannot_be_written(hub: Hub) -> None:
    """The hand-out fails as a whole: the delivery is as it was, and goes once there is room."""
    hub.publish("1")
    hub.decide()
    before = hub.states()
    with no_room(hub), pytest.raises(Exception, match=r"no.room"):
        hub.pull()
    assert (hub.states(), hub.rows("SELECT * FROM handout")) == (before, [])
    assert len(hub.pull().opened) == 1


def test_nothing_is_decided_where_its_audit_row_cannot_be_written(hub: Hub) -> None:
    """No delivery, no history, and the event stays on the bus."""
    hub.publish("1")
    with no_room(hub), pytest.raises(Exception, match=r"no.room"):
        hub.decide()
    assert [hub.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("delivery", "event_seen")] == [0, 0]
    after = restarted(hub)
    assert after.decide().releases == 1
    after.close()


@pytest.mark.parametrize("point", ["gate.before_commit", "handout.before_commit"])
def test_a_crash_leaves_both_or_neither(hub: Hub, point: str) -> None:
    """Just before the commit neither the release nor its row is there."""
    hub.publish("1")
    if point.startswith("handout"):
        hub.decide()
    before = hub.rows("SELECT count(*) FROM audit"), hub.states()
    after = crashing(hub, point, lambda: (hub.decide(), hub.pull()))
    assert (after.rows("SELECT count(*) FROM audit"), after.states()) == before
    after.decide()
    assert len(after.pull().opened) == 1
    after.close()


def test_every_opening_is_named_in_an_audit_row(hub: Hub) -> None:
    """Under its running number, each time that it was opened, and its decision has a row of its own."""
    for at in range(5):
        hub.publish(str(at))
    hub.decide()
    hub.pull(limit=2)
    hub.pull()
    hub.pass_by(61)
    again = hub.pull()
    assert [one.number for one in again.opened] == [1, 2, 3, 4, 5]
    pages = [detail for (detail,) in hub.rows("SELECT detail FROM audit WHERE kind = 2 ORDER BY id")]
    named = [[number for _, number, _, _ in HANDED.iter_unpack(page)] for page in pages]
    assert named == [[1, 2], [3, 4, 5], [1, 2, 3, 4, 5]]
    decisions = hub.rows("SELECT count(*) FROM delivery d JOIN audit a ON a.id = d.audit WHERE a.kind = 1")
    assert decisions == [(5,)]
