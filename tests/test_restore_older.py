"""A backup that an older version made: it is restored, brought to this version's schema, and keeps its promises."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.operations.backup import MANIFEST, back_up, read_manifest
from hub.operations.restore import restore
from hub.store.migrate import HEAD, REVISIONS
from hub.store.migrate import upgrade as upgrade_file
from hub.store.migrate_postgres import opened
from hub.store.migrate_postgres import upgrade as upgrade_database
from tests import stores
from tests.restore_world import House, house

pytestmark = pytest.mark.engines
OLDER = REVISIONS[-3:-1]
STAMP = "alembic_version"


def in_former_words(there: House, before: str, tmp_path: Path) -> Path:
    """Back the store up as the version would have whose schema is `before`: in its tables and columns."""
    if stores.on_postgres():
        of_then: dict[str, object] = {"store_dsn": stores.dsn_of(tmp_path / "former")}
        _database(stores.owner_dsn_of(there.directory / "hub.sqlite"), stores.owner_dsn_of(tmp_path / "former"), before)
    else:
        of_then = {"data_dir": tmp_path / "former"}
        (tmp_path / "former").mkdir()
        _file(there.settings.store_path, tmp_path / "former" / there.settings.store_path.name, before)
    settings = there.settings.model_copy(update=of_then | {"key_file": there.settings.key_path})
    folder = tmp_path / "former-backup"
    back_up(settings, folder, clock=there.clock)
    return folder


def _file(source: Path, to: Path, before: str) -> None:
    upgrade_file(to, before)
    with closing(sqlite3.connect(to)) as former, former:
        former.execute("ATTACH ? AS present", (str(source),))
        tables = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        for (table,) in former.execute(tables).fetchall():
            if table == STAMP:
                continue
            columns = ", ".join(name for _, name, *_ in former.execute(f"PRAGMA main.table_info({table})"))
            former.execute(f"DELETE FROM main.{table}")
            former.execute(f"INSERT INTO main.{table}({columns}) SELECT {columns} FROM present.{table}")


def _database(source: str, to: str, before: str) -> None:
    with opened(to) as former:
        former.execute("DROP SCHEMA IF EXISTS parts CASCADE")
        former.execute("DROP SCHEMA public CASCADE")
        former.execute("CREATE SCHEMA public")
    upgrade_database(to, to=before)
    with opened(source) as present, opened(to) as former:
        tables = (
            "SELECT table_name, string_agg(column_name, ', ' ORDER BY ordinal_position) FROM information_schema.columns"
            " WHERE table_schema = 'public' GROUP BY table_name"
        )
        for table, columns in former.execute(tables).fetchall():
            if table == STAMP:
                continue
            with former.transaction(), former.cursor() as into, present.cursor() as of:
                into.execute(f"DELETE FROM {table}".encode())
                with (
                    of.copy(f"COPY (SELECT {columns} FROM {table}) TO STDOUT".encode()) as rows,
                    into.copy(f"COPY {table}({columns}) FROM STDIN".encode()) as written,
                ):
                    for row in rows:
                        written.write(row)
        sequences = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public'"
        known = {name for (name, _) in former.execute(sequences).fetchall()}
        for name, last in present.execute(sequences).fetchall():
            if last is not None and name in known:
                former.execute("SELECT setval(%s::regclass, %s)", (name, last))
        for what in ("TABLES", "SEQUENCES"):
            former.execute(f"GRANT SELECT ON ALL {what} IN SCHEMA public TO {stores.ROLE}".encode())
        former.execute(f"GRANT USAGE ON SCHEMA public TO {stores.ROLE}".encode())


@pytest.mark.parametrize("before", OLDER)
def test_a_backup_of_an_older_schema_is_restored_and_upgraded(tmp_path: Path, before: str) -> None:
    """What was consented, linked and handed out then stands; numbers go on, and who withdrew since gets nothing out."""
    with house(tmp_path) as there:
        stays, goes = there.consents("A", "B")
        assert there.told("A", "B") == {there.person("A"), there.person("B")}
        there.hub.close()
        backup = in_former_words(there, before, tmp_path)
        assert read_manifest(backup)["manifest"]["schema"] == before
        there.open()
        there.hub.note_backup()
        there.pass_by()
        there.withdraw(there.person("B"), goes)
        assert there.told("A") == {there.person("A")}
        there.lose_to(backup)
        assert there.hub.schema in ("upgraded", "current")
        assert there.rows("SELECT version_num FROM alembic_version") == [(HEAD,)]
        assert "restored from a backup" in there.quarantined()
        there.reconcile()
        assert there.told("A", "B") == {there.person("A")}
        assert there.rows("SELECT count(*) FROM consent") == [(2,)]
        numbers = [number for (number,) in there.rows("SELECT number FROM handout WHERE recipient > 0 ORDER BY 1")]
        assert len(numbers) == len(set(numbers))
        assert stays != goes


def altered(folder: Path, change: Callable[[bytes], bytes]) -> None:
    manifest = folder / MANIFEST
    manifest.write_bytes(change(manifest.read_bytes()))


def test_a_backup_of_a_newer_schema_is_refused_in_words_and_nothing_is_changed(tmp_path: Path) -> None:
    """Before the store is touched; the remedy names the version that made it, or a later one."""
    with house(tmp_path) as there:
        there.consents("A")
        there.told("A")
        backup = there.back_up()
        altered(backup, lambda said: said.replace(f'"schema": "{HEAD}"'.encode(), b'"schema": "9999"'))
        there.hub.close()
        owner = stores.owner_dsn_of(there.directory / "hub.sqlite") if stores.on_postgres() else ""
        with pytest.raises(HubError) as refused:
            restore(there.settings, backup, owner_dsn=owner, replace=True, clock=there.clock)
        assert "or a later one" in refused.value.remedy
        there.open()
        assert there.quarantined() == ""
        assert there.told("A") == {there.person("A")}
