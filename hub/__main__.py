"""The `hub` command. Exit codes: 0 done, 1 refused or failed (told on standard error), 2 wrong usage."""

import sys

import typer

from hub.commands import (
    agency,
    agreement,
    backfill,
    backup,
    catalogue,
    deadletters,
    demo,
    doctor,
    files,
    keys,
    migrate,
    move,
    officer,
    person,
    policy,
    restore,
    retention,
    status,
    stop_release,
    topics,
    verify,
    why,
)
from hub.commands.bench import bench
from hub.commands.serve import serve
from hub.core.errors import HubError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Run and steer a hub."
)
app.command()(serve)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(migrate.migrate)
app.command()(move.move_engines)
app.command()(stop_release.stop_release)
app.command()(why.why)
app.command()(bench)
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(topics.app, name="topics")
app.add_typer(agency.app, name="agency")
app.add_typer(agreement.app, name="agreement")
app.add_typer(officer.app, name="officer")
app.add_typer(keys.app, name="keys")
app.add_typer(policy.app, name="policy")
app.add_typer(person.app, name="person")
app.add_typer(deadletters.app, name="deadletters")
app.add_typer(files.app, name="files")
app.add_typer(retention.app, name="retention")
app.add_typer(demo.app, name="demo")
app.add_typer(backfill.app, name="backfill")
app.add_typer(backup.app, name="backup")
app.add_typer(restore.app, name="restore")
app.add_typer(verify.app, name="verify")


def main() -> None:
    """Run the command; put what stands in its way in plain words."""
    try:
        app()
    except HubError as error:
        tell(error)
        sys.exit(1)


def tell(error: HubError) -> None:
    """Write a refusal to standard error: what, where, what to do, and every item."""
    where = f" ({error.where})" if error.where else ""
    print(f"{error.what}{where}", file=sys.stderr)
    for item in error.items:
        print(f"  {item.where + ': ' if item.where else ''}{item.what}", file=sys.stderr)
        if item.remedy:
            print(f"    {item.remedy}", file=sys.stderr)
    if error.remedy:
        print(error.remedy, file=sys.stderr)


if __name__ == "__main__":
    main()
