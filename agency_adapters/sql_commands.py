"""`hub-agency sql`: publish from an agency's tables, receive into one. SQLAlchemy is loaded when a command needs it."""

import dataclasses
import os
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agency_adapters.client import HubClient
from agency_adapters.errors import AgencyError, HubProblem, HubUnreachable
from agency_adapters.profile import directory_of, read_profile
from agency_adapters.results import PublishStopped
from agency_adapters.terminal import line, tell

if TYPE_CHECKING:
    from agency_adapters.profile import Profile
    from agency_adapters.sql.desk import NotSent
    from agency_adapters.sql.mapping import Plan

EXIT_PROBLEM = 1
BATCH_EVENTS = 500  # the hub's limit
LONGEST_WAIT_S = 30
SHOWN_EVENTS = 10
PASSING = frozenset({401, 429})  # and 5xx: later it may work

app = typer.Typer(
    no_args_is_help=True,
    help="Publish from an agency's SQL database, or receive into one.",
    pretty_exceptions_enable=False,
)
ProfileName = Annotated[str | None, typer.Option("--profile", help="Which profile; else the only or the last one.")]
Url = Annotated[
    str, typer.Option("--url", help="env:NAME or file:PATH of the database's URL; itself if without password.")
]
Every = Annotated[int | None, typer.Option(min=1, help="Go on, with so many seconds between rounds.")]
Once = Annotated[bool, typer.Option("--once", help="One round, then end: what happens without --every.")]


class TableName(StrEnum):
    """The tables that are ours in an agency's database."""

    OUTBOX = "outbox"
    INBOX = "inbox"


@app.command()
def ddl(
    table: Annotated[TableName, typer.Argument(help="hub_outbox or hub_inbox.")],
    dialect: Annotated[str, typer.Option(help="sqlite, postgresql, mysql, oracle, mssql.")] = "sqlite",
    create: Annotated[str, typer.Option(help="Make it in this database: env:NAME, file:PATH or a URL.")] = "",
) -> None:
    """Print the statements that make a table of ours, or make it."""
    _need_sqlalchemy()
    from agency_adapters.sql import database, tables

    if create:
        tables.create(database.open_database(create, create=True), table.value)
        tell(f"hub_{table.value} is there.")
    else:
        typer.echo(tables.ddl(table.value, dialect), nl=False)


@app.command("map")
def draft_map(
    table: Annotated[str, typer.Argument(help="A table or view, or SCHEMA.TABLE.")],
    dataset: Annotated[str, typer.Option(help="One of the datasets that this agency publishes.")],
    url: Url,
    profile: ProfileName = None,
) -> None:
    """Draft a mapping of a table to a dataset; write it to standard output."""
    _need_sqlalchemy()
    from agency_adapters.rules import did_you_mean
    from agency_adapters.sql.database import open_database
    from agency_adapters.sql.draft import draft
    from agency_adapters.sql.rows import datasets_of

    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        datasets = datasets_of(client.agency())
    if dataset not in datasets:
        remedy = did_you_mean(dataset, list(datasets))
        raise AgencyError(f"{dataset} is no dataset that {found.agency} publishes", remedy=remedy)
    engine = open_database(url)
    try:
        typer.echo(draft(engine, table, datasets[dataset], reference=url), nl=False)
    finally:
        engine.dispose()


@app.command()
def publish(
    mapping: Annotated[Path, typer.Argument(help="A mapping, as `sql map` drafts it.")],
    profile: ProfileName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show masked events; say what would be refused.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="With --dry-run: how many rows to look at.")] = 1_000,
    once: Once = False,
    every: Every = None,
    retry_refused: Annotated[bool, typer.Option("--retry-refused", help="Send refused rows again.")] = False,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Take the rows as published: only what changes from now on is.")
    ] = False,
    many_gone: Annotated[bool, typer.Option("--many-gone", help="Believe that many rows are gone at once.")] = False,
    show_keys: Annotated[bool, typer.Option("--show-keys", help="Name refused rows by their whole key.")] = False,
) -> None:
    """Publish a table's new and changed rows; write one line with the counts per round."""
    _need_sqlalchemy()
    from agency_adapters.sql.mapping import read_mapping
    from agency_adapters.sql.running import publishing

    plan = read_mapping(mapping)
    found, key = read_profile(directory_of(os.environ), profile)
    options = {"retry_refused": retry_refused, "baseline": baseline, "many_gone": many_gone}
    with (
        HubClient(dataclasses.replace(found.settings, batch_events=BATCH_EVENTS), key) as client,
        publishing(plan, found, client, state=_state(found, plan), tell=_teller(plan, show_keys)) as run,
    ):
        if dry_run:
            shown: list[Any] = []
            counts = run.preview(rows, lambda event: _show(event, shown))
        else:
            counts = _rounds(lambda: run.round(**options), every=None if once else every)
    if counts["refused"]:
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def receive(
    url: Url,
    profile: ProfileName = None,
    wait: Annotated[int, typer.Option(min=0, max=LONGEST_WAIT_S, help="Seconds to wait for the first delivery.")] = 0,
    once: Once = False,
    every: Every = None,
) -> None:
    """Insert deliveries into hub_inbox and acknowledge them after the commit; write one line with the counts."""
    _need_sqlalchemy()
    from agency_adapters.sql.database import open_database
    from agency_adapters.sql.inbox import receive as receive_into

    found, key = read_profile(directory_of(os.environ), profile)
    engine = open_database(url)
    wait_s = wait if once or not every else max(wait, min(every, LONGEST_WAIT_S))
    with HubClient(found.settings, key) as client:

        def round_() -> dict[str, int]:
            counts = dict(receive_into(client, engine, wait_s=wait_s, tell=_tell_kind))
            line(counts)
            return counts

        _rounds(round_, every=None if once else every)


def _state(profile: "Profile", plan: "Plan") -> Path:
    return directory_of(os.environ) / f"{profile.name}.{plan.name}.sent"


def _show(event: Any, shown: list[Any]) -> None:
    if len(shown) < SHOWN_EVENTS:
        shown.append(event)
        line(event)


def _teller(plan: "Plan", show_keys: bool) -> "Callable[[NotSent], None]":
    """Name a row of an outbox by its number; one of another table by a masked key, which may be a person's."""

    def told(one: "NotSent") -> None:
        table, _, key = one.row.partition(" ")
        shown = key if show_keys or plan.mode == "outbox" else key[:1] + "***"
        tell(f"{table} {shown}: {one.reason} [{one.code}]")

    return told


def _tell_kind(kind: str) -> None:
    tell(f"Not acknowledged: a delivery of kind {kind!r}. Update hub-agency to handle it.")


def _rounds(round_: Callable[[], dict[str, int]], *, every: int | None) -> dict[str, int]:
    """Do a round; with `every`, one after the other until Ctrl-C. What may pass is told, and the next round comes."""
    if every is None:
        return round_()
    while True:
        began = time.monotonic()
        try:
            round_()
        except AgencyError as error:
            if not _may_pass(error):
                raise
            tell(f"{error.what}. {error.remedy}")
        except KeyboardInterrupt:
            raise typer.Exit from None
        try:
            time.sleep(max(0.0, every - (time.monotonic() - began)))
        except KeyboardInterrupt:
            raise typer.Exit from None


def _may_pass(error: AgencyError) -> bool:
    from agency_adapters.sql.database import DatabaseRefused

    cause = error.cause if isinstance(error, PublishStopped) else error
    if isinstance(cause, HubProblem):
        return cause.problem.status in PASSING or cause.problem.status >= 500
    return isinstance(cause, HubUnreachable | DatabaseRefused)


def _need_sqlalchemy() -> None:
    try:
        import sqlalchemy  # noqa: F401 - only whether it is there
    except ModuleNotFoundError:
        remedy = "Install the extra: pip install 'exchange-hub-agency[sql]'."
        raise AgencyError("SQLAlchemy is not installed", remedy=remedy) from None
