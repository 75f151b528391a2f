"""`hub person`: erase a person, hold the erasure of one, and mend the ledger of erasures.

A person is named by an agency and that agency's own id of them. The id is asked for, or read from standard input where
that is no terminal: on the command line other users of the machine would see it, and the shell would keep it.
"""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from hub.core.errors import HubError, Kind

app = typer.Typer(no_args_is_help=True, help="Erase a person, and hold the erasure of one.")
Agency = Annotated[
    str, typer.Argument(help="The agency whose id of the person follows, asked for or on standard input.")
]
Sure = Annotated[bool, typer.Option("--yes", help="Do not ask whether this is meant.")]


@app.command()
def erase(
    agency: Agency,
    reason: Annotated[
        str, typer.Option(help="request, consent-withdrawn, no-longer-needed, unlawful, legal-obligation.")
    ],
    yes: Sure = False,
) -> None:
    """Destroy a person's key, and tell everybody who was handed their data to delete it. There is no way back."""
    if not yes and not sys.stdin.isatty():
        print("The id is piped in, so nobody can be asked whether this is meant: add --yes.", file=sys.stderr)
        raise typer.Exit(1)
    local_id = _local_id(agency)
    if not yes and not typer.confirm("Erase this person for good?", err=True):
        raise typer.Exit(1)
    _tell(_do("/persons/erase", {"agency": agency, "local_id": local_id, "reason": reason}))


@app.command()
def hold(
    agency: Agency,
    reference: Annotated[str, typer.Option(help="The order's own number; no person's name.")],
    reason: Annotated[str, typer.Option(help="court-order, legal-claim, audit, public-interest.")],
    until: Annotated[str, typer.Option(help="Its last day, YYYY-MM-DD, in UTC.")],
) -> None:
    """Forbid the erasure of a person until a day."""
    given = {"agency": agency, "local_id": _local_id(agency), "reference": reference, "reason": reason}
    done = _do("/persons/hold", {**given, "until_us": _end_us(until)})
    print(f"Hold {done['number']} stands until {done['until']}.")


@app.command()
def unhold(number: Annotated[int, typer.Argument(help="As `hub person holds` lists it.")]) -> None:
    """Lift a hold now."""
    _do("/persons/unhold", {"hold": number})
    print(f"Hold {number} is lifted.")


@app.command()
def holds() -> None:
    """List the holds that stand, without the persons."""
    found = _do("/persons/holds", None)["holds"]
    for one in found:
        print(f"{one['number']:>6}  until {one['until']}  {one['reason']:<16} {one['reference']}")
    if not found:
        print("No hold stands.")


@app.command()
def ledger(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write it anew from this store; the hub must be stopped.")
    ] = False,
) -> None:
    """Say how many erasures the ledger beside the key knows of, or write a lost one anew."""
    from hub.commands.operator import settings_now
    from hub.identity import ledger as ledgers
    from hub.identity.keys import read_key_file
    from hub.identity.ring import check_root
    from hub.operations.doctor import looking_into
    from hub.store.erasures import erased_persons, erasures_known
    from hub.store.opening import open_store

    settings = settings_now()
    root, path = read_key_file(settings.key_path), ledgers.ledger_path(settings.key_path)
    with looking_into(settings) as tx:
        key = check_root(tx, root).erasure
    if not rebuild:
        print(f"{path}: {_counted(len(ledgers.Ledger(path, key).erased), 'erasures')}, every line whole.")
        return
    store, _ = open_store(settings)  # SQLite's is refused while a hub runs on it
    try:
        with store.read() as tx:
            known, erased = erasures_known(tx), erased_persons(tx)
    finally:
        store.close()
    written = ledgers.rebuild(path, key, erased)
    print(f"{path} is written anew: {written} of the {known} erasures that this store knows of.")
    print("Whoever was erased after this store's state was backed up is not among them: erase them again.")


def _do(path: str, given: dict[str, Any] | None) -> Any:
    """Ask the running hub, or open the store where none runs."""
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            return ask(client, "GET" if given is None else "POST", path, given)
    from hub.exchange import holds_by_law
    from hub.web.admin_people import erase_on

    with opened(settings) as hub:
        if path == "/persons/erase":
            return erase_on(hub, **(given or {}))
        if path == "/persons/hold":
            return holds_by_law.hold(hub.world, **(given or {}))
        if path == "/persons/unhold":
            return holds_by_law.unhold(hub.world, int((given or {})["hold"]))
        return {"holds": holds_by_law.holds(hub.world)}


def _local_id(agency: str) -> str:
    """Ask without showing what is typed; where input is no terminal, take its one line."""
    if sys.stdin.isatty():
        given = str(typer.prompt(f"{agency}'s own id of the person", hide_input=True, err=True))
    else:
        given = sys.stdin.readline().strip()
    if not given:
        raise HubError(
            Kind.INVALID,
            "no id was given",
            where="standard input",
            remedy="Type the agency's own id of the person when asked, or pipe it in.",
            code="person-unknown",
        )
    return given


def _end_us(day: str) -> int:
    """Return the first instant after a day."""
    try:
        begin = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
        return int((begin + timedelta(days=1)).timestamp()) * 1_000_000
    except (ValueError, OverflowError) as cause:
        raise HubError(
            Kind.INVALID, "this is no day", where="--until", remedy="Write YYYY-MM-DD.", code="hold-refused"
        ) from cause


def _tell(done: dict[str, Any]) -> None:
    """Say what was destroyed, who was told, and what copies may still be."""
    print(f"{'Was erased before' if done['already'] else 'Erased'}, at {done['erased']}, reason {done['reason']}.")
    print("Destroyed: " + ", ".join(_counted(count, what) for what, count in done["destroyed"].items() if count) + ".")
    for agency, count in done["told"].items():
        print(f"Told to delete: {agency}, {_counted(count, 'deliveries')}, to be confirmed by {done['due']}.")
    if not done["told"]:
        print("Nobody had been handed anything." if not done["left"] else "Recipients are being told.")
    if not done["log_cut"]:
        print("The write-ahead log is in use and still holds old pages; the hub cuts it by itself as soon as it can.")
    print(f"Sealed copies of what was published can lie on the bus until {done['bus_until']}; nobody hears of them.")
    print("Backups of the store hold the wrapped key until they are rotated out: keep them no longer than you must.")


def _counted(count: int, many: str) -> str:
    """Write a count and its noun."""
    one = f"{many.removesuffix('ies')}y" if many.endswith("ies") else many.removesuffix("s")
    return f"{count} {one if count == 1 else many}"
