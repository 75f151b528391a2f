"""`hub agency`: register the public key that an agency signs in with."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.core.errors import HubError, Kind

app = typer.Typer(no_args_is_help=True, help="Agencies and their public keys.")


@app.command("add-key")
def add_key(
    code: Annotated[str, typer.Argument(help="The agency's code, as in agencies.yaml.")],
    file: Annotated[Path, typer.Argument(help="The public key as a JWK, as `hub-agency init` prints it.")],
) -> None:
    """Register a public key beside those that are there; under a kid that is there it takes its place."""
    from hub.commands.operator import ask, opened, running, settings_now

    jwk = _read(file)
    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            added = ask(client, "POST", "/agency-keys", {"agency": code, "jwk": jwk})
    else:
        with opened(settings) as hub:
            added = hub.add_agency_key(code, jwk)
    print(f"{added['agency']} signs in with the key {added['kid']} from now on.")


def _read(file: Path) -> dict[str, Any]:
    try:
        jwk = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise _no_jwk(file) from cause
    if not isinstance(jwk, dict):
        raise _no_jwk(file)
    return jwk


def _no_jwk(file: Path) -> HubError:
    return HubError(
        Kind.INVALID,
        "the file cannot be read as a JWK",
        where=str(file),
        remedy="Save the line that `hub-agency init` prints.",
        code="key-refused",
    )
