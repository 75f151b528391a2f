"""The adapters that the contract suite runs, each behind the same few methods. A new one is a class and a row in WAYS.

    python tests/adapters_contract_ways.py NAME DIRECTORY HUB     runs one once, when a line comes on standard input

A publishing way `add`s rows where an agency's application would, and `run` publishes them, returning how many were
refused. A receiving way's `run` takes what is there, and `arrived` reads what it has stored, in order. Both keep all
that they know in a directory of their own: the same directory again is a restart.
"""

import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from agency_adapters.channel import Settings
from agency_adapters.client import KNOWN_KINDS, NOTICE, HubClient
from agency_adapters.errors import AgencyError
from agency_adapters.keys import key_from_pem
from agency_adapters.profile import Profile
from agency_adapters.results import PublishStopped
from agency_adapters.retry import Backoff
from agency_adapters.seen import Seen
from agency_adapters.sql.database import open_database
from agency_adapters.sql.inbox import receive
from agency_adapters.sql.mapping import read_mapping
from agency_adapters.sql.running import publishing
from agency_adapters.sql.tables import create
from tests.bridge_ways import KafkaPublishes, KafkaReceives
from tests.file_ways import Arrived as Arrived
from tests.file_ways import FolderPublishes

PUBLISHER, RECIPIENT = "civil-registry", "family-benefits"
DATASET = "civil.birth.registered"
BATCH_EVENTS = 20  # so that a few rows are several requests
KEY_FILE = "agency.pem"
ONCE = Backoff(attempts=1, first_s=0.0, cap_s=0.0)


class Birth(NamedTuple):
    """A row of the agency's. `number` tells every two apart; a `dob` that is no date is refused."""

    number: int
    child: str
    dob: str


class Publishes(Protocol):
    """An adapter on the publisher's side."""

    def __init__(self, directory: Path) -> None: ...

    def add(self, rows: Sequence[Birth]) -> None:
        """Write rows, in one transaction, as the agency's application does."""

    def run(self, client: HubClient) -> int:
        """Publish what is new; return how many rows were refused. Raises `AgencyError` when the hub is down."""


class Receives(Protocol):
    """An adapter on the recipient's side."""

    def __init__(self, directory: Path) -> None: ...

    def run(self, client: HubClient) -> None:
        """Store what is there and acknowledge it. Raises `AgencyError` when the hub is down."""

    def arrived(self) -> list[Arrived]:
        """Read what is stored, in the order in which it came."""


@dataclass
class ClientPublishes:
    """The plain client: a file of events, published from its start each time."""

    directory: Path

    def add(self, rows: Sequence[Birth]) -> None:
        with (self.directory / "events.ndjson").open("a") as file:
            for row in rows:
                event = {"specversion": "1.0", "id": f"plain-{row.child}-{row.number}", "type": DATASET}
                event |= {"source": f"urn:agency:{PUBLISHER}", "subject": row.child, "time": moment(row)}
                file.write(json.dumps({**event, "data": {"child_id": row.child, "dob": row.dob}}) + "\n")

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "events.ndjson").read_text().splitlines()]

    def run(self, client: HubClient) -> int:
        return len(client.publish(self.events()).refused)


class SqlPublishes:
    """Rows in a SQLite database, published by a mapping."""

    mapping, schema, insert = "", "", ""

    def __init__(self, directory: Path) -> None:
        self.directory, self.database = directory, directory / "agency.sqlite"
        (directory / "births.toml").write_text(
            f'database = "sqlite:///{self.database}"\ndataset = "{DATASET}"\n{self.mapping}'
            '[fields]\nchild_id = "child_no"\ndob = "born"\n'
        )
        if not self.database.exists():
            self.execute(self.schema)

    def execute(self, script: str) -> None:
        with sqlite3.connect(self.database) as connection:
            connection.executescript(script)
        connection.close()

    def add(self, rows: Sequence[Birth]) -> None:
        connection = sqlite3.connect(self.database)
        with connection:
            connection.executemany(self.insert, [(row.number, row.child, row.dob, moment(row)) for row in rows])
        connection.close()

    def run(self, client: HubClient) -> int:
        refused = Counter[str]()
        profile = Profile(PUBLISHER, client.channel.settings.hub, PUBLISHER, event_key=b"k" * 32)
        plan = read_mapping(self.directory / "births.toml")
        with publishing(
            plan, profile, client, state=self.directory / "births.sent", tell=lambda one: refused.update([one.row])
        ) as run:
            run.round()
        return len(refused)


class SqlOutbox(SqlPublishes):
    """An outbox of the agency's own form: the columns of births, and the state."""

    mapping = 'mode = "outbox"\ntable = "births"\nsubject = "child_no"\ntime = "at"\n'
    schema = "create table births (id integer primary key, child_no, born, at, state default 'new', code, token)"
    insert = "insert into births (id, child_no, born, at) values (?, ?, ?, ?)"


class SqlWatermark(SqlPublishes):
    """A table that says when each row last changed."""

    mapping = 'mode = "watermark"\ntable = "births"\nkey = "id"\nsubject = "child_no"\ntime = "at"\nchanged = "at"\n'
    schema = "create table births (id integer primary key, child_no, born, at)"
    insert = "insert into births values (?, ?, ?, ?)"


class SqlSnapshot(SqlPublishes):
    """A table that says nothing of changes."""

    mapping = 'mode = "snapshot"\ntable = "births"\nkey = "id"\nsubject = "child_no"\ndeletions = "ignore"\n'
    schema = "create table births (id integer primary key, child_no, born, at)"
    insert = "insert into births values (?, ?, ?, ?)"


@dataclass
class ClientPulls:
    """The plain client: deliveries appended to a file, remembered in `Seen`."""

    directory: Path

    def run(self, client: HubClient) -> None:
        with (self.directory / "feed.ndjson").open("a") as file, Seen(self.directory / "feed.seen") as seen:
            for delivery in client.deliveries(seen):
                if delivery.kind in KNOWN_KINDS | {NOTICE}:
                    file.write(json.dumps(delivery.document) + "\n")
                    file.flush()

    def arrived(self) -> list[Arrived]:
        lines = [json.loads(line) for line in (self.directory / "feed.ndjson").read_text().splitlines()]
        return [Arrived(one["id"], one["kind"], one["data"]) for one in lines]


class SqlInbox:
    """Deliveries in the table hub_inbox."""

    def __init__(self, directory: Path) -> None:
        self.database = directory / "inbox.sqlite"
        self.engine = open_database(f"sqlite:///{self.database}", create=True)
        create(self.engine, "inbox")

    def run(self, client: HubClient) -> None:
        receive(client, self.engine)

    def arrived(self) -> list[Arrived]:
        with sqlite3.connect(self.database) as connection:
            rows = connection.execute("select delivery_id, kind, data from hub_inbox order by id").fetchall()
        connection.close()
        return [Arrived(one, kind, json.loads(data)) for one, kind, data in rows]


PUBLISHING: Mapping[str, Callable[[Path], Publishes]] = MappingProxyType(
    {
        "client": ClientPublishes,
        "outbox": SqlOutbox,
        "watermark": SqlWatermark,
        "snapshot": SqlSnapshot,
        "folder": FolderPublishes,
        "topic": KafkaPublishes,
    }
)
RECEIVING: Mapping[str, Callable[[Path], Receives]] = MappingProxyType(
    {"pull": ClientPulls, "inbox": SqlInbox, "feed": KafkaReceives}
)


def moment(row: Birth) -> str:
    """Say when a birth was registered: the later the higher its number, and long ago enough for the hub."""
    return f"2026-01-31T{row.number // 3600:02d}:{row.number // 60 % 60:02d}:{row.number % 60:02d}Z"


def client_for(directory: Path, hub: str, agency: str) -> HubClient:
    """Sign in with the key that is in the directory. A hub that is down is told at once."""
    key = key_from_pem((directory / KEY_FILE).read_bytes())
    return HubClient(Settings(hub, agency, batch_events=BATCH_EVENTS, backoff=ONCE), key)


def main() -> None:
    """Run one adapter once, when told to."""
    name, directory, hub = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    sys.stdin.readline()
    with client_for(directory, hub, PUBLISHER if name in PUBLISHING else RECIPIENT) as client:
        try:
            if name in PUBLISHING:
                PUBLISHING[name](directory).run(client)
            else:
                RECEIVING[name](directory).run(client)
        except (AgencyError, PublishStopped) as error:
            sys.exit(f"{error.what}. {error.remedy}")


if __name__ == "__main__":
    main()
