"""`hub move-engines`: from SQLite to PostgreSQL, with ids, cursors, receipts and audit rows as they are."""

from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from hub.operations.move import Journey, Moved


def move_engines(
    to: Annotated[str, typer.Option("--to", help="The new store, as the hub's own role: postgresql://USER@HOST/NAME.")],
    owner_dsn: Annotated[str, typer.Option("--owner-dsn", help="Who owns its schema. Unset: the hub's role.")] = "",
    bus: Annotated[
        Literal["embedded", "kafka"] | None, typer.Option("--bus", help="The bus from then on. Unset: as now.")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Do it all beside a running hub, compare, and empty it again.")
    ] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Take it back, as long as no hub has started on the new store.")
    ] = False,
) -> None:
    """Move the SQLite store of a hub that is stopped into an empty PostgreSQL database, and say how to start on it."""
    from hub.operations import move as steps

    if rehearse and back:
        raise typer.BadParameter("--rehearse moves nothing, so there is nothing to take back")
    journey = _journey(to, owner_dsn, bus)
    if back:
        print(f"Move {steps.take_back(journey)} was taken back: start the hub on the SQLite store as before.")
        return
    done = steps.rehearse(journey) if rehearse else steps.move(journey)
    if rehearse:
        print(f"Rehearsed: {done.rows:,} rows, digest {done.digest[:16]}. {_pace(done)} The database is empty again.")
        print(f"For the real move the hub has to stand still for about as long, {done.seconds:.0f} s, and a restart.")
        return
    _farewell(journey, done)


def _journey(to: str, owner_dsn: str, bus: str | None) -> "Journey":
    """Read the settings, and look whether a start with the next ones would be refused. Raises HubError(STARTUP)."""
    from functools import partial

    from hub.clock import system_clock
    from hub.commands.operator import settings_now
    from hub.failpoints import arm_from
    from hub.operations.move import Journey
    from hub.settings import POSTGRES, checked

    for option, dsn in (("--to", to), ("--owner-dsn", owner_dsn or to)):
        if not dsn.startswith(POSTGRES):
            raise typer.BadParameter(f"{option} must be {POSTGRES}USER@HOST:PORT/NAME")
    settings = settings_now()
    checked(settings.model_copy(update={"store_dsn": to, "bus": bus or settings.bus}))
    arm_from(settings.failpoints)
    owner = owner_dsn or settings.store_owner_dsn
    return Journey(settings, to, owner, bus or settings.bus, system_clock, partial(print, flush=True))


def _farewell(journey: "Journey", done: "Moved") -> None:
    if done.seconds:
        print(f"Moved: {done.rows:,} rows, digest {done.digest[:16]}. {_pace(done)}")
    else:
        print(f"All {done.rows:,} rows were moved before (move {done.move}).")
    print("Start the hub with these settings; everything else stays, the data directory and the key file too:")
    print(f"HUB_STORE_DSN={bare(journey.to)}")
    if journey.to_kafka:
        print("HUB_BUS=kafka")
        print("and what deploy/README.md says under Kafka as the bus: its topics come before the start.")
    print("The SQLite store is not opened any more. Until a hub has started on the new one,")
    print("`hub move-engines --to DSN --back` leads back. Delete it with its backups: it holds keys as of now.")


def _pace(done: "Moved") -> str:
    return f"{done.seconds:.1f} s, {done.rows / max(done.seconds, 0.001):,.0f} rows a second."


def bare(dsn: str) -> str:
    """Return a DSN without its password, which belongs into HUB_STORE_PASSWORD_FILE."""
    parts = urlsplit(dsn)
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=user.partition(":")[0] + at + host).geturl()
