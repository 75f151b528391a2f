"""`hub files`: send an agency's deliveries as files, and take its files in; or not; and say how it goes."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(no_args_is_help=True, help="File drop: deliveries as files, and events from files, per agency.")
Code = Annotated[str, typer.Argument(help="The agency's code, as in agencies.yaml.")]


@app.command("on")
def turn_on(
    agency: Code,
    form: Annotated[Literal["ndjson", "csv"], typer.Option("--format", help="ndjson for programs, csv for people.")],
    bom: Annotated[bool, typer.Option("--bom", help="CSV begins with a byte order mark, as Excel likes it.")] = False,
) -> None:
    """Write an agency's deliveries into its directory from now on, and publish what it puts there."""
    _change(agency, form, bom=bom)
    print(f"{agency}: file drop is on, as {form}. It can pull as before; whatever comes first is acknowledged once.")


@app.command("off")
def turn_off(agency: Code) -> None:
    """Write no more files and take none in. What is queued stays and can be pulled; files that are there stay."""
    _change(agency, "", bom=False)
    print(f"{agency}: file drop is off. Remove its directory once nobody needs what is in it.")


@app.command("list")
def listed(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Say which agencies have file drop, what they have not acknowledged, and what stands in the way."""
    import json

    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            found: Sequence[Any] = ask(client, "GET", "/file-drop")["file_drop"]
    else:
        with opened(settings) as hub:
            found = hub.file_drops.listed()
    if as_json:
        print(json.dumps({"file_drop": list(found)}))
        return
    for one in found:
        print(
            f"{one['agency']:<24} {one['format']:<7} {one['unacknowledged_batches']} batches not acknowledged,"
            f" the oldest for {one['oldest_unacknowledged_s']} s; {one['half_written']} files without done-marker"
            + (f"; TROUBLE: {one['trouble']}" if one["trouble"] else "")
        )
    if not found:
        print("No agency has file drop. `hub files on AGENCY --format ndjson` turns it on.")


def _change(agency: str, form: str, *, bom: bool) -> None:
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            ask(client, "POST", "/file-drop", {"agency": agency, "form": form, "bom": bom})
    else:
        with opened(settings) as hub:
            hub.file_drops.set(agency, form=form, bom=bom)
