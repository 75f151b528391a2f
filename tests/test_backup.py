"""`hub backup` and `hub restore` as an operator types them: beside a running hub, checked, refused where it matters."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.operations.backup import MANIFEST, read_manifest, verify
from tests import stores
from tests.restore_world import House, house
from tests.test_serve import environment, serving

pytestmark = pytest.mark.engines


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as there:
        there.consents("A")
        there.told("A")
        yield there


def command(there: House, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    env |= {"HUB_MODE": "development", "HUB_DATA_DIR": str(there.directory), "HUB_STORE_DSN": there.settings.store_dsn}
    if stores.on_postgres():
        env["HUB_STORE_OWNER_DSN"] = stores.owner_dsn_of(there.directory / "hub.sqlite")
    return subprocess.run(
        [sys.executable, "-m", "hub", *words], env=env | more, cwd=there.directory.parent, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_backup_is_restored_whole_by_three_commands(ours: House, tmp_path: Path) -> None:
    """Every row is where it was; no value of the store stands in what is printed."""
    before = {table: ours.rows(f"SELECT count(*) FROM {table}") for table in ("person", "delivery", "handout", "link")}
    ours.close()
    folder = str(tmp_path / "b")
    made = command(ours, "backup", "make", folder)
    assert made.returncode == 0, made.stderr
    checked = command(ours, "backup", "verify", folder)
    assert checked.returncode == 0, checked.stdout
    assert {line[:4] for line in checked.stdout.splitlines()} == {"PASS"}
    refused = command(ours, "restore", "from", folder)
    assert (refused.returncode, "--replace" in refused.stderr) == (1, True), refused.stdout
    restored = command(ours, "restore", "from", folder, "--replace")
    assert restored.returncode == 0, restored.stderr
    assert "It is in quarantine" in restored.stdout
    reconciled = command(ours, "restore", "reconcile", "--yes")
    assert reconciled.returncode == 0, reconciled.stderr
    assert "Releases go on" in reconciled.stdout
    assert "postgresql://" not in made.stdout + checked.stdout + restored.stdout + reconciled.stdout
    ours.open()
    assert {table: ours.rows(f"SELECT count(*) FROM {table}") for table in before if table != "delivery"} == {
        table: rows for table, rows in before.items() if table != "delivery"
    }
    assert ours.quarantined() == ""


def test_nothing_is_restored_under_a_running_hub(ours: House) -> None:
    """It would write into a store that is not there any more."""
    folder = ours.back_up()
    refused = command(ours, "restore", "from", str(folder), "--replace")
    assert (refused.returncode, "a hub runs on this store" in refused.stderr) == (1, True), refused.stderr
    assert ours.quarantined() == ""


def test_an_altered_backup_is_neither_verified_nor_restored(ours: House) -> None:
    """Not a byte of a file, nor what the manifest says."""
    folder = ours.back_up()
    assert {one.level for one in verify(folder, ours.settings.key_path)} == {"PASS"}
    document = json.loads((folder / MANIFEST).read_text())
    document["manifest"]["made_us"] += 1
    (folder / MANIFEST).write_text(json.dumps(document))
    assert [one.what for one in verify(folder, ours.settings.key_path) if one.level == "FAIL"] == [
        "the manifest was altered"
    ]
    document["manifest"]["made_us"] -= 1
    (folder / MANIFEST).write_text(json.dumps(document))
    name = max(document["manifest"]["files"], key=lambda one: int(document["manifest"]["files"][one]["bytes"]))
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert verify(folder, ours.settings.key_path)[0].level == "FAIL"
    refused = command(ours, "restore", "from", str(folder), "--replace")
    assert (refused.returncode, "is not what was written" in refused.stderr) == (1, True)
    (folder / name).unlink()
    assert "is not there" in verify(folder, ours.settings.key_path)[0].what


def test_a_backup_of_another_key_or_engine_and_half_of_one_are_refused(ours: House, tmp_path: Path) -> None:
    """Each in words."""
    folder = ours.back_up()
    ours.close()
    other = House(tmp_path / "other")
    other.close()
    refused = command(other, "restore", "from", str(folder), "--replace")
    assert (refused.returncode, "it opens with key" in refused.stderr) == (1, True), refused.stderr
    elsewhere = "" if stores.on_postgres() else "postgresql://nobody@127.0.0.1:1/none"
    refused = command(ours, "restore", "from", str(folder), "--replace", HUB_STORE_DSN=elsewhere)
    assert (refused.returncode, "this is a backup of" in refused.stderr) == (1, True), refused.stderr
    (folder / MANIFEST).unlink()
    refused = command(ours, "restore", "from", str(folder), "--replace")
    assert (refused.returncode, "no backup" in refused.stderr) == (1, True), refused.stderr
    ours.open()


def test_a_folder_that_is_there_is_not_written_into(ours: House, tmp_path: Path) -> None:
    """A backup is made once and never changed."""
    folder = ours.back_up()
    before = read_manifest(folder)
    refused = command(ours, "backup", "make", str(folder))
    assert (refused.returncode, "there already" in refused.stderr) == (1, True), refused.stderr
    assert read_manifest(folder) == before


def test_beside_a_running_hub(tmp_path: Path) -> None:
    """The hub goes on, notes the backup, and a reconcile is refused where nothing was restored."""
    environ = environment(tmp_path / "hub")
    if stores.on_postgres():
        environ |= {"HUB_STORE_DSN": stores.dsn_of(tmp_path / "hub" / "hub.sqlite"), "HUB_STORE_IDLE_MS": "30000"}
    with serving(environ, tmp_path) as hub:
        made = subprocess.run(
            [sys.executable, "-m", "hub", "backup", "make", "b"], env=environ, cwd=tmp_path, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        assert hub.status().status_code == 200
        refused = subprocess.run(
            [sys.executable, "-m", "hub", "restore", "reconcile"], env=environ, cwd=tmp_path, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (refused.returncode, "in no quarantine" in refused.stderr) == (1, True)
