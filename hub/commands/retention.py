"""`hub retention`: what is kept how long and why, and letting go now of what is over."""

import json
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="What is kept how long, and letting go of what is over.")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON array.")]


@app.command()
def show(as_json: AsJson = False) -> None:
    """List every class: its period, why, and how much of it is over and not gone yet."""
    _draw(_run((), dry_run=True), as_json, dry_run=True)


@app.command()
def run(
    of: Annotated[list[str] | None, typer.Option("--class", help="One class; may be repeated. Else all.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let go of what is over, in small pieces beside a running hub; the hub does the same by itself, every day."""
    from hub.operations.retention import NAMES

    unknown = [name for name in of or () if name not in NAMES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is no class; there are {', '.join(NAMES)}")
    found = []
    for name in of or NAMES:  # one after the other, so that each is told when it is done
        found += _run((name,), dry_run=dry_run)
        if not as_json:
            print(f"{name}: {found[-1]['over']} over, {found[-1]['gone']} gone", flush=True)
    if as_json:
        print(json.dumps(found))


def _run(names: tuple[str, ...], *, dry_run: bool) -> list[dict[str, Any]]:
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.operations.retention import run_recorded
    from hub.operations.steered import kept_by

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            done: list[dict[str, Any]] = ask(client, "POST", "/retention", {"classes": names, "dry_run": dry_run})
            return done
    with opened(settings) as hub:
        return run_recorded(kept_by(hub), names, dry_run=dry_run)


def _draw(found: list[dict[str, Any]], as_json: bool, *, dry_run: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "kept", "why", "over" if dry_run else "gone", box=box.SIMPLE)
    for one in found:
        table.add_row(one["class"], one["period"], one["why"], str(one["over" if dry_run else "gone"]))
    Console(highlight=False).print(table)
