"""A move that cannot be made is refused with a remedy, and both sides are as they were."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hub.failpoints import disarm
from hub.identity.keys import make_key_file, read_key_file
from hub.identity.ring import open_ring, root_name, rotate_root
from hub.operations.move import move
from hub.store.sqlite import SqliteStore
from tests import stores
from tests.move_world import (
    PASSWORD,
    ROOT_KEY,
    Lived,
    afterwards,
    command,
    content,
    content_there,
    lived_in,
    moved,
    refusal_of,
    refused,
    there,
)
from tests.promise_hub import REDELIVER_S


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Lived]:
    stores.server()
    yield lived_in(tmp_path / "hub")
    disarm()
    stores.drop_all()


def test_a_running_hub_is_not_moved(lived: Lived) -> None:
    with closing(SqliteStore(lived.path)):
        error = refused(lived)
    assert (error.code, "--rehearse" in error.remedy) == ("store-in-use", True)


@pytest.mark.parametrize("option", ["to", "owner_dsn"])
def test_a_database_that_does_not_answer_is_named_by_its_option(lived: Lived, option: str) -> None:
    """And by nothing that stood in the DSN."""
    error = refused(lived, **{option: f"postgresql://me:{PASSWORD}@127.0.0.1:1/hub"})
    assert (error.code, error.where) == ("store-unavailable", "--" + option.replace("_", "-"))
    assert not {word for word in (PASSWORD, "127.0.0.1") if word in error.what + error.remedy}


def test_an_owner_of_another_database_is_refused(lived: Lived, tmp_path: Path) -> None:
    """It would make the schema and the mark there, and the rows would lie here without one."""
    error = refused(lived, owner_dsn=stores.owner_dsn_of(tmp_path / "other"))
    assert (error.code, error.where) == ("move-two-databases", "--owner-dsn")


def test_a_database_that_holds_anything_is_not_touched(lived: Lived) -> None:
    there(lived, "INSERT INTO person(id, created_us) VALUES (7, 1)")
    error = refused(lived)
    assert (error.code, "person" in error.what) == ("move-not-empty", True)
    there(lived, "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE theirs (x int)")
    assert refused(lived).code == "store-unusable"


def test_a_database_that_another_store_has_moved_to_is_not_touched(lived: Lived, tmp_path: Path) -> None:
    other = lived_in(tmp_path / "other")
    to = {"to": stores.dsn_of(lived.path), "owner_dsn": stores.owner_dsn_of(lived.path)}
    move(other.journey(**to))
    before = content_there(lived)
    assert refused(lived).code == "move-not-empty"
    assert content_there(lived) == before


@pytest.mark.parametrize(("found", "code"), [("9999", "store-newer"), ("0005", "move-older")])
def test_another_versions_schema_is_refused_on_either_side(lived: Lived, found: str, code: str) -> None:
    there(lived, f"UPDATE alembic_version SET version_num = '{found}'")
    assert refused(lived).code == code
    with closing(sqlite3.connect(lived.path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (found,))
    assert refused(lived).code == code


def test_a_store_between_two_root_keys_is_not_moved(lived: Lived) -> None:
    make_key_file(lived.directory / "next.key")
    with closing(SqliteStore(lived.path)) as store:
        ring = open_ring(store, ROOT_KEY, lived.clock)
        new = read_key_file(lived.directory / "next.key")
        rotate_root(store, ring, former=root_name(ROOT_KEY), new=new, clock=lived.clock)
    assert refused(lived).code == "move-root-half"


def test_another_stores_key_file_is_refused_before_anything_is_moved(lived: Lived) -> None:
    make_key_file(lived.directory / "other.key")
    assert refused(lived, settings=lived.settings(key_file=lived.directory / "other.key")).code == "key-file-wrong"


def test_a_text_that_postgresql_does_not_take_is_refused_without_showing_it(lived: Lived) -> None:
    with closing(SqliteStore(lived.path)) as store:
        store.write(lambda tx: tx.insert("fact(name, value)", [("odd", f"{PASSWORD}\0")]))
    error = refused(lived)
    assert (error.code, PASSWORD in str(error.__dict__)) == ("move-unfit", False)


def test_the_hubs_own_role_alone_cannot_empty_what_was_cut_off(lived: Lived) -> None:
    """It may fill what is empty; for the second try it needs the owner, and says so."""
    assert command(lived, HUB_FAILPOINTS="move.copied=kill").returncode == -signal.SIGKILL
    assert refused(lived, owner_dsn="").code == "move-rights"
    moved(lived)


def test_the_hubs_own_role_alone_can_fill_a_schema_that_its_owner_made(lived: Lived) -> None:
    before = content(lived)
    moved(lived, owner_dsn="")
    assert content_there(lived) == before


# To another bus.


def test_what_is_not_decided_does_not_go_to_a_bus_that_would_not_have_it(lived: Lived) -> None:
    """Once it is decided the records stay behind, and positions and topics go along."""
    assert refused(lived, bus="kafka").code == "move-intake"
    with closing(lived.hub()) as hub:
        hub.decide()
    before = content(lived)
    assert before["bus_record"]
    assert command(lived, HUB_FAILPOINTS="move.copied=kill").returncode == -signal.SIGKILL  # with the records
    moved(lived, bus="kafka")
    assert content_there(lived) == {**before, "bus_record": []}
    with afterwards(lived) as hub:
        lived.clock.pass_by(REDELIVER_S)
        assert lived.opened.items() <= {one.number: one.public.hex() for one in hub.pull().opened}.items()


def test_a_hub_on_postgresql_has_nothing_to_move(lived: Lived) -> None:
    on_postgres = lived.settings(store_dsn=stores.dsn_of(lived.path))
    assert refusal_of(lived, settings=on_postgres) == "move-not-sqlite"
    assert refusal_of(lived, settings=lived.settings(data_dir=lived.directory / "nothing")) == "move-not-sqlite"
