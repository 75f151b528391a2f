"""`hub status`: how the running hub is."""

import json
from typing import Annotated

import typer


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say how the running hub is; exit code 1 when it is not ready or none runs."""
    from hub.commands.operator import ask, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is None:
        print(json.dumps({"running": False}) if as_json else f"No hub runs on {settings.data_dir}.")
        raise typer.Exit(1)
    with client:
        found = ask(client, "GET", "/status")
    if as_json:
        print(json.dumps({"running": True, **found}))
    else:
        for name, value in found.items():
            if name not in ("troubles", "alarms"):
                print(f"{name:<18} {value}")
        for trouble in found["troubles"]:
            print(f"not ready: {trouble['what']}. {trouble['remedy']}")
        for alarm in found["alarms"]:
            print(f"alarm: {alarm['what']}. {alarm['remedy']}")
    if found["troubles"]:
        raise typer.Exit(1)
