"""`hub-agency files`: publish an agency's own folder of rows, and take what the hub put into the drop folder."""

import os
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from agency_adapters.client import KNOWN_KINDS, NOTICE, HubClient
from agency_adapters.file_drop import BadBatch, read_batches, write_batch
from agency_adapters.folder import read_folder, read_map
from agency_adapters.ndjson import Broken
from agency_adapters.profile import directory_of, read_profile, seen_path
from agency_adapters.results import CloudEvent, PublishResult, PublishStopped
from agency_adapters.seen import Seen
from agency_adapters.terminal import line, tell

EXIT_PROBLEM = 1
CHUNK_EVENTS = 1_000  # how many events are in memory at once

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Files: an agency's own, and file drop.")
ProfileName = Annotated[str | None, typer.Option("--profile", help="Which profile; else the only or the last one.")]


@app.command()
def publish(
    directory: Annotated[Path, typer.Argument(help="The agency's own folder of rows: *.csv, *.ndjson.")],
    row_map: Annotated[Path, typer.Option("--map", help="TOML: dataset, key, subject, time, fields.")],
    profile: ProfileName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The hub checks everything and stores nothing.")] = False,
    into: Annotated[
        Path | None, typer.Option(help="Put them into this drop folder instead of sending them over HTTP.")
    ] = None,
) -> None:
    """Publish every row of a folder; write one line with the counts. Again, it repeats the same event ids."""
    if into is not None and dry_run:
        raise typer.BadParameter("what is put into a folder is published", param_hint="--dry-run")
    mapping = read_map(row_map)
    found, key = read_profile(directory_of(os.environ), profile)
    counts = {"events": 0, "accepted": 0, "refused": 0, "broken_rows": 0}
    rows = read_folder(directory, mapping, publisher=found.agency, id_key=found.event_key)
    with HubClient(found.settings, key) as client:
        try:
            while some := list(islice(rows, CHUNK_EVENTS)):
                events = _sound(some, counts)
                counts["events"] += len(events)
                if into is not None and events:
                    counts["accepted"] += len(events)
                    tell(f"Put there: {write_batch(into, events, agency=found.agency)}. Its receipt says the rest.")
                elif events:
                    _count(client.publish(events, dry_run=dry_run), counts)
        except PublishStopped as stopped:
            _count(stopped.done, counts)
            raise
        finally:
            line({**counts, "dry_run": dry_run})
    if counts["refused"] or counts["broken_rows"]:
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def receive(
    directory: Annotated[Path, typer.Argument(help="The agency's drop folder, with `out` and `ack` in it.")],
    profile: ProfileName = None,
) -> None:
    """Write the deliveries as JSON lines, each once. A batch is acknowledged after its last line was flushed."""
    folder = directory_of(os.environ)
    found, _ = read_profile(folder, profile)
    bad: list[BadBatch] = []
    with Seen(seen_path(folder, found.name)) as seen:
        for delivery in read_batches(directory, agency=found.agency, seen=seen, bad=bad):
            line(delivery.document)
            if delivery.kind not in KNOWN_KINDS | {NOTICE}:
                tell(f"Not acknowledged: a delivery of kind {delivery.kind!r}. Update hub-agency to handle it.")
    for one in bad:
        tell(f"{one.batch}: {one.what}.{' It is in quarantine.' if one.quarantined else ''} {one.remedy}")
    if bad:
        raise typer.Exit(EXIT_PROBLEM)


def _sound(rows: list[CloudEvent | Broken], counts: dict[str, int]) -> list[CloudEvent]:
    events: list[CloudEvent] = []
    for row in rows:
        if isinstance(row, Broken):
            counts["broken_rows"] += 1
            tell(f"{row.where}: {row.reason}")
        else:
            events.append(row)
    return events


def _count(result: PublishResult, counts: dict[str, int]) -> None:
    counts["accepted"] += len(result.accepted)
    counts["refused"] += len(result.refused)
    for refused in result.refused:
        tell(f"event {refused.id} refused: {refused.problem}")
