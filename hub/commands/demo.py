"""`hub demo`: an invented country, played over the public API; and test persons with known outcomes beside it."""

import json
import signal
import sys
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.core.errors import HubError, Item, Kind

if TYPE_CHECKING:
    import subprocess

    from hub.demo.run import Play
    from hub.settings import Settings

STATES = {
    "handled": "handled",
    "waiting": "waiting until somebody says whom it is about",
    "expired": "expired: nobody said in time whom it is about",
    "failed": "failed: a defect of the hub's met it",
    "conflict": "in conflict",
}

app = typer.Typer(add_completion=False)


class Story(StrEnum):
    """Stories that a test person has events for."""

    S1 = "S1"


class Engines(StrEnum):
    """What the demo's hub keeps its records in, takes events in through, and decides with."""

    EMBEDDED = "embedded"
    REAL = "real"


class Standing(StrEnum):
    """Test persons, by what is known to come of them."""

    GRANTED = "TEST-GRANTED"
    REFUSED = "TEST-REFUSED"
    EXPIRED = "TEST-EXPIRED"
    UNLINKED = "TEST-UNLINKED"
    WITHDRAWN = "TEST-WITHDRAWN"
    POISON = "TEST-POISON"


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the stories; so it does without a terminal.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only count: one JSON object. Implies --exit.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Go on with the last demo's data, and tell nothing.")] = False,
    export: Annotated[Path | None, typer.Option("--fhir", help="A FHIR R4 Bulk Data export to play over.")] = None,
    seed: Annotated[int, typer.Option(help="With --fhir: chooses the half that says yes.")] = 1,
    reference: Annotated[
        str, typer.Option(help="With --fhir: the day on which ages count, YYYY-MM-DD; else today.")
    ] = "",
    engines: Annotated[
        Engines, typer.Option(help="real: over PostgreSQL, Kafka and OPA, which end with the demo.")
    ] = Engines.EMBEDDED,
) -> None:
    """Start a hub with an invented country, tell its stories, and stay up until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from agency_adapters.errors import AgencyError
    from hub.clock import system_clock
    from hub.demo import run

    signal.signal(signal.SIGTERM, _interrupt)  # whoever ends the demo ends its hub
    signal.signal(signal.SIGHUP, _interrupt)
    stays = sys.stdout.isatty() and not (leave or as_json)
    play = None if keep else _play(export, seed, _day(reference, system_clock()))
    try:
        counted = run.demo(
            _settings(),
            play=play,
            console=Console(quiet=as_json, highlight=False),
            clock=system_clock,
            stay=_stay if stays else None,
            over=run.over_real_engines if engines is Engines.REAL else run.over_embedded_engines,
        )
    except AgencyError as error:
        raise HubError(Kind.INVALID, error.what, remedy=error.remedy, code="demo-agency") from error
    except KeyboardInterrupt:
        raise typer.Exit(0 if stays else 1) from None
    if as_json:
        print(json.dumps(counted))


@app.command()
def publish(
    story: Annotated[Story, typer.Argument(help="Which story's events.")],
    standing: Annotated[Standing, typer.Option("--as", help="The test person.")],
) -> None:
    """Publish a story's events for a test person at the running demo; return when they are decided."""
    from agency_adapters.errors import AgencyError
    from hub.clock import system_clock
    from hub.demo.host import running_address
    from hub.demo.run import open_country
    from hub.demo.standing import publish_as
    from hub.settings import load

    data_dir = load(mode="demo").data_dir
    try:
        with open_country(running_address(data_dir), data_dir, system_clock) as country:
            for dataset, state in publish_as(country, story.value, standing.value):
                print(f"{standing.value}  {dataset}: {STATES[state]}")
    except AgencyError as error:
        items = (Item("the demo may have been stopped", remedy="Start it with `make demo`."),)
        raise HubError(Kind.UNAVAILABLE, error.what, remedy=error.remedy, code="demo-agency", items=items) from error


def _settings() -> "Settings":
    """Read the settings as a demo needs them: a port that is known beforehand, and an issuer that names it."""
    from hub.demo.host import address_of, free_port
    from hub.settings import load

    settings = load(mode="demo", dev_sign_in=True)
    given: dict[str, Any] = {"port": settings.port or free_port()}
    if "issuer" not in settings.model_fields_set:
        given["issuer"] = address_of(load(mode="demo", dev_sign_in=True, **given))
    return load(mode="demo", dev_sign_in=True, **given)


def _play(export: Path | None, seed: int, reference: date) -> "Play":
    from hub.demo.export import play_export
    from hub.demo.run import stories

    if export is None:
        return stories
    return lambda country, pages: play_export(country, pages, export, seed=seed, reference=reference)


def _day(said: str, now_us: int) -> date:
    try:
        return date.fromisoformat(said) if said else datetime.fromtimestamp(now_us // 1_000_000, UTC).date()
    except ValueError as cause:
        raise typer.BadParameter("not a day YYYY-MM-DD", param_hint="--reference") from cause


def _stay(process: "subprocess.Popen[bytes]") -> None:
    """Wait for Ctrl-C. Raises HubError(UNAVAILABLE) when the hub ends before."""
    print("\n  The hub stays up. Ctrl-C stops it.", flush=True)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        print()
        return
    raise HubError(
        Kind.UNAVAILABLE,
        f"the hub has ended by itself (exit code {code})",
        remedy="See demo.log in its data directory.",
    )


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
