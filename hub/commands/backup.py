"""`hub backup`: copy the store beside a running hub, and check a copy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.operations.findings import Finding

app = typer.Typer(no_args_is_help=True, help="Copy the store beside a running hub, and check a copy.")
Folder = Annotated[Path, typer.Argument(help="The backup's folder; `make` makes it.")]


@app.command()
def make(folder: Folder) -> None:
    """Copy the whole store as of one moment. The key file, its ledger and its marks are backed up apart from it."""
    from hub.clock import system_clock
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.operations.backup import back_up

    settings = settings_now()
    made = back_up(settings, folder.absolute(), clock=system_clock)
    client = running(settings)
    if client is not None:
        with client:
            ask(client, "POST", "/backups")
    else:
        with opened(settings) as hub:
            hub.note_backup()
    total = sum(of["bytes"] for of in made["files"].values())
    print(f"{folder} holds the store as of now: {made['engine']}, schema {made['schema']}, {total / 1e6:.1f} MB.")
    print("Back the key's volume up apart from it: the key file, its ledger of erasures, and its marks.")


@app.command()
def verify(folder: Folder) -> None:
    """Check every file of a backup, and that the key file opens it. Exit code 1 where it is no good."""
    from hub.commands.operator import settings_now
    from hub.operations import backup

    tell(backup.verify(folder, settings_now().key_path))


def tell(found: "Sequence[Finding]") -> None:
    """Write findings a line each; exit code 1 where one failed."""
    for one in found:
        print(f"{one.level}  {one.check:<12} {one.what}" + (f"\n{'':<19}{one.remedy}" if one.remedy else ""))
    if any(one.level == "FAIL" for one in found):
        raise typer.Exit(1)
