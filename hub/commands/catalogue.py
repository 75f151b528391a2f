"""`hub catalogue`: check the reviewed files, and approve what they say after showing the difference."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.core.agreement import Catalogue

STYLE = {"widened": "bold red", "narrowed": "green", "new": "bold yellow", "ended": "cyan", "changed": "yellow"}
ORDER = ("widened", "new", "changed", "narrowed", "ended")  # what somebody must look at hardest stands first

app = typer.Typer(no_args_is_help=True, help="Who may hear what, for which purpose.")
Directory = Annotated[Path | None, typer.Argument(help="The catalogue's folder; else the one that ships with the hub.")]


@app.command()
def check(directory: Directory = None) -> None:
    """Check the files and print every finding with file and line; exit code 1 where there are any."""
    from hub import catalogue_files
    from hub.engines import CATALOGUE

    findings = catalogue_files.check(directory or CATALOGUE)
    for item in findings:
        print(f"{item.where}: {item.what}" + (f" - {item.remedy}" if item.remedy else ""))
    if findings:
        print(f"{len(findings)} finding{'s' if len(findings) > 1 else ''}.")
        raise typer.Exit(1)
    print("No findings.")


@app.command()
def apply(
    directory: Directory = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve without asking.")] = False,
) -> None:
    """Show what would change, ask, and put the catalogue in force. What was approved once is never rewritten."""
    from hub import catalogue_files
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.core.catalogue import from_document, to_document
    from hub.engines import CATALOGUE
    from hub.exchange.agreement_views import signed_digests

    proposed = catalogue_files.load(directory or CATALOGUE)
    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            approved = from_document(ask(client, "GET", "/catalogue"))
            unsigned = _unsigned(approved, proposed, ask(client, "GET", "/agreements")["signed"])
            if _agreed(approved, proposed, unsigned, yes=yes):
                sent = {"document": to_document(proposed), "expected": approved.digest}
                _done(ask(client, "POST", "/catalogue", sent))
        return
    with opened(settings) as hub:
        unsigned = _unsigned(hub.approved(), proposed, signed_digests(hub.agreements))
        if _agreed(hub.approved(), proposed, unsigned, yes=yes):
            _done(hub.approve(proposed, expected=hub.approved().digest))


def _unsigned(approved: "Catalogue", proposed: "Catalogue", signed: list[str]) -> list[str]:
    """Name the agreements that would lie still: their terms change, and not both sides have signed the new ones."""
    from hub.core.agreement_digest import terms_of
    from hub.core.catalogue import to_document

    before, after = to_document(approved), to_document(proposed)
    known = {terms_of(before, code).digest for code in before["agreements"]} | {*signed}
    by_number = sorted(proposed.agreements.values(), key=lambda one: one.number)
    return [one.code for one in by_number if terms_of(after, one.code).digest not in known]


def _warn(approved: "Catalogue", unsigned: list[str]) -> None:
    """Say last, where it is read, what would lie still. A first catalogue has no present version to keep in force."""
    print(f"Not signed by both sides, so nothing is released under them once this is applied: {', '.join(unsigned)}.")
    if any(code in approved.agreements for code in unsigned):
        print("To keep the present version in force until then: `hub agreement propose`, and apply when it is signed.")
    else:
        print("Each comes into force by itself when an officer of each side has signed it.")


def _agreed(approved: "Catalogue", proposed: "Catalogue", unsigned: list[str], *, yes: bool) -> bool:
    """Refuse rewrites, show the difference, and ask. Raises HubError(INVALID)."""
    from hub.core.catalogue import difference, refuse_rewrites

    refuse_rewrites(approved, proposed)
    changes = difference(approved, proposed)
    if not changes:
        print("The files say what is approved already; only the policy's revision is brought up to date.")
        return True
    show(changes)
    if unsigned:
        _warn(approved, unsigned)
    if yes or typer.confirm("Put this in force?"):
        return True
    print("Nothing was changed.")
    return False


def show(changes: Any) -> None:
    """Print differences, what widens first."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "what", "version", "difference")
    for one in sorted(changes, key=lambda change: (ORDER.index(change.kind), change.noun, change.code)):
        version = f"v{one.version}" if one.version else ""
        table.add_row(f"[{STYLE[one.kind]}]{one.kind}[/]", f"{one.noun} {one.code}", version, one.what)
    console = Console()
    console.print(table)
    counts = {kind: sum(one.kind == kind for one in changes) for kind in ORDER}
    console.print(", ".join(f"{count} {kind}" for kind, count in counts.items() if count))


def _done(applied: dict[str, Any]) -> None:
    print(f"In force: catalogue {applied['digest'][:16]}, {applied['changes']} changes. Policy {applied['revision']}.")
    if applied["unsigned"]:
        print(f"Waiting for signatures, and not in force: {', '.join(applied['unsigned'])}.")
