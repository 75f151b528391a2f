"""A SQLite store that people have lived with, and the database that it is moved to.

The lived-in hub is `protocol_world.Hub`; what `tests/stores.py` gives out for its path on PostgreSQL is the target, so
opening the same directory on the real engines is the hub after the move.
"""

import os
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hub.app import build
from hub.clock import system_clock
from hub.core.errors import HubError
from hub.operations.move import Journey, Moved, move
from hub.settings import Settings
from hub.store.engine import Row
from hub.store.move_source import pieces, snapshot, tables
from hub.store.moving import FACT, Mark, State, mark_from, mark_of
from tests import stores
from tests.asks_world import known, put
from tests.backfill_world import opened as backfill_opened
from tests.protocol_world import LOOK_BACK, OBJECTION, ROOT, Hub, ManualClock

ROOT_KEY = b"m" * 32
PASSWORD = "canary-word"


@dataclass
class Lived:
    """What a hub had promised on SQLite."""

    directory: Path
    clock: ManualClock = field(default_factory=ManualClock)
    persons: dict[str, int] = field(default_factory=dict)
    opened: dict[int, str] = field(default_factory=dict)  # not acknowledged: number -> delivery
    consent: str = ""  # of who has withdrawn
    receipt: str = ""  # of that withdrawal
    token: str = ""  # of an event that waits for its link

    @property
    def path(self) -> Path:
        return self.directory / "hub.sqlite"

    def settings(self, **changed: Any) -> Settings:
        """Return the settings of the hub on SQLite, which `changed` may point elsewhere."""
        return Settings(**{"mode": "development", "data_dir": self.directory, **changed})

    def journey(self, **changed: Any) -> Journey:
        """Return the way to this store's own database, with its owner's help."""
        given: dict[str, Any] = {
            "settings": self.settings(), "to": stores.dsn_of(self.path), "owner_dsn": stores.owner_dsn_of(self.path),
            "bus": "embedded", "clock": system_clock, "say": lambda _: None,
        }  # fmt: skip
        return Journey(**{**given, **changed})

    def hub(self) -> Hub:
        return Hub(self.directory, clock=self.clock, root=ROOT_KEY)


def lived_in(directory: Path) -> Lived:
    """Live for a while: every state that an event, a delivery and a consent can be in, somebody's is in."""
    lived = Lived(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hub.key").write_bytes(urlsafe_b64encode(ROOT_KEY))
    (directory / "hub.key").chmod(0o600)
    hub = lived.hub()
    for name in ("acknowledged", "opened", "withdrawn", "erased"):
        lived.persons[name] = hub.link(name)
    lived.persons["held"] = hub.link("held", LOOK_BACK)
    hub.grant(lived.persons["acknowledged"])
    hub.grant(lived.persons["opened"])
    hub.grant(lived.persons["erased"])
    lived.consent = hub.grant(lived.persons["withdrawn"])
    for name in ("acknowledged", "withdrawn", "erased"):
        hub.publish(f"{name}-1", name)
    hub.decide()
    hub.acknowledge(hub.pull())
    lived.receipt = hub.withdraw(lived.persons["withdrawn"], lived.consent).receipt.id
    hub.erase(lived.persons["erased"])
    hub.publish("opened-1", "opened")
    hub.publish("held-1", "held", LOOK_BACK)
    lived.token = hub.publish("stranger-1", "stranger")
    hub.decide()
    lived.opened = {one.number: one.public.hex() for one in hub.pull().opened}
    known(hub, "asked")
    put(hub, "asked")
    backfill_opened(hub, OBJECTION)
    hub.publish("acknowledged-2", "acknowledged")  # on the bus, not decided
    hub.close()
    return lived


def moved(lived: Lived, **changed: Any) -> Moved:
    return move(lived.journey(**changed))


@contextmanager
def afterwards(lived: Lived) -> Iterator[Hub]:
    """Open the hub on PostgreSQL, as its own role, until the block ends."""
    stores.use(stores.REAL)
    try:
        hub = lived.hub()
        try:
            yield hub
        finally:
            hub.close()
    finally:
        stores.use(stores.EMBEDDED)


def content(lived: Lived) -> dict[str, list[Row]]:
    """Read all rows of the SQLite store, by table, but for the mark of a move."""
    with snapshot(lived.path) as source:
        return {
            table.name: [row for rows in pieces(source, table) for row in rows] for table in tables(source, intake=True)
        }


def content_there(lived: Lived) -> dict[str, list[Row]]:
    """Read the same of the database, by statements of its own."""
    with snapshot(lived.path) as source:
        described = tables(source, intake=True)
    with psycopg.connect(stores.owner_dsn_of(lived.path)) as owner:
        return {table.name: owner.execute(table.select().encode()).fetchall() for table in described}


def source_mark(lived: Lived) -> Mark | None:
    with snapshot(lived.path) as source:
        return mark_of(source)


def bare(lived: Lived) -> None:
    """Take the schema out of the target."""
    with psycopg.connect(stores.owner_dsn_of(lived.path), autocommit=True) as owner:
        owner.execute("DROP SCHEMA public CASCADE")
        owner.execute("CREATE SCHEMA public")


def environment(lived: Lived, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    given = {"HUB_MODE": "development", "HUB_DATA_DIR": str(lived.directory), "PYTHONPATH": str(ROOT)}
    return {**inherited, **given, **more}


def command(lived: Lived, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run `hub move-engines` to the target in a process of its own."""
    to = ["--to", stores.dsn_of(lived.path), "--owner-dsn", stores.owner_dsn_of(lived.path)]
    return subprocess.run(
        [sys.executable, "-m", "hub", "move-engines", *to, *words],
        env=environment(lived, **more), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def refused(lived: Lived, **changed: Any) -> HubError:
    """Try to move, and see that nothing came of it: nothing is changed here, nothing served there."""
    before = content(lived)
    with pytest.raises(HubError) as caught:
        moved(lived, **changed)
    assert content(lived) == before
    assert source_mark(lived) is None
    assert caught.value.remedy
    return caught.value


def starts(lived: Lived, **changed: Any) -> str:
    """Start a hub; returns "" where it does, else the code of its refusal."""
    try:
        build(lived.settings(**changed), stock=False).close()
    except HubError as error:
        return error.code
    return ""


def starts_there(lived: Lived) -> str:
    return starts(lived, store_dsn=stores.dsn_of(lived.path))


def there(lived: Lived, statement: str) -> None:
    """Do something in the target, as its owner."""
    with psycopg.connect(stores.owner_dsn_of(lived.path), autocommit=True) as owner:
        owner.execute(statement.encode())


def mark_there(lived: Lived) -> State | None:
    with psycopg.connect(stores.owner_dsn_of(lived.path)) as owner:
        row = owner.execute("SELECT value FROM fact WHERE name = %s", (FACT,)).fetchone()
    mark = mark_from(row[0]) if row else None
    return mark.state if mark else None


def refusal_of(lived: Lived, **changed: Any) -> str:
    with pytest.raises(HubError) as caught:
        move(lived.journey(**changed))
    return caught.value.code
