"""`hub agency`: register the public keys that an agency signs in with, and end them; suspend an agency whole."""

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

    jwk = read_jwk(file)
    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            added = ask(client, "POST", "/agency-keys", {"agency": code, "jwk": jwk})
    else:
        with opened(settings) as hub:
            added = hub.add_agency_key(code, jwk)
    print(f"{added['agency']} signs in with the key {added['kid']} from now on.")


@app.command("end-key", context_settings={"ignore_unknown_options": True})  # a thumbprint may begin with a dash
def end_key(
    code: Annotated[str, typer.Argument(help="The agency's code, as in agencies.yaml.")],
    kid: Annotated[str, typer.Argument(help="The key's kid, as it was registered.")],
) -> None:
    """Let a key sign nobody in from now on. Tokens that are out already last five minutes more at most."""
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            ask(client, "POST", "/agency-keys/end", {"agency": code, "kid": kid})
    else:
        with opened(settings) as hub:
            hub.end_agency_key(code, kid)
    print(f"{code} does not sign in with the key {kid} any more. Tokens that are out last five minutes more at most.")


@app.command()
def suspend(code: Annotated[str, typer.Argument(help="The agency's code, as in agencies.yaml.")]) -> None:
    """Stop all releases from and to an agency. When this returns no such hand-out commits any more."""
    _move(code, "suspend")
    print(f"{code} is suspended. `hub agency resume {code}` lets it take part again.")


@app.command()
def resume(code: Annotated[str, typer.Argument(help="The agency's code, as in agencies.yaml.")]) -> None:
    """Let a suspended agency take part again. What was refused meanwhile stays refused."""
    _move(code, "resume")
    print(f"{code} takes part again.")


def _move(code: str, act: str) -> None:
    from urllib.parse import quote

    from hub.commands.agreement import at_hub
    from hub.exchange.agreements import move_agency

    path = f"/agencies/{quote(code, safe='')}/{act}"
    at_hub("POST", path, None, lambda desk: move_agency(desk, code, act))


def read_jwk(file: Path) -> dict[str, Any]:
    """Read a JWK's file. Raises HubError(INVALID)."""
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
        remedy="Save the line that `hub-agency init` or `hub-agency officer new` prints.",
        code="key-refused",
    )
