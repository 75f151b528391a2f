"""The root key file opens one store and no other, and can be replaced at any moment without losing anything."""

import sqlite3
from base64 import urlsafe_b64encode
from contextlib import closing
from pathlib import Path

import pytest

from hub.clock import system_clock
from hub.core.errors import HubError
from hub.core.leaf import LeafKind
from hub.failpoints import arm, disarm
from hub.identity.keys import Keyring, keyring, make_key_file, new_key, read_key_file, wrap_person
from hub.identity.ring import check_root, open_ring, root_name, rotate_root
from hub.operations.steered import rotate_root_of
from hub.store.migrate import ensure, upgrade
from hub.store.sqlite import SqliteStore
from tests.test_serve import command, environment, production, serving
from tests.world import birth, link_family, town

FIRST, SECOND, THIRD = (bytes([number]) * 32 for number in (1, 2, 3))


def opened(path: Path, root: bytes, now_us: int = 1) -> Keyring:
    """Start with this root, as a hub does."""
    store = SqliteStore(path)
    try:
        ensure(path)
        return open_ring(store, root, lambda: now_us)
    finally:
        store.close()


def rotated(path: Path, former: bytes, new: bytes, now_us: int = 2) -> None:
    store = SqliteStore(path)
    try:
        ring = open_ring(store, former, lambda: now_us)
        rotate_root(store, ring, former=root_name(former), new=new, clock=lambda: now_us)
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.sqlite"


def test_the_secrets_of_a_first_start_are_what_they_always_were(path: Path) -> None:
    """Derived from the root, so that a store of before this was stored goes on under the same names; then stored."""
    assert opened(path, FIRST) == opened(path, FIRST) == keyring(FIRST)


def test_a_new_root_changes_no_secret_and_either_file_opens_until_the_new_one_has_started(path: Path) -> None:
    """A start with the former file changes nothing about that; the first with the new one ends the former for good."""
    before = opened(path, FIRST)
    rotated(path, FIRST, SECOND)
    assert opened(path, FIRST, 3) == opened(path, FIRST, 4) == before
    assert opened(path, SECOND, 5) == before
    with pytest.raises(HubError, match="another store's key") as refused:
        opened(path, FIRST, 6)
    assert refused.value.code == "key-file-wrong"
    assert root_name(SECOND).hex() in refused.value.what
    assert opened(path, SECOND, 7) == before


def test_a_rotation_that_was_not_finished_is_taken_back_by_the_next(path: Path) -> None:
    """The new file was lost before any start: the former one still opens, and another takes the lost one's place."""
    before = opened(path, FIRST)
    rotated(path, FIRST, SECOND)
    rotated(path, FIRST, THIRD, 3)
    with pytest.raises(HubError, match="another store's key"):
        opened(path, SECOND, 4)
    assert opened(path, THIRD, 5) == before


def test_a_clock_that_was_set_back_does_not_make_the_new_file_the_older_one(path: Path) -> None:
    """Else the next start with the former file would take the rotation for finished, and lock the new one out."""
    before = opened(path, FIRST, now_us=1_000)
    rotated(path, FIRST, SECOND, now_us=5)
    assert opened(path, FIRST) == before
    assert opened(path, SECOND) == before


def test_a_crash_in_the_middle_leaves_the_former_file_in_force(path: Path) -> None:
    """The transaction rolls back whole: nothing is wrapped under the new one."""
    before = opened(path, FIRST)
    arm("store.before_commit", lambda: (_ for _ in ()).throw(sqlite3.OperationalError("the power went out")))
    try:
        with pytest.raises(HubError, match="could not commit"):
            rotated(path, FIRST, SECOND)
    finally:
        disarm()
    assert opened(path, FIRST) == before
    with pytest.raises(HubError, match="another store's key"):
        opened(path, SECOND)


def test_the_same_key_again_is_refused(path: Path) -> None:
    """It would rotate nothing and look as if it had."""
    opened(path, FIRST)
    with pytest.raises(HubError, match="the key that is in use"):
        rotated(path, FIRST, FIRST)


@pytest.mark.parametrize("sealed", ["person", "day_key"])
def test_a_store_of_before_takes_no_wrong_key_for_its_own(path: Path, sealed: str) -> None:
    """It has no stored secrets yet, so what is sealed there must open first: else wrong ones were stored for good."""
    upgrade(path, "0004")
    wrapping = keyring(FIRST).wrapping
    with closing(sqlite3.connect(path)) as connection, connection:
        if sealed == "person":
            row = (7, 1, None, wrap_person(wrapping, 7, new_key()), None)
            connection.execute("INSERT INTO person VALUES (?, ?, ?, ?, ?)", row)
        else:
            bound = b"day" + (1).to_bytes(4) + (20_000).to_bytes(4)
            connection.execute("INSERT INTO day_key VALUES (1, 20000, ?)", (wrapping.seal(new_key(), bound),))
    with pytest.raises(HubError, match="does not open this store"):
        opened(path, SECOND)
    assert opened(path, FIRST) == keyring(FIRST)


def test_a_damaged_secret_is_told_from_a_wrong_file(path: Path) -> None:
    """Then the file is the right one, and the store is what has to be restored."""
    opened(path, FIRST)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE hub_key SET wrapped = zeroblob(60) WHERE name = 'event'")
    with pytest.raises(HubError, match="are damaged") as refused:
        opened(path, FIRST)
    assert refused.value.code == "hub-keys-damaged"


def test_a_look_changes_nothing(path: Path) -> None:
    """`check_root` says yes and no as a start does, and does not finish a rotation."""
    opened(path, FIRST)
    rotated(path, FIRST, SECOND)
    store = SqliteStore(path)
    try:
        with store.read() as tx:
            check_root(tx, FIRST)
            check_root(tx, SECOND)
            with pytest.raises(HubError, match="another store's key"):
                check_root(tx, THIRD)
    finally:
        store.close()
    assert opened(path, FIRST, 3) == keyring(FIRST)


def test_a_running_hub_rotates_and_everybody_keeps_their_names(tmp_path: Path) -> None:
    """What was delivered before the rotation comes under the same ids after a restart with the new file."""
    make_key_file(tmp_path / "first.key")
    make_key_file(tmp_path / "second.key")
    data = tmp_path / "data"
    with town(data, key_file=tmp_path / "first.key", handout_redeliver_s=60) as place:
        link_family(place)
        (said,) = place.agency("civil-registry").publish([birth()]).accepted
        place.decided(said.token)
        (before,) = place.pull("family-benefits")
        done = rotate_root_of(place.hub, tmp_path / "second.key")
        assert done["root"] == root_name(read_key_file(tmp_path / "second.key")).hex()
    later = 120 * 1_000_000
    with town(data, clock=lambda: system_clock() + later, key_file=tmp_path / "second.key") as place:
        with place.hub.store.read() as tx:
            kinds = [row[0] for row in tx.rows("SELECT kind FROM audit ORDER BY id")]
        assert kinds.count(LeafKind.OPERATION) == 2
        (again,) = place.pull("family-benefits")
        assert (again.id, again.number, again.document) == (before.id, before.number, before.document)
        assert place.decided(said.token) == "handled"


def test_a_hub_does_not_start_with_another_stores_key_and_makes_none_beside_a_store(tmp_path: Path) -> None:
    """In words: which key it is, and which it should be; the store is left as it was."""
    environ = environment(tmp_path, "development")
    with serving(environ, tmp_path):
        pass
    (tmp_path / "hub.key").write_bytes(urlsafe_b64encode(SECOND) + b"\n")
    wrong = command(environ, tmp_path, "serve")
    assert wrong.returncode == 1
    assert "the key file holds another store's key: it is key " + root_name(SECOND).hex() in wrong.stderr
    (tmp_path / "hub.key").unlink()
    absent = command(environ, tmp_path, "serve")
    assert "the key file cannot be read" in absent.stderr
    assert not (tmp_path / "hub.key").exists()


def test_an_operator_rotates_the_root_with_one_command(tmp_path: Path) -> None:
    """Beside a running hub or without one; the new file is made where it is not there, and never beside the data."""
    environ = production(tmp_path)
    assert command(environ, tmp_path, "keys", "new", str(tmp_path / "root.key")).returncode == 0
    second, third = tmp_path / "second.key", tmp_path / "third.key"
    with serving(environ, tmp_path):
        done = command(environ, tmp_path, "keys", "rotate", "root", "--new-file", str(second))
        assert done.returncode == 0, done.stderr
        assert f"HUB_KEY_FILE={second}" in done.stdout
        beside = command(environ, tmp_path, "keys", "rotate", "root", "--new-file", str(tmp_path / "data" / "new.key"))
        assert (beside.returncode, "beside the data" in beside.stderr) == (1, True)
        listed = command(environ, tmp_path, "keys", "list").stdout
        assert "start the hub with the new file" in " ".join(listed.split())
    with serving({**environ, "HUB_KEY_FILE": str(second)}, tmp_path):
        pass
    done = command(
        {**environ, "HUB_KEY_FILE": str(second)}, tmp_path, "keys", "rotate", "root", "--new-file", str(third)
    )
    assert done.returncode == 0, done.stderr
    with serving({**environ, "HUB_KEY_FILE": str(third)}, tmp_path):
        pass
    assert "another store's key" in command({**environ, "HUB_KEY_FILE": str(second)}, tmp_path, "serve").stderr
