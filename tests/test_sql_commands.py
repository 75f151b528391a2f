"""`hub-agency sql` as an agency runs it: what it prints, what it refuses, and that nothing of a person is shown."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agency_adapters.sql.tables import DIALECTS, ddl
from tests.adapters_contract_hub import ContractHub, serving
from tests.sql_world import DATASET, FIELDS, GONE, TABLE, WATERMARK
from tests.world import until

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[ContractHub]:
    with serving() as contract:
        contract.datasets = [dict(DATASET), dict(GONE)]
        yield contract


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A configuration of its own, and the database's URL where the mapping looks for it."""
    database = sqlite3.connect(tmp_path / "agency.sqlite")
    with database:
        database.execute(TABLE)
        rows = [(1, "Zoe-1", "2026-01-31", 0), (2, "Zoe-2", "no day", 0), (3, "Zoe-3", "2026-02-02", 1)]
        database.executemany("insert into visits values (?, ?, ?, ?, '2026-01-31 10:00:00')", rows)
    database.close()
    (tmp_path / "visits.toml").write_text(f'dataset = "test.visit"\ndatabase = "env:AGENCY_DB"\n{WATERMARK}{FIELDS}')
    return os.environ | {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "AGENCY_DB": f"sqlite:///{tmp_path / 'agency.sqlite'}",
    }


@pytest.fixture
def run(hub: ContractHub, environment: dict[str, str], tmp_path: Path) -> Run:
    """Run `hub-agency` in the agency's folder, its profile made and registered."""

    def ran(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "agency_adapters", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    assert ran("init", "lindum", "--hub", hub.issuer, "--demo").returncode == 0
    return ran


def test_a_dry_run_shows_masked_events_and_says_what_would_be_refused(hub: ContractHub, run: Run) -> None:
    """Nothing is stored or remembered; no value and no key of a person is on the screen."""
    shown = run("sql", "publish", "visits.toml", "--dry-run")
    *events, counts = [json.loads(line) for line in shown.stdout.splitlines()]
    assert shown.returncode == 1
    assert [event["data"] for event in events] == [
        {"person_id": "Z***", "day": "2***", "bad": "***"},
        {"person_id": "Z***", "day": "2***", "bad": "***"},
    ]
    assert (counts["dry_run"], counts["read"], counts["refused"]) == (True, 3, 2)
    assert "visits 2***: day: what is in column day is no date [row-unfit]" in shown.stderr
    assert "visits 3***: bad [invalid]" in shown.stderr
    assert "Zoe" not in shown.stdout + shown.stderr
    assert hub.events == []
    published = run("sql", "publish", "visits.toml")
    assert json.loads(published.stdout)["published"] == 1
    assert (published.returncode, len(hub.events)) == (1, 1)
    assert run("sql", "publish", "visits.toml").returncode == 0


def test_rows_are_named_in_full_only_when_asked(run: Run) -> None:
    """A key may be a person's number: whoever mends the rows asks for it."""
    assert "visits 2:" not in run("sql", "publish", "visits.toml", "--dry-run").stderr
    assert "visits 2:" in run("sql", "publish", "visits.toml", "--dry-run", "--show-keys").stderr


def test_publishing_goes_on_until_it_is_stopped(
    hub: ContractHub, run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """With --every a new row is published by itself; Ctrl-C ends it."""
    command = [sys.executable, "-m", "agency_adapters", "sql", "publish", "visits.toml", "--every", "1"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as going:
        assert until(lambda: len(hub.events), lambda many: many == 1) == 1
        database = sqlite3.connect(tmp_path / "agency.sqlite")
        with database:
            database.execute("insert into visits values (4, 'Zoe-4', '2026-03-03', 0, '2026-01-31 10:01:00')")
        database.close()
        assert until(lambda: len(hub.events), lambda many: many == 2) == 2
        going.send_signal(signal.SIGINT)
        _, said = going.communicate(timeout=20)
    assert going.returncode == 0, said


def test_receiving_stores_every_kind_that_is_known_and_names_the_others(
    hub: ContractHub, run: Run, tmp_path: Path
) -> None:
    """Six kinds in hub_inbox with their kind; a seventh is told and not acknowledged."""
    kinds = ["data", "correction", "stop", "delete", "test", "notice", "recall"]
    rest = {"type": "test.visit", "subject": "P", "more": 1}
    hub.outbox = [
        {"id": f"{at:032x}", "number": at, "kind": kind, "data": {"n": at}, **rest} for at, kind in enumerate(kinds)
    ]
    assert run("sql", "ddl", "inbox", "--create", "sqlite:///inbox.sqlite").returncode == 0
    done = run("sql", "receive", "--url", "sqlite:///inbox.sqlite")
    assert json.loads(done.stdout) == {"received": 6, "repeated": 0, "unknown": 1}
    assert "kind 'recall'" in done.stderr
    assert len(hub.acknowledged) == 6
    database = sqlite3.connect(tmp_path / "inbox.sqlite")
    assert [kind for (kind,) in database.execute("select kind from hub_inbox order by id")] == kinds[:6]
    assert database.execute("select data, attributes, handled_at from hub_inbox").fetchone() == (
        '{"n": 0}', '{"more": 1}', None,
    )  # fmt: skip
    database.close()
    hub.acknowledged.clear()
    assert json.loads(run("sql", "receive", "--url", "sqlite:///inbox.sqlite").stdout)["repeated"] == 6


def test_receiving_without_its_table_acknowledges_nothing(hub: ContractHub, run: Run) -> None:
    """The remedy is the command that makes it."""
    hub.outbox = [{"id": "a", "number": 1, "kind": "data", "type": "t", "subject": "p", "data": {}}]
    refused = run("sql", "receive", "--url", "env:AGENCY_DB")
    assert refused.returncode == 1
    assert "no table hub_inbox" in refused.stderr
    assert hub.acknowledged == []


def test_a_table_is_drafted_for_a_dataset_of_ones_own(run: Run) -> None:
    """The draft can be used as it is; another agency's dataset is refused with those that are one's own."""
    drafted = run("sql", "map", "visits", "--dataset", "test.visit", "--url", "env:AGENCY_DB")
    assert 'database = "env:AGENCY_DB"' in drafted.stdout
    assert 'day = "day"' in drafted.stdout
    assert "Zoe" not in drafted.stdout
    refused = run("sql", "map", "visits", "--dataset", "test.vist", "--url", "env:AGENCY_DB")
    assert (refused.returncode, "Did you mean test.visit?" in refused.stderr) == (1, True)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("table", ["outbox", "inbox"])
def test_the_tables_are_printed_for_every_dialect(table: str, dialect: str) -> None:
    """An id that counts by itself, and what must be unique or found quickly."""
    text = ddl(table, dialect)
    assert f"CREATE TABLE hub_{table}" in text
    assert any(word in text for word in ("AUTOINCREMENT", "IDENTITY", "AUTO_INCREMENT"))
    assert ("hub_outbox_new ON hub_outbox (state, id)" if table == "outbox" else "UNIQUE (delivery_id, kind)") in text


def test_a_dialect_that_is_not_known_is_refused(run: Run) -> None:
    """With those that are."""
    refused = run("sql", "ddl", "inbox", "--dialect", "dbase")
    assert (refused.returncode, "One of sqlite, postgresql" in refused.stderr) == (1, True)


ALONE = """
import importlib, pkgutil, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
import agency_adapters
extras = ("agency_adapters.sql.", "agency_adapters.bridge.")
for one in pkgutil.walk_packages(agency_adapters.__path__, "agency_adapters."):
    if not one.name.startswith((*extras, "agency_adapters.examples", "agency_adapters.__main__")):
        importlib.import_module(one.name)
from agency_adapters import __main__
sys.argv = ["hub-agency", "sql", "ddl", "inbox"]
__main__.main()
"""


def test_without_its_extra_the_kafka_commands_say_what_to_install() -> None:
    """In one line, before anything is read."""
    program = ALONE.replace('"sql", "ddl", "inbox"', '"kafka", "feed", "bridge.toml"')
    command = [sys.executable, "-c", f"BLOCKED = {{'kafka'}}\n{program}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = "kafka-python is not installed. Install the extra: pip install 'exchange-hub-agency[kafka]'."
    assert (ran.returncode, ran.stderr.strip()) == (1, said)


def test_without_its_extra_the_client_works_and_the_sql_commands_say_what_to_install() -> None:
    """Neither the hub nor SQLAlchemy nor anything else of the hub's is imported by anything but agency_adapters.sql."""
    blocked = {"hub", "consent", "sqlalchemy", "kafka", "sqlmodel", "fastapi", "starlette", "orjson", "alembic"}
    command = [sys.executable, "-c", f"BLOCKED = {blocked!r}\n{ALONE}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = "SQLAlchemy is not installed. Install the extra: pip install 'exchange-hub-agency[sql]'."
    assert (ran.returncode, ran.stderr.strip()) == (1, said)
