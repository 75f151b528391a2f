"""`hub migrate`: bring PostgreSQL's schema to this version, as its owner, before the hub starts."""

from typing import Annotated

import typer


def migrate(
    dsn: Annotated[str, typer.Option("--dsn", help="The owner's DSN; unset: HUB_STORE_OWNER_DSN.")] = "",
    expand: Annotated[bool, typer.Option("--expand", help="Before a roll-out: only what older hubs work on.")] = False,
    contract: Annotated[
        bool, typer.Option("--contract", help="After it: the rest; no older hub may be there.")
    ] = False,
) -> None:
    """Make or upgrade the schema of the store, and give the hub's own role what it needs and no more."""
    from hub.commands.operator import settings_now
    from hub.store.migrate import ensure as ensure_file
    from hub.store.migrate_postgres import Phase, opened, role_of
    from hub.store.migrate_postgres import migrate as migrate_database

    if expand and contract:
        raise typer.BadParameter("--expand goes before a roll-out and --contract after it")
    settings = settings_now()
    if not settings.on_postgres:
        print(f"{settings.store_path}: {ensure_file(settings.store_path)}.")
        return
    owner = dsn or settings.store_owner_dsn or settings.store_dsn
    password = settings.store_password() if owner == settings.store_dsn else ""
    role = role_of(settings.store_dsn)
    phase: Phase = "expand" if expand else "contract" if contract else "all"
    with opened(owner, password) as connection:
        done = migrate_database(connection, owner, password, role, phase=phase, days=settings.store_partition_days)
    print(f"The store's schema: {done}; the hub runs as {role}.")
    if done == "expanded":
        print("When every hub is of this version: hub migrate --contract.")
