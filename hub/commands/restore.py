"""`hub restore`: put a backup in the store's place, reconcile it, and rehearse both."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Put a backup in the store's place, reconcile it, rehearse both.")
Owner = Annotated[str, typer.Option("--dsn", help="PostgreSQL: the schema owner's DSN; unset: HUB_STORE_OWNER_DSN.")]


@app.command("from")
def from_(
    folder: Annotated[Path, typer.Argument(help="As `hub backup make` made it.")],
    replace: Annotated[bool, typer.Option("--replace", help="Move a store that is there aside.")] = False,
    dsn: Owner = "",
) -> None:
    """Restore while no hub runs. The hub then starts in quarantine: it releases nothing until it is reconciled."""
    from hub.clock import system_clock
    from hub.commands.operator import settings_now
    from hub.operations.restore import restore

    done = restore(settings_now(), folder, owner_dsn=dsn, replace=replace, clock=system_clock)
    if done["aside"]:
        print(f"What was there is kept as {done['aside']}; remove it when you are sure.")
    print(f"The store is restored: {done['engine']}, schema {done['schema']}. It is in quarantine.")
    print("1. `hub serve`: citizens can withdraw and agencies publish; nothing is released.")
    print("2. `hub restore reconcile`: shows what was done since the backup and does it again; then releases go on.")


@app.command()
def reconcile(
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
) -> None:
    """Show what the marks beside the key know and the restored store does not; do it again, and let releases go on."""
    shown = _do("GET")
    _tell(shown, "Withdrawn, objected, paused, undone since, and to be done again")
    print("Consents that were given since are not known: these people are asked again.")
    print("Events published since: on Kafka they are decided again; else their publishers are told to send them again.")
    if not yes and not typer.confirm("Do this, and release again?", err=True):
        raise typer.Exit(1)
    done = _do("POST")
    _tell(done, "Done again")
    print(f"Erased again: {done['erased']}. Releases go on; every agency is told by a notice.")


@app.command()
def drill(
    folder: Annotated[Path | None, typer.Option(help="Where it is played; else beside the data, and removed.")] = None,
    dsn: Annotated[str, typer.Option("--dsn", help="An empty scratch database's owner; unset: on SQLite.")] = "",
) -> None:
    """Rehearse a disaster with invented people: back up, lose, restore, reconcile. Exit code 1 where a step failed."""
    from hub.commands.backup import tell
    from hub.commands.operator import settings_now
    from hub.demo.disaster import rehearse

    tell(rehearse(folder or settings_now().data_dir, dsn))


def _do(method: str) -> dict[str, Any]:
    """Ask the running hub, or open the store where none runs."""
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.operations import reconcile as reconciling

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            found: dict[str, Any] = ask(client, method, "/restore")
            return found
    with opened(settings) as hub:
        return reconciling.shown(hub) if method == "GET" else reconciling.reconcile(hub)


def _tell(found: dict[str, Any], head: str) -> None:
    known = f"; it knows nothing after {found['known_until']}" if found["known_until"] else ""
    print(f"In quarantine since {found['since']}: {found['why']}{known}.")
    acts = ", ".join(f"{count} {kind}" for kind, count in found["acts"].items())
    print(f"{head}: {acts or 'nothing'}.")
    if found["keys"]:
        print(f"Keys ended: {', '.join(found['keys'])}.")
    for one in found["stopped"]:
        print(f"Stopped by name, for it was suspended, ended or changed since: {one} (`hub stop-release --list`).")
