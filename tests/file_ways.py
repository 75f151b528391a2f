"""File drop and the folder of rows as ways of the adapters' contract: `add` and `run`, or `run` and `arrived`.

Both take the directory in which a way keeps all that it knows. `FolderPublishes` publishes over HTTP through the client
it is given. `DropPublishes` and `DropReceives` work on `DIRECTORY/drop`, the agency's folder at the hub: link it there.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from agency_adapters.client import HubClient
from agency_adapters.file_drop import read_batches, write_batch
from agency_adapters.folder import read_folder, read_map
from agency_adapters.ndjson import Broken
from agency_adapters.seen import Seen

MAP = """dataset = "{dataset}"
key = ["number", "child"]
subject = "child"
time = "at"
[fields]
child_id = "child"
dob = "dob"
"""


class Birth(Protocol):
    """A row of the agency's."""

    @property
    def number(self) -> int: ...
    @property
    def child(self) -> str: ...
    @property
    def dob(self) -> str: ...


class Arrived(NamedTuple):
    """What a receiving way has stored of a delivery."""

    id: str
    kind: str
    data: Mapping[str, Any]


def moment(number: int) -> str:
    """Say when a birth was registered: the later the higher its number."""
    return f"2026-01-31T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"


@dataclass
class FolderPublishes:
    """A CSV of rows, mapped to events, published from its start each time."""

    directory: Path
    dataset: str = "civil.birth.registered"

    def add(self, rows: Sequence[Birth]) -> None:
        folder = self.directory / "rows"
        folder.mkdir(exist_ok=True)
        (self.directory / "map.toml").write_text(MAP.format(dataset=self.dataset))
        new = not (folder / "births.csv").exists()
        with (folder / "births.csv").open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["number", "child", "dob", "at"])
            writer.writerows([row.number, row.child, row.dob, moment(row.number)] for row in rows)

    def events(self, agency: str) -> list[Mapping[str, Any]]:
        found = read_folder(
            self.directory / "rows", read_map(self.directory / "map.toml"), publisher=agency, id_key=b"k" * 32
        )
        return [one for one in found if not isinstance(one, Broken)]

    def run(self, client: HubClient) -> int:
        return len(client.publish(self.events(client.channel.settings.agency)).refused)


class DropPublishes(FolderPublishes):
    """The same rows, put into the drop folder; the hub's receipt says what it refused."""

    def run(self, client: HubClient) -> int:
        agency = client.channel.settings.agency
        write_batch(self.directory / "drop", self.events(agency), agency=agency)
        return 0


@dataclass
class DropReceives:
    """Deliveries from the drop folder, appended to a file, remembered in `Seen`."""

    directory: Path
    turn: Callable[[], None] = lambda: None  # before each delivery is stored: where a test may end the process

    def run(self, client: HubClient) -> None:
        agency = client.channel.settings.agency
        with (self.directory / "drop.ndjson").open("a") as file, Seen(self.directory / "drop.seen") as seen:
            for delivery in read_batches(self.directory / "drop", agency=agency, seen=seen):
                self.turn()
                file.write(json.dumps(delivery.document) + "\n")
                file.flush()

    def arrived(self) -> list[Arrived]:
        lines = [json.loads(line) for line in (self.directory / "drop.ndjson").read_text().splitlines()]
        return [Arrived(one["id"], one["kind"], one["data"]) for one in lines]
