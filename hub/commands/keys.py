"""`hub keys`: the root key that wraps every other."""

from pathlib import Path
from typing import Annotated

import typer

from hub.core.errors import HubError, Kind

app = typer.Typer(no_args_is_help=True, help="The root key that wraps every other.")


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
