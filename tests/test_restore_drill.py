"""`hub restore drill`: the whole disaster with invented people, on either engine; nothing real is touched."""

from pathlib import Path

import psycopg
import pytest

from hub.core.errors import HubError
from hub.demo.disaster import rehearse
from tests import stores
from tests.test_serve import command, environment

STEPS = ["a hub", "backup", "since then", "loss", "restore", "quarantine", "reconcile", "first release"]

pytestmark = pytest.mark.engines


def scratch(place: Path) -> str:
    """Return the DSN of an empty database's owner; "" for SQLite."""
    if not stores.on_postgres():
        return ""
    dsn = stores.owner_dsn_of(place / "scratch")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return dsn


def test_every_step_is_taken_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """Scratch folder and scratch database are empty again."""
    dsn = scratch(tmp_path)
    found = rehearse(tmp_path / "place", dsn)
    assert [(one.check, one.level) for one in found] == [(step, "PASS") for step in STEPS], found
    assert list((tmp_path / "place").iterdir()) == []
    if dsn:
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_database_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """The drill empties its scratch database, so it takes none that is not empty. A scratch folder is always new."""
    if not stores.on_postgres():
        (tmp_path / "hub.sqlite").touch()
        rehearse(tmp_path, "")
        assert [path.name for path in tmp_path.iterdir()] == ["hub.sqlite"]
        return
    with pytest.raises(HubError) as refused:
        rehearse(tmp_path, stores.owner_dsn_of(tmp_path / "filled"))
    assert refused.value.code == "drill-impossible"


@pytest.mark.embedded_only
def test_the_command_prints_a_line_for_each_step_with_its_time(tmp_path: Path) -> None:
    """Beside the data directory, whatever mode the real hub is in."""
    said = command(environment(tmp_path / "hub"), tmp_path, "restore", "drill", "--folder", str(tmp_path / "drill"))
    assert said.returncode == 0, said.stdout + said.stderr
    lines = said.stdout.splitlines()
    assert [line[6:19].strip() for line in lines] == STEPS
    assert all(line.rstrip().endswith(" s)") for line in lines)
