"""An agency's SQLite database, a mapping of it, and the contract's hub: what the tests of the SQL adapters share."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from joserfc.jwk import OKPKey

from agency_adapters.channel import Settings
from agency_adapters.client import HubClient
from agency_adapters.keys import new_key, public_jwk
from agency_adapters.profile import Profile
from agency_adapters.retry import Backoff
from agency_adapters.sql.desk import NotSent
from agency_adapters.sql.mapping import read_mapping
from agency_adapters.sql.running import Publishing, publishing
from tests.adapters_contract_hub import ContractHub, serving

ONCE = Backoff(attempts=1, first_s=0.0, cap_s=0.0)
DATASET: Mapping[str, Any] = MappingProxyType(
    {
        "name": "test.visit",
        "version": 1,
        "schema": {
            "type": "object",
            "required": ["person_id", "day"],
            "properties": {
                "person_id": {"type": "string"},
                "day": {"type": "string", "format": "date"},
                "sex": {"type": "string", "enum": ["female", "male", "unknown"]},
                "weight_g": {"type": "integer"},
                "urgent": {"type": "boolean"},
                "at_ids": {"type": "array", "items": {"type": "string"}},
                "bad": {"type": "boolean"},
            },
        },
        "fields": [
            {"name": "person_id", "titles": {"en": "The patient", "ru": "Пациент"}, "subject": True},
            {"name": "day", "titles": {"en": "Day of the visit"}, "subject": False},
            {"name": "weight_g", "titles": {"en": "Weight in grams"}, "subject": False},
        ],
    }
)
GONE: Mapping[str, Any] = MappingProxyType(
    {
        "name": "test.visit.gone",
        "version": 1,
        "schema": {
            "type": "object",
            "required": ["person_id"],
            "properties": {"person_id": {"type": "string"}, "day": {"type": "string", "format": "date"}},
        },
        "fields": [],
    }
)
FIELDS = '[fields]\nperson_id = "who"\nday = "day"\nbad = {column = "bad", as = "bool"}\n'
TABLE = "create table visits (id integer primary key, who text, day text, bad integer, changed text)"
WATERMARK = 'mode = "watermark"\ntable = "visits"\nkey = "id"\nsubject = "who"\ntime = "changed"\nchanged = "changed"\n'
SNAPSHOT = 'mode = "snapshot"\ntable = "visits"\nkey = "id"\nsubject = "who"\n'


@dataclass
class Agency:
    """An agency with a database. `hub` shows what was published, `told` which rows were refused."""

    directory: Path
    hub: ContractHub
    client: HubClient
    told: list[NotSent] = field(default_factory=list)

    @property
    def database(self) -> Path:
        return self.directory / "agency.sqlite"

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement in the agency's database."""
        connection = sqlite3.connect(self.database)
        with connection:
            rows = connection.execute(sql, values).fetchall()
        connection.close()
        return rows

    def visit(self, number: int, *, who: str = "P-1", day: str = "2026-01-31", bad: int = 0, changed: str = "") -> None:
        """Write one row, new or over the one that is there."""
        row = (number, who, day, bad, changed or f"2026-01-31 10:{number % 60:02d}:00")
        self.run("insert or replace into visits values (?, ?, ?, ?, ?)", *row)

    @contextmanager
    def mapped(self, text: str, *, name: str = "visits") -> Iterator[Publishing]:
        """Open a mapping; a database and a dataset are put before it where it names none."""
        head = "" if "database =" in text else f'database = "sqlite:///{self.database}"\n'
        head += "" if "dataset =" in text.partition("[")[0] else 'dataset = "test.visit"\n'
        path = self.directory / f"{name}.toml"
        path.write_text(head + text)
        profile = Profile("lindum", self.hub.issuer, "lindum", event_key=b"k" * 32)
        state = self.directory / f"{name}.sent"
        with publishing(read_mapping(path), profile, self.client, state=state, tell=self.told.append) as run:
            yield run

    def publish(self, text: str, **options: bool) -> dict[str, int]:
        """Run a mapping once."""
        with self.mapped(text) as run:
            return run.round(**options)

    def days(self) -> list[str]:
        """Tell the day of each event that the hub has, repeats dropped as the hub drops them."""
        return [str(one["data"].get("day")) for one in self.events()]

    def events(self) -> list[dict[str, Any]]:
        return list({one["id"]: one for one in self.hub.events}.values())


@contextmanager
def agency(directory: Path) -> Iterator[Agency]:
    """Run a contract's hub with one agency that publishes two datasets."""
    with serving() as hub:
        hub.datasets = [dict(DATASET), dict(GONE)]
        key = new_key()
        hub.keys["lindum"] = OKPKey.import_key(public_jwk(key))
        with HubClient(Settings(hub.issuer, "lindum", batch_events=20, backoff=ONCE), key) as client:
            yield Agency(directory, hub, client)
