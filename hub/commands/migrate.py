"""`hub migrate`: bring PostgreSQL's schema to this version, as its owner, before the hub starts."""

from typing import Annotated

import typer


def migrate(
    dsn: Annotated[str, typer.Option("--dsn", help="The owner's DSN; unset: HUB_STORE_OWNER_DSN.")] = "",
) -> None:
    """Make or upgrade the schema of the store, and give the hub's own role what it needs and no more."""
    from hub.commands.operator import settings_now
    from hub.store.migrate import ensure as ensure_file
    from hub.store.migrate_postgres import migrate as migrate_database
    from hub.store.migrate_postgres import opened, role_of

    settings = settings_now()
    if not settings.on_postgres:
        print(f"{settings.store_path}: {ensure_file(settings.store_path)}.")
        return
    owner = dsn or settings.store_owner_dsn or settings.store_dsn
    password = settings.store_password() if owner == settings.store_dsn else ""
    role = role_of(settings.store_dsn)
    with opened(owner, password) as connection:
        print(f"The store's schema: {migrate_database(connection, owner, password, role)}; the hub runs as {role}.")
