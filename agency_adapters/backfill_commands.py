"""`hub-agency backfill`: ask for what a provider held already, see how far it is, and fill one from a file."""

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from agency_adapters.backfill import Person, backfill
from agency_adapters.client import HubClient
from agency_adapters.errors import AgencyError
from agency_adapters.ndjson import Broken, Resource, read_file
from agency_adapters.profile import directory_of, read_profile
from agency_adapters.terminal import line, tell

EXIT_PROBLEM = 1
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="What a provider held already.")
ProfileName = Annotated[str | None, typer.Option("--profile", help="Which profile; else the only or the last one.")]


@app.command("list")
def list_all(profile: ProfileName = None) -> None:
    """Write the backfills that this agency gets, and those that it fills."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        for one in client.backfills():
            line(one)


@app.command("open")
def open_one(
    agreement: Annotated[str, typer.Argument(help="The agreement's code, as `hub-agency catalogue` writes it.")],
    purpose: Annotated[str, typer.Argument(help="The purpose's code.")],
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    profile: ProfileName = None,
) -> None:
    """Ask the provider for what it held already, for one subscription of this agency. Once."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        line(client.open_backfill(agreement=agreement, purpose=purpose, dataset=dataset))


@app.command()
def run(
    backfill_id: Annotated[str, typer.Argument(metavar="BACKFILL", help="Its id, as the notice named it.")],
    file: Annotated[Path, typer.Option("--from", help="CloudEvents, one a line, grouped by `subject`, oldest first.")],
    profile: ProfileName = None,
) -> None:
    """Fill a backfill from a file and end it. After a crash run it again with the same file: it goes on."""
    told = sum(1 for _ in _groups(file, seen=set()))  # a file that is not grouped is refused before anything is sent
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        filled = backfill(client, backfill_id, _groups(file), told=told)
    for one in filled.refused:
        tell(f"event {one.id} refused: {one.problem}")
    counts: dict[str, Any] = {"persons": filled.persons, "skipped": filled.skipped, "events": filled.events}
    line({**counts, "waits": filled.waits, "refused": len(filled.refused)})
    if filled.refused:
        raise typer.Exit(EXIT_PROBLEM)


def _groups(file: Path, *, seen: set[str] | None = None) -> Iterator[Person]:
    """Give each person's events. With `seen` a person that comes again further down is an error."""
    for subject, group in groupby(_events(file), key=lambda one: str(one.content.get("subject", ""))):
        events = list(group)
        if seen is not None:
            if not subject or subject in seen:
                what = "is about a person of earlier lines" if subject else "has no `subject`"
                raise AgencyError(f"{events[0].where} {what}", remedy="Sort the file by `subject`, then by time.")
            seen.add(subject)
        yield subject, [one.content for one in events]


def _events(file: Path) -> Iterator[Resource]:
    for one in read_file(file):
        if isinstance(one, Broken):
            raise AgencyError(f"{one.where}: {one.reason}", remedy="Mend the line; nothing was sent.")
        yield one
