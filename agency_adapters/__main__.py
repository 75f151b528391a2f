"""`hub-agency`: what an agency runs at a terminal or from a timer.

JSON goes to standard output, one object per line; words for people go to standard error.
Exit codes: 0 done, 1 a problem (told on standard error), 2 wrong usage, 3 the hub cannot be reached.
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from agency_adapters import agreement_commands, fhir
from agency_adapters.ask_commands import add_ask_commands
from agency_adapters.backfill_commands import app as backfill_app
from agency_adapters.channel import Channel, open_http
from agency_adapters.client import KNOWN_KINDS, NOTICE, HubClient
from agency_adapters.clock import system_clock
from agency_adapters.doctor import Finding, examine
from agency_adapters.errors import AgencyError, HubUnreachable, problem_from
from agency_adapters.file_commands import app as files_app
from agency_adapters.inputs import read_events
from agency_adapters.kafka_commands import app as kafka_app
from agency_adapters.keys import new_key, public_jwk
from agency_adapters.links import read_links, read_names
from agency_adapters.ndjson import Broken
from agency_adapters.profile import directory_of, new_profile, profile_exists, read_profile, seen_path, write_profile
from agency_adapters.results import CloudEvent, PublishResult, PublishStopped, Refused
from agency_adapters.sealing import read_seal_keys
from agency_adapters.seen import Seen
from agency_adapters.sql_commands import app as sql_app
from agency_adapters.terminal import line as _line
from agency_adapters.terminal import tell as _tell
from agency_adapters.ways_out_commands import seal_key, webhook

EXIT_PROBLEM, EXIT_UNREACHABLE = 1, 3
CHUNK_EVENTS = 1000  # how many events of an export are in memory at once

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
app.command("agreements")(agreement_commands.list_agreements)
app.add_typer(agreement_commands.app, name="agreement")
app.add_typer(agreement_commands.officer, name="officer")
app.add_typer(sql_app, name="sql")
app.add_typer(files_app, name="files")
app.add_typer(kafka_app, name="kafka")
app.add_typer(webhook, name="webhook")
app.add_typer(seal_key, name="seal-key")
app.add_typer(backfill_app, name="backfill")
ProfileName = Annotated[str | None, typer.Option("--profile", help="Which profile; else the only or the last one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="The hub checks everything and stores nothing.")]


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="The agency's code at the hub; the profile is called the same.")],
    hub: Annotated[str, typer.Option(help="The hub's address, https://HOST[:PORT].")],
    ca: Annotated[Path | None, typer.Option(help="PEM file of a private CA; then only it is trusted.")] = None,
    issuer: Annotated[str, typer.Option(help="The issuer's name, where it is not to be asked of the hub.")] = "",
    demo: Annotated[bool, typer.Option("--demo", help="Register the key at a demo hub.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Make a new key in place of the present one.")] = False,
) -> None:
    """Make a key and a profile, and print the public key to register. Run again, it keeps the key it made."""
    directory = directory_of(os.environ)
    profile = new_profile(name, hub=hub, issuer=issuer, ca_file=ca)
    key = new_key()
    if profile_exists(directory, name) and not replace:
        present, key = read_profile(directory, name)
        if present.hub != profile.hub:
            raise AgencyError(f"the profile {name} is for another hub", remedy="Add --replace to start anew.")
        profile = dataclasses.replace(profile, event_key=present.event_key)
    else:
        seen_path(directory, name).unlink(missing_ok=True)
    write_profile(directory, profile, key)
    if demo:
        channel = Channel(profile.settings, key, open_http(profile.settings))
        _register_at_demo(channel, {"agency": name, "jwk": public_jwk(key)})
        seen_path(directory, name).unlink(missing_ok=True)  # a demo's world begins anew with each start
    then = "Registered." if demo else "Register this public key, at the hub with `hub agency add-key`:"
    _tell(f"Profile {name}: {directory / f'{name}.toml'}. {then}")
    _line(public_jwk(key))


def _register_at_demo(channel: Channel, body: Mapping[str, Any]) -> None:
    with channel.http:
        response = channel.request(channel.http.build_request("POST", "/demo/agency-keys", json=body))
    if response.status_code == httpx.codes.NOT_FOUND:
        remedy = "Start it with `make demo`, or register the key printed by `init` without --demo."
        raise AgencyError("this hub is no demo, or the demo has no such agency", remedy=remedy)
    if response.status_code >= httpx.codes.MULTIPLE_CHOICES:
        raise problem_from(response)


@app.command()
def doctor(profile: ProfileName = None) -> None:
    """Check clock, TLS, key, token, agreements and round trip: PASS, or FAIL with one remedy each."""
    try:
        found, key = read_profile(directory_of(os.environ), profile)
        with HubClient(found.settings, key) as client:
            findings = examine(client)
    except AgencyError as error:
        findings = [Finding("profile", False, error.what, error.remedy)]
    table = Table("check", "result", "what", "remedy")
    for finding in findings:
        result = "[green]PASS[/]" if finding.passed else "[red]FAIL[/]"
        table.add_row(finding.step, result, finding.what, finding.remedy)
    Console().print(table)
    if not all(finding.passed for finding in findings):
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def pull(
    profile: ProfileName = None,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for the first delivery.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many deliveries; else all there are.")] = None,
    ack: Annotated[bool, typer.Option("--ack/--no-ack", help="--no-ack: look only; they come again later.")] = True,
) -> None:
    """Write the deliveries as JSON lines. Each page is acknowledged after its last line was flushed."""
    directory = directory_of(os.environ)
    found, key = read_profile(directory, profile)
    with HubClient(found.settings, key, seal_keys=read_seal_keys(directory, found.name)) as client:
        if not ack:
            for delivery in client.pull(min(limit or 500, 500), min(wait, 30)).deliveries:
                _line(delivery.document)
            return
        with Seen(seen_path(directory, found.name)) as seen:
            for delivery in client.deliveries(seen, limit=limit, wait_s=wait):
                _line(delivery.document)
                if delivery.kind not in KNOWN_KINDS | {NOTICE}:
                    _tell(f"Not acknowledged: a delivery of kind {delivery.kind!r}. Update hub-agency to handle it.")


@app.command()
def publish(
    file: Annotated[str, typer.Argument(help="CloudEvents as JSON: one, an array, or one per line; - reads stdin.")],
    profile: ProfileName = None,
    dry_run: DryRun = False,
) -> None:
    """Publish events; write one line per event: accepted with its token, or refused with the hub's problem."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AgencyError(f"{file} cannot be read as UTF-8", remedy="Name a file, or - for standard input.") from error
    events = read_events(text, name="stdin" if file == "-" else Path(file).name)
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        try:
            result = client.publish(events, dry_run=dry_run)
        except PublishStopped as stopped:
            _outcomes(stopped.done)
            raise
    _outcomes(result)
    _tell(f"{len(result.accepted)} accepted, {len(result.refused)} refused{' (dry run)' if dry_run else ''}.")
    if result.refused:
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def status(token: Annotated[str, typer.Argument(help="As `publish` wrote it.")], profile: ProfileName = None) -> None:
    """Ask what became of an event: accepted, waiting, handled, expired, failed or conflict."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        _line({"state": client.status(token)})


@app.command()
def catalogue(profile: ProfileName = None) -> None:
    """Write what is agreed for this agency: agreements, what it gets in which form, and what it publishes."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        _line(client.catalogue())


@app.command()
def asyncapi(profile: ProfileName = None) -> None:
    """Write the AsyncAPI 3 document of what this agency receives, for the tools that read such documents."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        _line(client.asyncapi())


@app.command()
def link(
    file: Annotated[Path, typer.Argument(help="CSV with the columns agency,local_id,mine,level,born.")],
    profile: ProfileName = None,
) -> None:
    """Link agencies' ids to people, for agencies that have that right; write the hub's answer per row."""
    _send(read_links(file), HubClient.link, "linked", profile)


NamesFile = Annotated[Path, typer.Argument(help="CSV with the columns agency,local_id.")]


@app.command()
def unlink(file: NamesFile, profile: ProfileName = None) -> None:
    """Undo links; write the hub's answer per row."""
    _send(read_names(file), HubClient.unlink, "undone", profile)


@app.command()
def dispute(file: NamesFile, profile: ProfileName = None) -> None:
    """Put links in doubt: what rests on them waits until they are settled or undone."""
    _send(read_names(file), HubClient.dispute, "disputed", profile)


@app.command()
def settle(file: NamesFile, profile: ProfileName = None) -> None:
    """Say of disputed links that they are right: what waited goes on."""
    _send(read_names(file), HubClient.settle, "settled", profile)


def _send(
    links: Sequence[Mapping[str, Any]],
    send: Callable[[HubClient, Sequence[Mapping[str, Any]]], list[Mapping[str, Any]]],
    done: str,
    profile: str | None,
) -> None:
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        answers = send(client, links)
    for answer in answers:
        _line(answer)
    refused = sum("problem" in answer for answer in answers)
    _tell(f"{len(answers) - refused} {done}, {refused} refused.")
    if refused:
        raise typer.Exit(EXIT_PROBLEM)


@app.command("fhir")
def publish_fhir(
    directory: Annotated[Path, typer.Argument(help="A FHIR R4 Bulk Data export: *.ndjson, *.ndjson.gz.")],
    profile: ProfileName = None,
    dry_run: DryRun = False,
    reference: Annotated[str, typer.Option(help="The day on which under 18 is counted, YYYY-MM-DD; else today.")] = "",
) -> None:
    """Publish the datasets of an export that this agency publishes; write one line with the counts."""
    day = _day(reference)
    found, key = read_profile(directory_of(os.environ), profile)
    counts = {"events": 0, "accepted": 0, "refused": 0, "skipped_lines": 0, "broken_lines": 0, "left_out_elements": 0}
    with HubClient(found.settings, key) as client:
        own = {str(dataset.get("name", "")) for dataset in _datasets(client.agency())}
        publishers = {dataset: found.agency for dataset in fhir.DATASETS if dataset in own}
        if not publishers:
            remedy = f"An export holds {', '.join(fhir.DATASETS)}; use the profile of an agency that publishes these."
            raise AgencyError(f"{found.agency} publishes no dataset of a FHIR export", remedy=remedy)
        outcomes = fhir.read_export(directory, publishers=publishers, reference=day, id_key=found.event_key)
        events = _events(outcomes, counts)
        try:
            while chunk := list(islice(events, CHUNK_EVENTS)):
                counts["events"] += len(chunk)
                _count(client.publish(chunk, dry_run=dry_run), counts)
        except PublishStopped as stopped:
            _count(stopped.done, counts)
            raise
        finally:
            _line({**counts, "dry_run": dry_run})
    if counts["refused"] or counts["broken_lines"]:
        raise typer.Exit(EXIT_PROBLEM)


def _day(reference: str) -> date:
    if not reference:
        return datetime.fromtimestamp(system_clock() / 1_000_000, UTC).date()
    try:
        return date.fromisoformat(reference)
    except ValueError as error:
        raise typer.BadParameter("not a day YYYY-MM-DD", param_hint="--reference") from error


def _datasets(agency: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Read the datasets that the agency publishes, given as objects with a name or as names."""
    for dataset in agency.get("datasets") or ():
        yield dataset if isinstance(dataset, dict) else {"name": dataset}


def _events(outcomes: Iterator[fhir.Mapped | fhir.Skipped | Broken], counts: dict[str, int]) -> Iterator[CloudEvent]:
    for outcome in outcomes:
        match outcome:
            case fhir.Mapped(events=events, left_out=left_out):
                counts["left_out_elements"] += len(left_out)
                yield from events
            case fhir.Skipped():
                counts["skipped_lines"] += 1
            case Broken(where=where, reason=reason):
                counts["broken_lines"] += 1
                _tell(f"{where}: {reason}")


def _count(result: PublishResult, counts: dict[str, int]) -> None:
    counts["accepted"] += len(result.accepted)
    counts["refused"] += len(result.refused)
    for refused in result.refused:
        _tell(f"event {refused.id} refused: {refused.problem}")


def _outcomes(result: PublishResult) -> None:
    for item in result.items:
        told: dict[str, Any] = {"index": item.index, "id": item.id}
        if isinstance(item, Refused):
            problem = item.problem
            told |= {"status": "refused", "problem": problem.code, "what": problem.what, "where": problem.where}
            told |= {"remedy": problem.remedy, "items": list(problem.items)}
        else:
            told |= {"status": "accepted", "token": item.token}
        _line(told)


add_ask_commands(app)


def main() -> None:
    """Run the command; put what stands in its way in plain words."""
    try:
        app()
    except HubUnreachable as error:
        _tell(f"{error.what}. {error.remedy}")
        sys.exit(EXIT_UNREACHABLE)
    except PublishStopped as error:
        _tell(f"{error.what}. {error.remedy}")
        sys.exit(EXIT_UNREACHABLE if isinstance(error.cause, HubUnreachable) else EXIT_PROBLEM)
    except AgencyError as error:
        _tell(f"{error.what}. {error.remedy}")
        sys.exit(EXIT_PROBLEM)


if __name__ == "__main__":
    main()
