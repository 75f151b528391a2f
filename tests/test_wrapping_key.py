"""The wrapping key can be rotated at any moment: all stays readable, nothing stays under the former key, it ends."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest
from sqlalchemy import LargeBinary
from sqlmodel import SQLModel

from hub.core.errors import HubError
from hub.core.leaf import LeafKind
from hub.failpoints import arm, disarm
from hub.identity.keys import FORMER_WRAPPING, Wrapping, new_key, wrap_person
from hub.identity.ring import root_name, rotate_root
from hub.identity.wrapping import DAMAGED_US, SEALED, wrapping_name
from hub.operations.key_list import list_keys
from hub.store import tables
from hub.store.wrapped import PERSONS, rotation_of
from tests.protocol_world import ROOT, Hub, opened
from tests.stores import disk_full, dump, for_child, on_postgres
from tests.wrapping_world import (
    PEOPLE,
    count_under,
    crowd,
    piece,
    planted,
    readable,
    rotate,
    state,
    to_the_end,
    under,
)

pytestmark = pytest.mark.engines

HERE, PERSON, HASH, PUBLIC = "under the wrapping key", "under a person's or another key", "hash or id", "no secret"
BINARY = {  # every binary column there is, and what it holds: a new one has to be thought about here
    "person.key": HERE, "waiting_key.key": HERE, "day_key.key": HERE, "webhook_key.sealed": HERE,
    "backfill.cursor": HERE, "delivery.payload": HERE,  # of deliveries without parts; else the persons'
    "person.born": PERSON, "link.sealed": PERSON, "consent_event.sealed": PERSON, "receipt.sealed": PERSON,
    "hold_key.sealed": PERSON, "ask.tags": PERSON, "ask.answer": PERSON, "audit.detail": PERSON,
    "bus_record.value": PERSON, "waiting.sealed": PERSON, "hub_key.wrapped": PERSON,
    "link.local": HASH, "consent.head": HASH, "consent_event.hash": HASH, "session.token": HASH, "session.csrf": HASH,
    "bus_record.key": HASH, "event_seen.event": HASH, "event_seen.content": HASH, "event_conflict.event": HASH,
    "event_conflict.content": HASH, "event_unheard.event": HASH, "waiting.subject": HASH, "waiting.local": HASH,
    "waiting.event": HASH, "waiting_key.subject": HASH, "delivery.public": HASH, "delivery_aim.of": HASH,
    "ask.public": HASH, "backfill.public": HASH, "file_batch.sha256": HASH, "hub_key.root": HASH, "audit.leaf": HASH,
    "used_assertion.digest": HASH, "session.local": HASH, "account.subject": HASH, "account.local": HASH,
    "one_time_code.code": HASH, "kept_form.token": HASH, "kept_form.sealed": PERSON,
    "audit.fences": PUBLIC, "delivery.parts": PUBLIC, "file_batch.named": PUBLIC, "webhook_key.public": PUBLIC,
    "sealing_key.public": PUBLIC,
}  # fmt: skip
SEALING = {  # who seals under it, and into which of these columns
    "hub/identity/keys.py": "person", "hub/identity/day_keys.py": "day_key",
    "hub/identity/webhook_keys.py": "webhook_key", "hub/exchange/backfills.py": "backfill",
    "hub/identity/stops.py": "delivery", "hub/exchange/notices.py": "delivery",
    "hub/exchange/decide_event.py": "delivery",
    "hub/exchange/erase_rest.py": "delivery", "hub/exchange/gate.py": "waiting_key",
}  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with planted(tmp_path / "house") as one:
        yield one
        disarm()


@pytest.mark.embedded_only  # asks no store
def test_every_binary_column_is_known_and_those_under_the_wrapping_key_are_wrapped_anew() -> None:
    """A column that nobody thought of would be unreadable when the former key is destroyed."""
    columns = {
        f"{table.name}.{column.name}"
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    assert tables.Person.__tablename__ in SQLModel.metadata.tables
    assert columns == BINARY.keys()
    here = {name for name, what in BINARY.items() if what == HERE}
    assert here == {f"{column.table}.{column.name}" for column, _ in SEALED}


@pytest.mark.embedded_only  # asks no store
def test_whoever_seals_under_the_wrapping_key_is_known() -> None:
    """A new place that seals under it has to say into which of the columns that are wrapped anew."""
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "hub").rglob("*.py")
        if re.search(r"wrapping\.seal\(", path.read_text()) and path.name != "wrapping.py"
    }
    assert found == SEALING.keys()
    assert set(SEALING.values()) == {column.table for column, _ in SEALED}


def test_all_is_readable_before_during_and_after_and_nothing_stays_under_the_former_key(hub: Hub) -> None:
    """One of each is planted; after each piece all of it is read as production reads it."""
    before, former = readable(hub), hub.keys.wrapping.present
    held = {table: len(values) for table, values in before.items()}
    assert all(held.values())
    assert under(hub, former) == held
    rotate(hub)
    assert readable(hub) == before
    while piece(hub):
        assert readable(hub) == before
    assert under(hub, former) == dict.fromkeys(held, 0)
    to_the_end(hub)
    assert readable(hub) == before
    assert under(hub, hub.keys.wrapping.present) == held
    assert hub.keys.wrapping.former is None
    assert hub.keys.wrapping.present != former


def test_what_is_made_while_it_runs_is_sealed_under_the_present_key_at_once(hub: Hub) -> None:
    """A person, a waiting event's key, a notice: all of a moment after the rotation began."""
    former = hub.keys.wrapping.present
    before = under(hub, former)
    rotate(hub)
    hub.link("NEW")
    hub.publish("two", "ALSO-NOT-LINKED")
    hub.decide()
    assert under(hub, former) == before
    now = under(hub, hub.keys.wrapping.present)
    assert (now["person"], now["waiting_key"]) == (1, 1)


def test_life_goes_on_while_it_runs(hub: Hub) -> None:
    """Events are decided and handed out, consents withdrawn and stops read, between any two pieces."""
    person = hub.person("A")
    rotate(hub)
    for round_ in range(4):
        consent = hub.grant(person)
        hub.publish(f"live-{round_}", "A")
        hub.decide()
        events, _ = hub.drain()
        assert any(one["kind"] == "data" for one in events)
        hub.withdraw(person, consent)
        assert "stop" in [one["kind"] for one in hub.drain()[0]]
        piece(hub)
    to_the_end(hub)


def test_the_former_key_leaves_the_store_and_its_log(hub: Hub) -> None:
    """Neither the rows nor, on SQLite, free pages or the write-ahead log hold it as it was wrapped."""
    rotate(hub)
    ((kept,),) = hub.rows("SELECT wrapped FROM hub_key WHERE name = ?", (FORMER_WRAPPING,))
    assert kept in files(hub)
    to_the_end(hub)
    assert kept not in files(hub)
    assert hub.rows("SELECT name FROM hub_key WHERE name = ?", (FORMER_WRAPPING,)) == []


def files(hub: Hub) -> bytes:
    """Read what the disk holds; of PostgreSQL what its tables do: it keeps old rows until VACUUM, and its own log."""
    if on_postgres():
        dump(hub.directory / "hub.sqlite", into=hub.directory / "rows")
    return b"\0".join(path.read_bytes() for path in sorted(hub.directory.iterdir()) if path.is_file())


def test_it_rests_before_the_end_for_what_was_read_a_moment_before(hub: Hub) -> None:
    """A batch that was prepared, a page being opened: they settle before the former key goes."""
    rotate(hub)
    while piece(hub):
        pass
    hub.pass_by(59)
    assert not piece(hub)
    assert hub.keys.wrapping.former is not None
    hub.pass_by(1)
    while piece(hub):
        pass
    assert hub.keys.wrapping.former is None


def test_it_rests_also_where_it_finds_nothing(tmp_path: Path) -> None:
    """Of a store that holds nothing yet the first row may be on its way, sealed under the former key."""
    with opened(tmp_path) as hub:
        rotate(hub)
        while piece(hub):
            pass
        assert hub.keys.wrapping.former is not None
        to_the_end(hub)
        assert hub.keys.wrapping.former is None


def test_what_a_slow_writer_still_sealed_under_the_former_key_is_found_by_the_next_round(hub: Hub) -> None:
    """It was prepared before the rotation and committed after its table was passed: not lost."""
    old = Wrapping(hub.keys.wrapping.present)
    rotate(hub)
    while piece(hub):
        pass
    key = new_key()
    row = (77, 1, None, wrap_person(old, 77, key), None)
    hub.store.write(lambda tx: tx.insert("person(id, created_us, erased_us, key, born)", [row]))
    before = readable(hub)
    to_the_end(hub)
    assert readable(hub) == before
    assert under(hub, old.present)["person"] == 0


@pytest.mark.parametrize("ended", ["before", "in between"])
def test_an_erased_persons_key_is_under_neither(hub: Hub, ended: str) -> None:
    """Erased before their row was wrapped anew, or after it, no form of it is left in any file."""
    person = hub.person(PEOPLE[2])
    ((first,),) = hub.rows("SELECT key FROM person WHERE id = ?", (person,))
    rotate(hub)
    if ended == "in between":
        piece(hub)
    ((second,),) = hub.rows("SELECT key FROM person WHERE id = ?", (person,))
    assert (first == second) == (ended == "before")
    assert hub.erase(person).log_cut
    to_the_end(hub)
    remains = files(hub)
    assert first not in remains
    assert second not in remains
    assert hub.rows("SELECT key FROM person WHERE id = ?", (person,)) == [(None,)]


def test_a_person_erased_between_look_and_write_stays_erased(hub: Hub) -> None:
    """The piece had read the row already; what it writes finds another one there, and leaves it."""
    person = hub.person(PEOPLE[2])
    rotate(hub)
    reached, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        if not reached.is_set():
            reached.set()
            assert go_on.wait(10)

    arm("wrapping.looked", hold)
    worker = threading.Thread(target=piece, args=(hub,))
    worker.start()
    assert reached.wait(10)
    hub.store.write(lambda tx: tx.run("UPDATE person SET key = NULL, erased_us = 1 WHERE id = ?", (person,)))
    go_on.set()
    worker.join()
    assert hub.rows("SELECT key FROM person WHERE id = ?", (person,)) == [(None,)]


KILLS = (
    ("wrapping.stored", 1), ("wrapping.piece", 1), ("wrapping.piece", 2), ("wrapping.piece", 5), ("wrapping.piece", 9),
    ("wrapping.destroyed", 1), ("store.before_commit", 3), ("store.before_commit", 5),
)  # fmt: skip


@pytest.mark.parametrize(("place", "count"), KILLS)
def test_killed_anywhere_all_is_readable_and_the_next_process_goes_on(tmp_path: Path, place: str, count: int) -> None:
    """A process that rotates is killed; the next one reads everything, goes on where it stood, and ends."""
    with planted(tmp_path) as hub:
        crowd(hub, 500)  # more than two pieces of the largest table
        before, former = readable(hub), hub.keys.wrapping.present
    ran = subprocess.run(
        [sys.executable, "tests/wrapping_world.py", str(tmp_path), f"{place}=kill:{count}"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), **for_child(tmp_path / "hub.sqlite")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == -9, ran.stderr
    with opened(tmp_path) as hub:
        assert readable(hub) == before
        if state(hub) is None:  # before it was stored
            rotate(hub)
        to_the_end(hub)
        assert readable(hub) == before
        assert sum(count_under(hub.store, former).values()) == 0
        assert hub.keys.wrapping.former is None


def test_it_goes_on_where_it_stood_after_a_restart(tmp_path: Path) -> None:
    """What was wrapped anew is not looked at again in the same round."""
    with planted(tmp_path) as hub:
        crowd(hub, 500)
        rotate(hub)
        piece(hub)
    with opened(tmp_path) as hub, hub.store.read() as tx:
        now = rotation_of(tx)
        assert now is not None
        assert (now.column, now.total) == (0, PERSONS.look)
        assert now.after == (sorted(row[0] for row in tx.rows("SELECT id FROM person"))[PERSONS.look - 1],)


def test_a_second_rotation_while_one_runs_is_refused(hub: Hub) -> None:
    """Three keys would be needed to read everything; also once the former key is gone and the log is not cut yet."""
    rotate(hub)
    with pytest.raises(HubError, match="under way") as refused:
        rotate(hub)
    assert refused.value.code == "wrapping-running"
    to_the_end(hub)
    rotate(hub)
    to_the_end(hub)


def test_the_root_rotates_meanwhile_and_takes_both_keys_along(tmp_path: Path) -> None:
    """Both are wrapped under the new root too, and the former one goes from under both."""
    new = b"n" * 32
    with planted(tmp_path) as hub:
        before = readable(hub)
        rotate(hub)
        piece(hub)
        rotate_root(hub.store, hub.keys, former=root_name(hub.root), new=new, clock=hub.clock)
    with opened(tmp_path, root=new) as hub:
        assert readable(hub) == before
        to_the_end(hub)
        assert readable(hub) == before
        assert hub.rows("SELECT count(*) FROM hub_key WHERE name = ?", (FORMER_WRAPPING,)) == [(0,)]


def test_while_the_root_is_half_rotated_it_is_refused(hub: Hub) -> None:
    """The new wrapping key could not be wrapped under a root that is not at hand."""
    rotate_root(hub.store, hub.keys, former=root_name(hub.root), new=b"n" * 32, clock=hub.clock)
    with pytest.raises(HubError, match="the root key is half done") as refused:
        rotate(hub)
    assert refused.value.code == "wrapping-root-half"


def test_a_rotation_that_could_not_be_stored_changes_nothing(hub: Hub) -> None:
    """The disk is full at its commit: the key in memory is the one in the store."""
    before, present = readable(hub), hub.keys.wrapping.present
    arm("store.before_commit", lambda: (_ for _ in ()).throw(disk_full()))
    with pytest.raises(HubError, match="could not commit"):
        rotate(hub)
    disarm()
    assert (hub.keys.wrapping.present, hub.keys.wrapping.former) == (present, None)
    assert readable(hub) == before


def test_a_damaged_row_keeps_the_former_key_and_ends_with_the_row(hub: Hub) -> None:
    """It opens under neither: were that a defect of ours, the former key would be needed. `hub status` says it."""
    person = hub.person(PEOPLE[0])
    hub.store.write(
        lambda tx: tx.run(
            f"UPDATE person SET key = x'{'00' * 60}' WHERE id = ?",
            (person,),
        )
    )
    rotate(hub)
    for _ in range(4):
        while piece(hub):
            pass
        hub.pass_by(DAMAGED_US / 1e6)
    now = state(hub)
    assert now is not None
    assert (now["damaged"], hub.keys.wrapping.former is not None) == (1, True)
    hub.store.write(lambda tx: tx.run("UPDATE person SET key = NULL WHERE id = ?", (person,)))
    to_the_end(hub)


def test_both_acts_are_in_the_audit_log_and_say_no_key(hub: Hub) -> None:
    """That it began, and that the former key is gone, with the names of both and how many rows."""
    rotate(hub)
    to_the_end(hub)
    with hub.store.read() as tx:
        said = [row[0] for row in tx.rows("SELECT detail FROM audit WHERE kind = ?", (LeafKind.OPERATION.value,))]
    name = wrapping_name(hub.keys.wrapping.present)
    assert [b'"act":"rotate"' in one and name.encode() in one for one in said] == [True, False]
    assert [b'"act":"rotated"' in one and b'"renewed"' in one for one in said] == [False, True]


def test_the_list_says_since_when_and_that_it_runs(hub: Hub) -> None:
    """Two of them while it runs, since the rotation; one afterwards, under its name."""

    def listed() -> tuple[int, int, str, str]:
        with hub.store.read() as tx:
            one = next(row for row in list_keys(tx, root_name(hub.root), hub.clock()) if row["name"] == "wrapping")
        return one["count"], one["since_us"], one["id"], one["rotate"]

    assert listed()[3] == "hub keys rotate wrapping"
    hub.pass_by(1_000)
    since_us = hub.clock()
    rotate(hub)
    name = wrapping_name(hub.keys.wrapping.present)
    count, since, named, how = listed()
    assert (count, since, named, "Being rotated" in how) == (2, since_us, name, True)
    to_the_end(hub)
    assert listed() == (1, since_us, name, "hub keys rotate wrapping")


@pytest.mark.embedded_only  # asks no store
def test_reading_is_not_slower_while_none_runs_and_takes_a_second_try_while_one_does(hub: Hub) -> None:
    """A value of the former key costs a second try; one of the present key costs what it always did."""
    one, two = Wrapping(new_key()), Wrapping(new_key())
    sealed = [one.seal(b"k" * 32, b"place") for _ in range(2_000)]

    def spent(wrapping: Wrapping) -> float:
        tries = []
        for _ in range(5):
            began = perf_counter()
            for each in sealed:
                wrapping.unseal(each, b"place")
            tries.append(perf_counter() - began)
        return min(tries)

    alone = spent(one)
    first, second = spent(Wrapping(one.present, two.present)), spent(Wrapping(two.present, one.present))
    assert first < 2 * alone
    assert second < 25 * alone  # an exception in between; a person's key is opened once and kept
