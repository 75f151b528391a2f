"""Retention by hand and by the hub itself: what is over goes, in pieces, with a record; what is not stays."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.app import Hub, build
from hub.core.leaf import LeafKind
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.feed import Opened
from hub.exchange.handout import hand_out
from hub.identity.people import NewLink, link
from hub.logs import open_log
from hub.operations.retention import NAMES, classes, empty_delivered, once_a_day, run, run_recorded
from hub.operations.steered import kept_by
from hub.settings import Settings
from hub.store.delivered import empty, left_to_empty
from tests.test_serve import command, environment, serving
from tests.test_workers import DAY_US, Calendar, count, decide, put
from tests.world import birth

pytestmark = pytest.mark.engines

FAMILY = "family-benefits"


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def hub(tmp_path: Path, calendar: Calendar) -> Iterator[Hub]:
    """A hub whose threads are not started, with three births decided for two recipients."""
    settings = Settings(mode="demo", data_dir=tmp_path, synchronous="OFF")
    one = build(settings, clock=calendar, log=open_log(clock=calendar, stream=io.StringIO()))
    people = [NewLink("civil-registry", f"{who}-{n}", f"R-{who}-{n}", 3, None) for who in "CP" for n in (1, 2, 3)]
    assert set(link(one.register, "population-register", people)) == {"linked"}
    put(one, *[birth(str(n), child=f"C-{n}", parents=(f"P-{n}",)) for n in (1, 2, 3)])
    decide(one)
    yield one
    one.close()


def delivered(hub: Hub, limit: int = 500) -> tuple[Opened, ...]:
    """Hand out and acknowledge."""
    opened = hand_out(hub.world, FAMILY, limit).opened
    acknowledge(hub.world, FAMILY, [Acknowledgement(one.number, one.public.hex()) for one in opened])
    return opened


def full(hub: Hub) -> int:
    return count(hub, "delivery WHERE length(payload) > 0")


def over(hub: Hub) -> dict[str, int]:
    return {one.name: one.over() for one in classes(kept_by(hub))}


def test_every_class_says_how_long_and_why(hub: Hub) -> None:
    """The periods are those of the settings in force."""
    listed = classes(kept_by(hub))
    assert tuple(one.name for one in listed) == NAMES
    assert all(one.period and one.why.endswith(".") for one in listed)
    assert next(one.period for one in listed if one.name == "delivered").startswith("90 days")


def test_what_was_delivered_long_ago_is_emptied_and_its_row_stays(hub: Hub, calendar: Calendar) -> None:
    """Ids, parts and history are as before; the payload is gone from the row, and from the file."""
    (first, *_) = delivered(hub)
    before = count(hub, "delivery")
    calendar.pass_days(91)
    mine = "delivery WHERE recipient = ?", hub.world.catalogue.agencies[FAMILY].number
    assert count(hub, *mine) == 3
    assert over(hub)["delivered"] == 3
    (done,) = run_recorded(kept_by(hub), ("delivered",), dry_run=False)
    assert (done["over"], done["gone"], over(hub)["delivered"]) == (3, 3, 0)
    assert count(hub, f"{mine[0]} AND length(payload) > 0 AND kind = 1", mine[1]) == 0
    assert count(hub, "delivery") == before
    assert count(hub, "delivery WHERE public = ? AND length(parts) > 0", first.public) == 1
    with hub.store.read() as tx:
        rows = tx.rows("SELECT detail FROM audit WHERE kind = ? ORDER BY id", (LeafKind.OPERATION.value,))
    assert [json.loads(row[0]) for row in rows] == [
        {"act": "retention", "class": "delivered", "count": 3},
        {"act": "retention", "gone": {"delivered": 3}},
    ]


def test_what_still_stands_on_a_queue_keeps_its_payload_however_old(hub: Hub, calendar: Calendar) -> None:
    """Ready or unacknowledged: it may still go out, and comes with its fields. Once acknowledged it is over."""
    delivered(hub, 1)
    opened = hand_out(hub.world, FAMILY, 1).opened
    calendar.pass_days(91)
    assert over(hub)["delivered"] == 1
    run_recorded(kept_by(hub), (), dry_run=False)
    left = hand_out(hub.world, FAMILY, 500).opened
    assert {one.public for one in opened} <= {one.public for one in left}
    assert all(one.payload for one in left)
    acknowledge(hub.world, FAMILY, [Acknowledgement(one.number, one.public.hex()) for one in left])
    assert over(hub)["delivered"] == 2
    run_recorded(kept_by(hub), (), dry_run=False)
    assert over(hub)["delivered"] == 0


def test_what_is_on_a_queue_again_meanwhile_is_not_emptied(hub: Hub, calendar: Calendar) -> None:
    """The look beside everybody else's work is checked again inside the transaction."""
    with hub.store.read() as tx:
        ids = [row[0] for row in tx.rows("SELECT delivery FROM queue")]
    assert hub.store.write(lambda tx: empty(tx, ids)) == 0
    assert full(hub) == len(ids)


def test_what_is_young_stays(hub: Hub, calendar: Calendar) -> None:
    """A day before its time nothing of it goes."""
    delivered(hub)
    calendar.pass_days(89)
    assert over(hub)["delivered"] == 0
    with hub.store.read() as tx:
        assert left_to_empty(tx, calendar.now_us - 90 * DAY_US) == 0
        assert left_to_empty(tx, calendar.now_us - 88 * DAY_US) == 3


def test_a_dry_run_counts_and_changes_nothing(hub: Hub, calendar: Calendar) -> None:
    """Not even a record of it."""
    delivered(hub)
    calendar.pass_days(91)
    before = count(hub, "audit"), full(hub)
    (done,) = run_recorded(kept_by(hub), ("delivered",), dry_run=True)
    assert (done["over"], done["gone"]) == (3, 0)
    assert (count(hub, "audit"), full(hub)) == before


def test_the_hub_does_it_by_itself_once_a_day(hub: Hub, calendar: Calendar) -> None:
    """In its retention thread; on the same day it does not look again."""
    step = once_a_day(hub.clock, lambda: empty_delivered(kept_by(hub)))
    delivered(hub)
    assert step() == 0
    calendar.pass_days(91)
    assert (step(), step()) == (3, 0)


def test_a_class_goes_piece_by_piece_and_tells_how_far_it_is(hub: Hub) -> None:
    """More than one piece: each is told."""
    rows = [(bytes([n // 256, n % 256]) * 16, "{}", b"", 1) for n in range(450)]
    hub.store.write(lambda tx: tx.insert("session(token, principal, csrf, expires_us)", rows))
    told: list[int] = []
    sessions = next(one for one in classes(kept_by(hub)) if one.name == "sessions")
    assert run(sessions, told=told.append, pause_s=0) == 450
    assert told == [200, 400, 450]
    assert count(hub, "session") == 0


def test_an_operator_runs_it_beside_a_hub_or_without_one(tmp_path: Path) -> None:
    """Each class is told when it is done; an unknown one is refused with the names there are."""
    environ = environment(tmp_path)
    with serving(environ, tmp_path):
        shown = command(environ, tmp_path, "retention", "show", "--json")
        assert [one["class"] for one in json.loads(shown.stdout)] == list(NAMES)
        done = command(environ, tmp_path, "retention", "run", "--class", "sessions", "--class", "held")
        assert done.stdout == "sessions: 0 over, 0 gone\nheld: 0 over, 0 gone\n"
    alone = command(environ, tmp_path, "retention", "run", "--dry-run")
    assert len(alone.stdout.splitlines()) == len(NAMES)
    wrong = command(environ, tmp_path, "retention", "run", "--class", "everything")
    assert (wrong.returncode, "there are intake" in " ".join(wrong.stderr.split())) == (2, True)
