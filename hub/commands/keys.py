"""`hub keys`: the root key that wraps every other, and those that access tokens and webhooks are signed with."""

from pathlib import Path
from typing import Annotated

import typer

from hub.core.errors import HubError, Kind

app = typer.Typer(no_args_is_help=True, help="The root key, and those that sign access tokens and webhooks.")


@app.command()
def new(file: Annotated[Path, typer.Argument(help="Where to; on another volume than the data.")]) -> None:
    """Write a new root key, readable by its owner only. A file that is there is never replaced."""
    from hub.identity.keys import make_key_file

    try:
        make_key_file(file)
    except OSError as cause:
        raise HubError(
            Kind.STARTUP,
            f"the key file cannot be made ({cause.strerror})",
            where=str(file),
            remedy="Name a file that is not there yet, in a folder you may write to.",
            code="key-file-unmakeable",
        ) from cause
    print(f"{file} holds a new root key. Back it up apart from the data: without it nothing stored can be opened.")


@app.command()
def rotate() -> None:
    """Sign agencies' access tokens with the next key from now on. The former one goes when its last token is over."""
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            done = ask(client, "POST", "/token-keys")
    else:
        with opened(settings) as hub:
            done = hub.rotate_token_key()
    print(f"Access tokens are signed with the key {done['kid']} from now on.")
    print(f"The former one, {done['former']}, verifies until its last token is over: {done['kept_s']} s from now.")


@app.command("rotate-webhook")
def rotate_webhook(agency: Annotated[str, typer.Argument(help="The agency's code, as in agencies.yaml.")]) -> None:
    """Sign an agency's webhooks with a new key as well. The former one signs beside it for a day, and is then gone."""
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            done = ask(client, "POST", "/webhook-keys", {"agency": agency})
    else:
        with opened(settings) as hub:
            done = hub.rotate_webhook_key(agency)
    print(f"Webhooks to {agency} are signed with the key {done['kid']} too from now on: {done['public_key']}")
    print(f"The former one signs beside it until {done['former_until']}.")
