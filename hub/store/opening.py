"""Open the store that the settings name, with the schema that this version works with."""

from hub.settings import Settings
from hub.store.engine import Store
from hub.store.moving import refuse_moved


def open_store(settings: Settings) -> tuple[Store, str]:
    """Return it, and what was done to its schema (current, made, upgraded). Raises HubError STARTUP, UNAVAILABLE."""
    if settings.on_postgres:
        from hub.store.migrate_postgres import ensure  # psycopg is loaded only where it is used
        from hub.store.postgres import PgStore

        password = settings.store_password()
        schema = ensure(
            settings.store_dsn,
            password=password,
            owner_dsn=settings.store_owner_dsn,
            days=settings.store_partition_days,
        )
        store = PgStore(
            settings.store_dsn, password=password, connections=settings.store_connections_max,
            idle_ms=settings.store_idle_ms,
        )  # fmt: skip
        return _refused_moved(store), schema
    from hub.store.migrate import ensure as ensure_file
    from hub.store.sqlite import SqliteStore

    path = settings.store_path
    file = SqliteStore(path, synchronous=settings.synchronous, wal_restart_bytes=settings.wal_restart_bytes)
    try:
        schema = ensure_file(path)
    except BaseException:
        file.close()
        raise
    return _refused_moved(file), schema


def _refused_moved(store: Store) -> Store:
    """Return it, or close it: it has moved, or is what a move has not filled. Raises HubError(STARTUP)."""
    try:
        with store.read() as tx:
            refuse_moved(tx)
    except BaseException:
        store.close()
        raise
    return store
