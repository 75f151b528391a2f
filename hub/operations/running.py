"""Which processes make up this hub, for an operator: what each runs, who has fallen silent, which part nobody runs."""

from collections.abc import Iterable
from typing import Any

from hub.core.errors import Item
from hub.parts import Part
from hub.settings import Settings
from hub.store.engine import Tx
from hub.store.workers import processes

US = 1_000_000
WITHOUT = {  # what does not happen while no process runs a part
    Part.WEB: "nobody can publish, sign in or reach the portal",
    Part.GATE: "nothing is decided; what is published waits on the bus",
    Part.HANDOUT: "nobody can pull; deliveries wait in the store",
    Part.WEBHOOKS: "nothing is posted; deliveries can be pulled",
    Part.FILES: "no files go out or in; deliveries can be pulled",
    Part.RETENTION: "what is over stays: keys are destroyed, consents end and asks expire too late",
}


def running_parts(tx: Tx) -> list[dict[str, Any]]:
    """List the processes as JSON objects; `silent_s` is since when nothing was heard of one that does not answer."""
    return [
        {
            "name": one.name,
            "parts": [str(part) for part in Part if part in one.parts],
            "up_s": one.up_us // US,
            "silent_s": 0 if one.alive else one.silent_us // US,
        }
        for one in processes(tx)
    ]


def missing_parts(running: list[dict[str, Any]], settings: Settings) -> tuple[Part, ...]:
    """Say which parts no living process runs. Files are missed only where this process knows of file drop."""
    there = {part for one in running if not one["silent_s"] for part in one["parts"]}
    return tuple(
        part for part in Part if part not in there and (part is not Part.FILES or settings.file_drop_dir is not None)
    )


def missed(parts: Iterable[Part]) -> tuple[Item, ...]:
    """Say in words what does not happen while nobody runs these, and what to do."""
    return tuple(
        Item(f"no process runs the part {part}: {WITHOUT[part]}", remedy=f"Start one: hub serve --only {part}.")
        for part in parts
    )
