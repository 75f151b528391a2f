"""`hub officer`: register the public keys of the officers who sign agreements, and end them."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Officers who sign agreements, and their public keys.")
Agency = Annotated[str, typer.Argument(help="The agency's code, as in agencies.yaml.")]


@app.command()
def add(
    agency: Agency,
    name: Annotated[str, typer.Option(help="The officer's name, as it is printed under agreements.")],
    office: Annotated[str, typer.Option(help="The office they hold.")],
    jwk: Annotated[Path, typer.Option(help="The public key, as `hub-agency officer new` prints it.")],
) -> None:
    """Let an officer sign for an agency from now on. Check by another way that the key is theirs."""
    from hub.commands.agency import read_jwk
    from hub.commands.agreement import at_hub
    from hub.exchange import officers

    key = read_jwk(jwk)
    sent = {"agency": agency, "name": name, "office": office, "jwk": key}
    done = at_hub("POST", "/officers", sent, lambda desk: officers.add(desk, agency, key, name=name, office=office))
    print(f"{name} signs for {done['agency']} with the key {done['kid']} from now on.")


@app.command(context_settings={"ignore_unknown_options": True})  # a thumbprint may begin with a dash
def end(
    agency: Agency, kid: Annotated[str, typer.Argument(help="The key's kid, as `hub officer list` has it.")]
) -> None:
    """Let a key sign nothing any more: its officer left, or it leaked. What it signed before stays signed."""
    from hub.commands.agreement import at_hub
    from hub.exchange import officers

    at_hub("POST", "/officers/end", {"agency": agency, "kid": kid}, lambda desk: officers.end(desk, agency, kid))
    print(f"The key {kid} of {agency} signs nothing any more.")


@app.command("list")
def list_them(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """List every key ever registered, and when it counts."""
    import orjson

    from hub.commands.agreement import at_hub
    from hub.exchange import officers

    found = at_hub("GET", "/officers", None, lambda desk: {"officers": officers.listed(desk)})
    if as_json:
        print(orjson.dumps(found).decode())
        return
    for one in found["officers"]:  # two lines each: a kid that is cut off could not be given to `hub officer end`
        until = f" until {one['until']}" if one["until"] else ""
        print(f"{one['agency']}: {one['name']}, {one['office']}\n  {one['kid']}  from {one['from']}{until}")
    if not found["officers"]:
        print("No officer is registered. `hub officer add` registers one.")
