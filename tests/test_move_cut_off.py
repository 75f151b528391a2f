"""A move that ends well, is rehearsed, cut off or taken back: of the two stores one at most is ever served."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from hub.clock import system_clock
from hub.core.errors import HubError
from hub.failpoints import arm, disarm
from hub.identity.keys import read_key_file
from hub.operations import doctor
from hub.operations.move import rehearse, take_back
from hub.store.engine import Row
from hub.store.moving import State
from hub.store.sqlite import SqliteStore
from tests import stores
from tests.move_world import (
    PASSWORD,
    Lived,
    bare,
    command,
    content,
    content_there,
    environment,
    lived_in,
    mark_there,
    moved,
    refusal_of,
    refused,
    source_mark,
    starts,
    starts_there,
    there,
)


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Lived]:
    stores.server()
    yield lived_in(tmp_path / "hub")
    disarm()
    stores.drop_all()


# Done.


def test_after_a_move_a_hub_starts_on_the_new_store_alone(lived: Lived) -> None:
    """It says in its log once what it has taken over, in how many rows; the former store is refused by name."""
    done = moved(lived)
    assert starts(lived) == "store-moved"
    assert [starts_there(lived), starts_there(lived)] == ["", ""]
    with psycopg.connect(stores.owner_dsn_of(lived.path)) as owner:
        acts = owner.execute('SELECT detail FROM audit WHERE position(\'"act":"moved"\'::bytea IN detail) > 0')
        (detail,) = [bytes(row[0]).decode() for row in acts.fetchall()]
    assert f'"rows":{done.rows}' in detail
    assert done.digest in detail
    found, _ = doctor.store(lived.settings(), read_key_file(lived.directory / "hub.key"), system_clock)
    assert [(one.level, "moved" in one.what) for one in found] == [("FAIL", True)]


@pytest.mark.parametrize("schema", [True, False])
def test_the_schema_is_made_where_there_is_none(lived: Lived, schema: bool) -> None:
    """By its owner; and one that `hub migrate` has made before will do as well."""
    if not schema:
        bare(lived)
    moved(lived)
    assert starts_there(lived) == ""


def test_a_second_call_says_again_how_to_start(lived: Lived) -> None:
    first = moved(lived)
    again = moved(lived)
    assert (again.rows, again.digest, again.seconds) == (first.rows, first.digest, 0.0)
    assert starts_there(lived) == ""
    assert refusal_of(lived) == "move-served"


def test_the_command_shows_plan_and_progress_and_the_settings_to_start_with(lived: Lived) -> None:
    """A password that stood in the DSN is in nothing that it says."""
    dsn = stores.dsn_of(lived.path).replace("@", f":{PASSWORD}@")
    said = subprocess.run(
        [sys.executable, "-m", "hub", "move-engines", "--to", dsn, "--owner-dsn", stores.owner_dsn_of(lived.path)],
        env=environment(lived), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert PASSWORD not in said.stdout + said.stderr
    assert f"HUB_STORE_DSN={stores.dsn_of(lived.path)}\n" in said.stdout
    lines = [line.split() for line in said.stdout.splitlines()]
    audits = str(len(content(lived)["audit"]))
    assert [audits, "audit"] in lines
    assert ["copied", "audit"] in lines
    assert ["compared", "audit"] in lines
    assert "rows a second" in said.stdout


# Rehearsed.


def test_a_rehearsal_beside_a_running_hub_leaves_both_sides_as_they_were(lived: Lived) -> None:
    """It says how long the real one takes; that one then works."""
    before = content(lived)
    with closing(SqliteStore(lived.path)):
        said = command(lived, "--rehearse")
    assert said.returncode == 0, said.stderr
    assert "has to stand still for about as long" in said.stdout
    assert content(lived) == before
    assert {name for name, rows in content_there(lived).items() if rows} == set()
    assert mark_there(lived) is None
    moved(lived)
    assert content_there(lived) == before
    assert starts_there(lived) == ""


def test_a_rehearsal_that_could_not_clear_up_is_not_begun(lived: Lived) -> None:
    """The hub's own role may not delete what is insert-only."""
    with pytest.raises(HubError) as caught:
        rehearse(lived.journey(owner_dsn=""))
    assert caught.value.code == "move-rights"
    assert mark_there(lived) is None


# Cut off.

CUTS = ("move.marked", "move.piece", "move.copied", "move.compared")


@pytest.mark.parametrize("point", CUTS)
def test_a_move_that_is_killed_leaves_nothing_half_served_and_is_taken_up_again(lived: Lived, point: str) -> None:
    """The hub may go on with SQLite as if nothing had been, and the next try ends well."""
    before = content(lived)
    killed = command(lived, HUB_FAILPOINTS=f"{point}=kill:{5 if point == 'move.piece' else 1}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert content(lived) == before
    assert (source_mark(lived), mark_there(lived)) == (None, State.COPYING)
    assert starts_there(lived) == "store-half-moved"
    taken_up_again(lived, before)


def test_a_move_that_is_killed_between_its_last_two_steps_is_served_by_neither(lived: Lived) -> None:
    """Until it is run again, and goes on to its end."""
    before = content(lived)
    killed = command(lived, HUB_FAILPOINTS="move.left=kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert content(lived) == before
    assert mark_there(lived) == State.COPYING
    assert [starts(lived), starts_there(lived)] == ["store-moved", "store-half-moved"]
    taken_up_again(lived, before)


@pytest.mark.parametrize("back", [False, True], ids=["taken up again", "taken back"])
def test_a_move_may_be_cut_off_once_more_after_that(lived: Lived, back: bool) -> None:
    """However often it is killed in between, neither store is lost to the other."""
    before = content(lived)
    for point in ("move.left", "move.marked", "move.compared"):
        assert command(lived, HUB_FAILPOINTS=f"{point}=kill").returncode == -signal.SIGKILL
        assert [starts(lived), starts_there(lived)] == ["store-moved", "store-half-moved"]
    if not back:
        taken_up_again(lived, before)
        return
    take_back(lived.journey())
    assert [starts(lived), starts_there(lived)] == ["", "store-half-moved"]


def taken_up_again(lived: Lived, before: dict[str, list[Row]]) -> None:
    again = command(lived)
    assert again.returncode == 0, again.stderr
    assert content_there(lived) == before
    assert [starts(lived), starts_there(lived)] == ["store-moved", ""]


def test_a_move_that_was_killed_before_its_last_steps_has_changed_nothing_here(lived: Lived) -> None:
    """The hub starts as ever, and what it does then is moved by the next try."""
    assert command(lived, HUB_FAILPOINTS="move.compared=kill").returncode == -signal.SIGKILL
    with closing(lived.hub()) as hub:
        hub.publish("later-1", "acknowledged")
        hub.decide()
    before = content(lived)
    moved(lived)
    assert content_there(lived) == before


def test_what_was_altered_on_its_way_is_noticed(lived: Lived) -> None:
    """One byte of one row: the table is named, and the database is not let go."""
    arm(
        "move.copied",
        lambda: there(lived, "UPDATE audit SET leaf = set_byte(leaf, 0, get_byte(leaf, 0) # 1) WHERE id = 1"),
    )
    error = refused(lived)
    assert (error.code, "table audit" in error.what) == ("move-differs", True)
    assert starts_there(lived) == "store-half-moved"


@pytest.mark.parametrize("statement", ["DELETE FROM history", "INSERT INTO history VALUES (1, 1)"])
def test_a_row_too_few_or_too_many_is_noticed(lived: Lived, statement: str) -> None:
    arm("move.copied", lambda: there(lived, statement))
    assert refused(lived).code == "move-differs"


def test_nobody_writes_to_the_database_while_it_is_filled(lived: Lived) -> None:
    """Neither a second move, nor a hub that was running on it already."""
    codes: list[str] = []

    def meanwhile() -> None:
        disarm()
        with psycopg.connect(stores.dsn_of(lived.path), autocommit=True) as hub:
            codes.append(str(hub.execute("SELECT pg_try_advisory_xact_lock_shared(0)").fetchone()))
        with pytest.raises(HubError) as caught:
            rehearse(lived.journey())
        codes.append(caught.value.code)

    arm("move.copied", meanwhile)
    moved(lived)
    assert codes == ["(False,)", "move-under-way"]


# Taken back.


def test_a_move_can_be_taken_back_until_a_hub_has_started_there(lived: Lived) -> None:
    """Then the former store goes on, and can be moved again, to the same database."""
    first = moved(lived)
    said = command(lived, "--back")
    assert said.returncode == 0, said.stderr
    assert first.move in said.stdout
    assert starts_there(lived) == "store-half-moved"
    assert starts(lived) == ""
    moved(lived)
    assert starts_there(lived) == ""
    with pytest.raises(HubError) as caught:
        take_back(lived.journey())
    assert caught.value.code == "move-served"
    assert starts(lived) == "store-moved"


def test_a_move_that_was_cut_off_is_taken_back_as_well(lived: Lived) -> None:
    """And a way back that is cut off is gone to its end by the next call."""
    assert command(lived, HUB_FAILPOINTS="move.left=kill").returncode == -signal.SIGKILL
    assert command(lived, "--back", HUB_FAILPOINTS="move.given_back=kill").returncode == -signal.SIGKILL
    assert [starts(lived), starts_there(lived), refusal_of(lived)] == ["store-moved", "store-half-moved", "store-moved"]
    take_back(lived.journey())
    assert [starts(lived), starts_there(lived)] == ["", "store-half-moved"]
    with pytest.raises(HubError) as caught:
        take_back(lived.journey())
    assert caught.value.code == "move-not-made"


def test_what_has_moved_moves_nowhere_else(lived: Lived, tmp_path: Path) -> None:
    """Two databases would both take the store's place."""
    moved(lived)
    elsewhere = {"to": stores.dsn_of(tmp_path / "x"), "owner_dsn": stores.owner_dsn_of(tmp_path / "x")}
    assert refusal_of(lived, **elsewhere) == "store-moved"
    with pytest.raises(HubError) as caught:
        rehearse(lived.journey(**elsewhere))
    assert caught.value.code == "store-moved"
    assert starts_there(lived) == ""
