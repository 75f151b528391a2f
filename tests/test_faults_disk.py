"""A disk that is full: what cannot be stored is refused, what was accepted stays, and room is all that is needed.

The disk is a small file system of the test's own in memory (tmpfs), which takes the right to mount one: without it
these tests are skipped, and say so.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest

from tests.fault_world import Load, place, solo
from tests.test_faults_engines import FORGOTTEN, flows

Told = Callable[[str, object], None]
pytestmark = FORGOTTEN
BALLAST = "ballast"
FULL_S = 30.0


@contextmanager
def small_disk(at: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of this size until the block ends."""
    at.mkdir(parents=True)
    ran = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(at)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        pytest.skip(f"no small file system can be mounted here: {ran.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def fill(disk: Path) -> None:
    """Take all the room there is."""
    with suppress(OSError), (disk / BALLAST).open("ab", buffering=0) as file:
        while True:
            file.write(bytes(65_536))
    with suppress(OSError), (disk / BALLAST).open("ab", buffering=0) as file:
        while True:
            file.write(bytes(512))


def full(disk: Path, load: Load, refused: Callable[[], bool], need: Callable[[], None] = lambda: None) -> None:
    """Keep the disk full until that shows. `need` has the engine ask for room, where it has some in hand."""
    end_s = monotonic() + FULL_S
    while not refused():
        assert monotonic() < end_s, load.broken
        fill(disk)
        need()
        sleep(0.05)


def test_sqlites_disk_is_full_and_gets_room_again(tmp_path: Path, record_property: Told) -> None:
    """Publishing and withdrawing answer 503; with room it goes on by itself within seconds."""
    with small_disk(tmp_path / "disk", 48) as disk, solo(disk / "hub") as exchange:
        with exchange.load() as load:
            flows(load)
            before = load.refused
            full(disk, load, lambda: load.refused > before + 5)
            sleep(1.0)
            (disk / BALLAST).unlink()
            recovered_s = exchange.recovered(load, monotonic())
            sleep(1.0)
        assert exchange.wrong(load) == []
    said = f"fault: SQLite's disk full; {len(load.published)} accepted, lost 0, recovered in {recovered_s:.1f} s"
    record_property("fault", said)
    assert recovered_s < 10.0


def test_postgres_disk_is_full_and_gets_room_again(tmp_path: Path, record_property: Told) -> None:
    """It refuses writes, or ends for want of room for its log; publishing goes on to Kafka meanwhile."""
    with small_disk(tmp_path / "disk", 200) as disk, place(tmp_path, postgres_at=disk / "pg") as exchange:

        def next_segment() -> None:
            """Have it go on in the next file of its log, of which it keeps some ahead."""
            with suppress(psycopg.Error), psycopg.connect(exchange.postgres.address, autocommit=True) as owner:
                owner.execute("SELECT pg_switch_wal()")

        with exchange.load() as load:
            flows(load)
            full(disk, load, lambda: not exchange.postgres.pid or bool(exchange.hub.gate.trouble()), next_segment)
            accepted = len(load.published)
            sleep(2.0)
            assert len(load.published) > accepted
            (disk / BALLAST).unlink()
            if not exchange.postgres.pid:
                exchange.postgres.start_again()
            recovered_s = exchange.recovered(load, monotonic())
            sleep(1.0)
        assert exchange.wrong(load) == []
    said = f"fault: PostgreSQL's disk full; {len(load.published)} accepted, lost 0, recovered in {recovered_s:.1f} s"
    record_property("fault", said)
    assert recovered_s < 10.0
