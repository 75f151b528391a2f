"""The ledger beside the key: a restored backup brings nobody back unnoticed, and a crash leaves no half erasure."""

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.app import build
from hub.core.errors import HubError
from hub.exchange.erase import RESTORED, erase_again
from hub.identity.ledger import Ledger, check_count, ledger_path, rebuild
from hub.logs import open_log
from hub.settings import Settings
from hub.store.erasures import erasures_known
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, NOW_US, ROOT, Hub, opened

KEY = b"k" * 32
SILENT = open_log(clock=lambda: 0, stream=io.StringIO())


def entry(ledger: Path, at: int) -> str:
    return ledger.read_text().splitlines()[at]


def prepared(directory: Path) -> tuple[int, int]:
    """Leave a store with two people who were handed something."""
    with opened(directory) as hub:
        persons = []
        for local_id in ("A", "B"):
            persons.append(hub.link(local_id))
            hub.grant(persons[-1])
            hub.publish(local_id, local_id)
        hub.decide()
        hub.acknowledge(hub.pull())
    return persons[0], persons[1]


def store_files(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name.startswith("hub.sqlite")]


# The file.


def test_a_ledger_keeps_who_was_erased_and_when(tmp_path: Path) -> None:
    """Only ever appended to, readable by its owner alone, and each person once."""
    path = tmp_path / "hub.key.erasures"
    first = Ledger(path, KEY)
    first.append(7, 100)
    first.append(8, 200)
    first.append(7, 300)
    assert Ledger(path, KEY).erased == first.erased == {7: 100, 8: 200}
    assert path.stat().st_mode & 0o777 == 0o600
    assert ledger_path(tmp_path / "hub.key") == path


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("7 100", "7 101"),
        lambda text: text.replace("8 200", "9 200"),
        lambda text: "\n".join(text.splitlines()[1:]) + "\n",
        lambda text: "\n".join(reversed(text.splitlines())) + "\n",
        lambda text: "no line of a ledger\n" + text,
        lambda text: text.replace("7 100", "-7 100"),
    ],
    ids=["instant", "person", "first line taken out", "swapped", "a stranger's line", "negative"],
)
def test_an_altered_ledger_is_refused_with_a_remedy(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    """Each line's MAC covers the one before: nothing can be changed, taken out or moved."""
    path = tmp_path / "l"
    ledger = Ledger(path, KEY)
    for person, at_us in ((7, 100), (8, 200)):
        ledger.append(person, at_us)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(HubError) as refused:
        Ledger(path, KEY)
    assert refused.value.code == "erasure-ledger-broken"
    assert "backup" in refused.value.remedy


def test_another_root_keys_ledger_is_refused(tmp_path: Path) -> None:
    """And so is one that other users may read or write."""
    path = tmp_path / "l"
    Ledger(path, KEY).append(7, 100)
    with pytest.raises(HubError, match="was altered"):
        Ledger(path, b"o" * 32)
    path.chmod(0o640)
    with pytest.raises(HubError, match="open to others"):
        Ledger(path, KEY)


def test_a_line_that_a_crash_cut_short_is_dropped(tmp_path: Path) -> None:
    """Its erasure never committed; what is appended then stands on a line of its own."""
    path = tmp_path / "l"
    Ledger(path, KEY).append(7, 100)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:9])
    ledger = Ledger(path, KEY)
    assert ledger.erased == {7: 100}
    ledger.append(8, 200)
    assert Ledger(path, KEY).erased == {7: 100, 8: 200}


def test_a_ledger_that_lacks_lines_stops_the_start(tmp_path: Path) -> None:
    """Its end can be cut off without a trace in the file, so the store counts; rebuilt, it goes on."""
    path = tmp_path / "l"
    ledger = Ledger(path, KEY)
    ledger.append(7, 100)
    check_count(ledger, 1)
    with pytest.raises(HubError, match="2 erasures and the ledger beside the key of 1") as refused:
        check_count(ledger, 2)
    assert (refused.value.code, "--rebuild" in refused.value.remedy) == ("erasure-ledger-missing", True)
    assert rebuild(path, KEY, [(7, 100), (8, 200)]) == 2
    check_count(Ledger(path, KEY), 2)


def test_where_the_ledger_cannot_be_written_nobody_is_erased(tmp_path: Path) -> None:
    """The transaction rolls back: an erasure that is on no ledger would be undone by the next backup."""
    person, _ = prepared(tmp_path)
    with opened(tmp_path) as hub:
        hub.ledger.path.mkdir()
        with pytest.raises(HubError) as refused:
            hub.erase(person)
        assert refused.value.code == "erasure-ledger-down"
        assert hub.rows("SELECT count(*) FROM person WHERE erased_us IS NOT NULL") == [(0,)]
        hub.ledger.path.rmdir()
        assert not hub.erase(person).already


# A restored backup.


def test_a_restored_older_backup_brings_nobody_back(tmp_path: Path) -> None:
    """Whom the ledger names is erased again before anything else runs, with its audit row, and told of in the log."""
    house, backup = tmp_path / "house", tmp_path / "backup"
    person, other = prepared(house)
    shutil.copytree(house, backup)
    with opened(house) as hub:
        hub.erase(person)
    for path in store_files(house):
        path.unlink()
    for path in store_files(backup):
        shutil.copy(path, house)
    said = io.StringIO()
    with opened(house) as hub:
        assert hub.open_keys.of([person])
        hub.open_keys.forget(person)
        assert erase_again(hub.eraser, open_log(clock=lambda: 0, stream=said)) == 1
        assert hub.open_keys.of([person]) == {}
        assert hub.rows("SELECT reason, erased_us FROM erasure") == [(RESTORED, NOW_US)]
        assert '"event":"erasure.repeated"' in said.getvalue()
        assert hub.open_keys.of([other])
        assert erase_again(hub.eraser, SILENT) == 0
        assert hub.drain()[0] == []
        assert faults(hub) == []


def test_a_starting_hub_reads_the_ledger_first(tmp_path: Path) -> None:
    """Without it, or with one that lacks lines, it does not start; with it, it does."""
    settings = Settings(mode="development", data_dir=tmp_path, synchronous="OFF")
    build(settings, log=SILENT).close()
    hub = build(settings, log=SILENT)
    hub.store.write(lambda tx: tx.insert("fact(name, value)", [("erasures", "1")]))
    hub.close()
    with pytest.raises(HubError) as refused:
        build(settings, log=SILENT)
    assert refused.value.code == "erasure-ledger-missing"
    ledger = Ledger(ledger_path(settings.key_path), hub.keys.erasure)
    ledger.append(7, 100)
    build(settings, log=SILENT).close()


# A crash.

KILLED = """
import sys
from pathlib import Path
from hub.failpoints import arm_from
from tests.protocol_world import Hub

hub = Hub(Path(sys.argv[1]), synchronous="FULL")
arm_from(sys.argv[2] + "=kill")
hub.erase(int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("where", "mark", "lines"),
    [("erase.begun", 0, 0), ("erase.recorded", 0, 1), ("erase.committed", 1, 1), ("erase.told", 1, 1)],
)
def test_an_erasure_that_was_killed_is_whole_or_not_begun(tmp_path: Path, where: str, mark: int, lines: int) -> None:
    """At each moment: what is on the ledger is done at the next start, and the recipients are told in any case."""
    person, _ = prepared(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), where, str(person)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with opened(tmp_path) as hub:
        assert hub.rows("SELECT count(*) FROM person WHERE erased_us IS NOT NULL") == [(mark,)]
        assert len(hub.ledger.erased) == lines
        again = erase_again(hub.eraser, SILENT)
        assert again == lines - mark
        done = hub.erase(person)
        assert done.already == bool(lines)
        with hub.store.read() as tx:
            assert erasures_known(tx) == 1
        assert done.told == {CONSENT.recipient: 1}
        assert [event["kind"] for event in hub.drain()[0]] == ["delete"]
        assert faults(hub) == []


def test_the_worker_goes_on_where_a_killed_erasure_stopped(tmp_path: Path) -> None:
    """Without the operator asking again: the recipients hear, and the log is cut."""
    from hub.exchange.erase_rest import finish_erasures

    person, _ = prepared(tmp_path)
    subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), "erase.committed", str(person)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
    )  # fmt: skip
    with opened(tmp_path) as hub:
        while finish_erasures(hub.world):
            pass
        assert [event["kind"] for event in hub.drain()[0]] == ["delete"]
        assert isinstance(hub, Hub)
