"""One agency's folders beside one exchange, and what both sides do with them: for the tests of file drop."""

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from hub.store.file_drop import Drop, turn_on
from hub.workers.files_ack import take_acknowledgements
from hub.workers.files_in import Intake, Taken, take
from hub.workers.files_out import Limits, Sent, keep_house, recover, write_batch
from hub.workers.folders import opened_place
from tests.protocol_world import CONSENT, Hub, Matter


class Files:
    """File drop of one matter's recipient and publisher, taken step by step."""

    def __init__(
        self, hub: Hub, base: Path, *, form: str = "ndjson", bom: bool = False, matter: Matter = CONSENT
    ) -> None:
        base.mkdir(exist_ok=True)
        self.hub, self.base, self.matter, self.limits = hub, base, matter, Limits()
        self.agency, self.publisher = matter.recipient, matter.publisher
        number = hub.catalogue.agencies[self.agency].number
        self.drop = Drop(number, form, bom, 0)
        turn_on(hub.store, number, form=form, bom=bom, clock=hub.clock, salt=lambda nonce: nonce[:16])

    @property
    def out(self) -> Path:
        return self.base / self.agency / "out"

    @property
    def ack(self) -> Path:
        return self.base / self.agency / "ack"

    @property
    def incoming(self) -> Path:
        return self.base / self.publisher / "in"

    # The hub's side.
    def write(self) -> Sent:
        with opened_place(self.base, self.agency) as place:
            return write_batch(self.hub.world, self.hub.keys.wrapping, place, self.drop, self.agency, self.limits)

    def recover(self) -> int:
        with opened_place(self.base, self.agency) as place:
            return recover(self.hub.world, place, self.drop)

    def keep_house(self) -> int:
        with opened_place(self.base, self.agency) as place:
            return keep_house(self.hub.world, place, self.drop, self.limits)

    def acknowledged(self) -> int:
        with opened_place(self.base, self.agency) as place:
            return take_acknowledgements(self.hub.world, place, self.drop, self.agency)

    def take(self, name: str, *, agency: str = "", most_bytes: int = 1 << 28) -> Taken | None:
        """Publish a file that was put into the publisher's folder; None where it was only put away."""
        ended = None
        intake = Intake(lambda: self.hub.publishing, lambda _agency, _events: None, most_bytes)
        with opened_place(self.base, agency or self.publisher) as place:
            for step in take(intake, place, agency or self.publisher, name):
                ended = step or ended
        return ended

    # The agency's side.
    def batches(self) -> list[str]:
        return batches(self.out)

    def lines(self, batch: str) -> list[dict[str, Any]]:
        return lines(self.out, batch)

    def lines_of(self, batch: str) -> list[dict[str, Any]]:
        return self.lines(batch) if batch else []

    def manifest(self, batch: str) -> dict[str, Any]:
        return manifest(self.out, batch)

    def event(self, event_id: str, local_id: str = "A", **changed: Any) -> dict[str, Any]:
        """Make an event as the publisher writes it into a file."""
        return {
            "specversion": "1.0", "id": event_id, "source": f"urn:agency:{self.publisher}", "type": self.matter.dataset,
            "subject": local_id, "time": "2026-11-02T09:00:00Z",
            "data": {self.matter.subject_field: local_id, **self.matter.data}, **changed,
        }  # fmt: skip

    def put(self, name: str, body: bytes, *, form: str = ".ndjson", count: int | None = None, **told: Any) -> None:
        """Put a file there with its manifest and its done-marker. `told` changes what the manifest says."""
        with opened_place(self.base, self.publisher):
            pass
        (self.incoming / (name + form)).write_bytes(body)
        count = len([line for line in body.splitlines() if line.strip()]) if count is None else count
        file = {"name": name + form, "count": count, "bytes": len(body), "sha256": sha256(body).hexdigest()}
        document = {"format": 1, "publisher": self.publisher, "files": [{**file, **told.pop("file", {})}], **told}
        (self.incoming / f"{name}.manifest.json").write_text(json.dumps(document))
        (self.incoming / f"{name}.done").touch()

    def receipt(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.incoming / "done" / f"{name}.receipt.json").read_bytes())
        return told

    def reason(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.incoming / "refused" / f"{name}.reason.json").read_bytes())
        return told


# What an agency sees, with nothing but its folder.
def batches(out: Path) -> list[str]:
    return sorted(path.name.removesuffix(".done") for path in out.glob("*.done"))


def lines(out: Path, batch: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{batch}.ndjson").read_bytes().splitlines()]


def manifest(out: Path, batch: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / f"{batch}.manifest.json").read_bytes())
    return told


def ndjson(events: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def left_over(folder: Path) -> list[str]:
    """List what is in a folder besides its folders."""
    return sorted(name for name in os.listdir(folder) if not (folder / name).is_dir())
