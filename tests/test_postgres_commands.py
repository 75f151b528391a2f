"""An operator's commands on PostgreSQL: migrate, doctor, and what works on SQLite's file alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hub.app import build
from hub.clock import system_clock
from hub.core.errors import HubError
from hub.identity.keys import make_key_file, read_key_file
from hub.operations import doctor
from hub.operations.drill import rehearse
from hub.operations.findings import Finding
from hub.settings import Settings
from hub.store.migrate import HEAD
from tests import stores


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    stores.server()
    yield tmp_path
    stores.drop_all()


def settings(place: Path, **changed: Any) -> Settings:
    given = {"mode": "development", "data_dir": place, "store_dsn": stores.dsn_of(place / "hub.sqlite"), **changed}
    return Settings(**given)


def hub(place: Path, *words: str, **changed: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    env |= {"HUB_MODE": "development", "HUB_DATA_DIR": str(place), **changed}
    command = [sys.executable, "-m", "hub", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def levels(found: list[Finding]) -> dict[str, str]:
    return {one.check: one.level for one in found}


def test_migrate_fills_an_empty_database_as_its_owner_and_is_content_the_second_time(place: Path) -> None:
    """Until then the hub does not start, and says what to run; the owner's password is in no output."""
    dsn, owner = stores.dsn_of(place / "hub.sqlite"), stores.owner_dsn_of(place / "hub.sqlite")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    refused = hub(place, "retention", "show", HUB_STORE_DSN=dsn)
    assert (refused.returncode, "hub migrate" in refused.stderr) == (1, True), refused.stderr
    made = hub(place, "migrate", "--dsn", owner, HUB_STORE_DSN=dsn)
    assert made.stdout == f"The store's schema: made; the hub runs as {stores.ROLE}.\n", made.stderr
    again = hub(place, "migrate", HUB_STORE_DSN=dsn, HUB_STORE_OWNER_DSN=owner)
    assert "current" in again.stdout, again.stderr
    assert "postgresql://" not in made.stdout + made.stderr + again.stdout + refused.stderr
    assert hub(place, "retention", "show", HUB_STORE_DSN=dsn).returncode == 0


def test_doctor_looks_into_the_database(place: Path) -> None:
    """Schema, key, clock, bus, catalogue, and that the hub's role cannot rewrite its log."""
    ours = settings(place)
    build(ours).close()
    found, approved = doctor.store(ours, read_key_file(ours.key_path), system_clock)
    assert approved is not None
    unsynced = "a power cut would lose what was acknowledged"  # said rightly: the tests' own server does not sync
    assert {one.what for one in found if one.level != "PASS"} <= {unsynced}
    assert levels(found).keys() >= {"store", "schema", "key", "clock", "bus", "catalogue", "rights"}
    make_key_file(place / "other.key")
    found, _ = doctor.store(ours, read_key_file(place / "other.key"), system_clock)
    assert levels(found)["key"] == "FAIL"


def test_doctor_warns_where_the_hub_owns_what_it_must_not_change(place: Path) -> None:
    build(settings(place)).close()
    found, _ = doctor.store(settings(place, store_dsn=stores.owner_dsn_of(place / "hub.sqlite")), None, system_clock)
    assert levels(found)["rights"] == "WARN"


def test_doctor_says_that_the_database_does_not_answer(place: Path) -> None:
    found, _ = doctor.store(settings(place, store_dsn="postgresql://me@127.0.0.1:1/hub"), None, system_clock)
    assert levels(found) == {"store": "FAIL"}
    assert "127.0.0.1" not in str(found)


def test_the_key_drill_says_that_it_works_on_a_file(place: Path) -> None:
    ours = settings(place)
    build(ours).close()
    with pytest.raises(HubError) as caught:
        rehearse(ours, None, clock=system_clock)
    assert "HUB_STORE_DSN" in caught.value.remedy


def test_the_dsn_is_shown_by_nothing_that_shows_settings(place: Path) -> None:
    """It may hold a password."""
    ours = settings(
        place, store_dsn="postgresql://me:canary@127.0.0.1/hub", store_owner_dsn="postgresql://o:canary@h/d"
    )
    assert "canary" not in repr(ours) + str(ours)


def test_a_password_file_is_read_and_one_that_is_not_there_is_named(place: Path) -> None:
    (place / "password").write_text("secret\n")
    assert settings(place, store_password_file=place / "password").store_password() == "secret"
    with pytest.raises(HubError) as caught:
        settings(place, store_password_file=place / "absent").store_password()
    assert caught.value.where == "store_password_file"


def test_a_hub_of_this_version_is_told_of_a_current_schema(place: Path) -> None:
    """No owner is needed, and nothing is migrated."""
    opened = build(settings(place))
    try:
        assert opened.schema == "current"
        assert opened.status()["revision"]
        with opened.store.read() as tx:
            assert tx.one("SELECT version_num FROM alembic_version") == (HEAD,)
    finally:
        opened.close()
