"""The processes that nobody calls, killed under load and started again: the file drop's and retention's.

Gate, hand-out, webhooks and web are killed in `test_several_processes.py`. Processes, PostgreSQL and Kafka are real.
"""

import signal
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep

import psycopg

from hub.core.leaf import LeafKind
from tests import stores
from tests.file_world import batches, left_over, lines, manifest
from tests.parts_world import House, house, longer, status_of
from tests.test_files_worker import put
from tests.test_several_processes import PULLER, Publishing
from tests.world import birth

FILES = {"HUB_FILE_EVERY_S": "0"}
KILLS = 3
PIECES, PIECE = 5, 200  # of what retention ends in one transaction
WAITING = PIECES * PIECE


def rows(directory: Path, sql: str) -> list[tuple[int, ...]]:
    """Ask the database as its owner, or change something there."""
    with psycopg.connect(stores.owner_dsn_of(directory / "hub.sqlite"), autocommit=True) as owner:
        found = owner.execute(sql.encode())
        return found.fetchall() if found.description else []


class Agency:
    """What an agency sees of its folder, read again and again: numbers and ids, and that what it may see is whole."""

    def __init__(self, folder: Path) -> None:
        self.out, self.ack = folder / "out", folder / "ack"
        self.numbers: dict[int, set[str]] = {}
        self._seen: set[str] = set()

    def look(self) -> int:
        """Read what is new; returns how many different deliveries there were until now."""
        for batch in set(batches(self.out)) - self._seen:
            for file in manifest(self.out, batch)["files"]:
                body = (self.out / file["name"]).read_bytes()
                assert (len(body), sha256(body).hexdigest()) == (file["bytes"], file["sha256"])
            for line in lines(self.out, batch):
                self.numbers.setdefault(line["number"], set()).add(line["id"])
            self._seen.add(batch)
        return len(self.numbers)

    def acknowledge(self) -> None:
        for batch in batches(self.out):
            (self.ack / f"{batch}.ack").write_text("all\n")


def with_files(place: House, drop: Path, *agencies: str) -> None:
    (running,) = place.run("files")
    for agency in agencies:
        done = running.command("files", "on", agency, "--format", "ndjson")
        assert done.returncode == 0, done.stderr
    longer(lambda: all((drop / one / "in").is_dir() for one in agencies), bool)


def test_a_files_process_killed_under_load_loses_nothing_and_shows_no_half_file(tmp_path: Path) -> None:
    """Killed while it writes files and takes some in: every event reaches the recipient's folder, under one number."""
    drop = tmp_path / "drop"
    drop.mkdir(mode=0o750)
    with house(tmp_path, HUB_FILE_DROP_DIR=str(drop), **FILES) as place:
        place.run("web,handout", "gate", "retention")
        place.families(3)
        with_files(place, drop, PULLER, "civil-registry")
        agency, incoming = Agency(drop / PULLER), drop / "civil-registry" / "in"
        publishing = Publishing(place, 3)
        put_in = 0
        for kill in range(KILLS):
            before = agency.look()
            longer(agency.look, lambda got, before=before: got > before)
            events = [birth(f"file-{kill}-{at}", child=f"C-{at % 3}") for at in range(50)]
            put(incoming, f"births-{kill}", events)
            put_in += len(events)
            sleep(0.15 * kill)
            place.processes[-1].kill()
            agency.look()
            began_s = monotonic()
            before = len(agency.numbers)
            place.run("files")
            longer(agency.look, lambda got, before=before: got > before)
            print(f"files: killed, and the next file was there after {monotonic() - began_s:.1f} s")
        sent = publishing.stop() + put_in
        place.decided(publishing.tokens)
        assert longer(agency.look, lambda got: got >= sent, 80) == sent
        receipts = longer(lambda: sorted((incoming / "done").glob("*.receipt.json")), lambda some: len(some) >= KILLS)
        assert len(receipts) == KILLS
        assert left_over(incoming) == []
        assert [ids for ids in agency.numbers.values() if len(ids) != 1] == []
        assert len({next(iter(ids)) for ids in agency.numbers.values()}) == sent
        assert sorted(agency.numbers) == list(range(1, sent + 1))
        agency.acknowledge()
        open_ones = "SELECT count(*) FROM handout WHERE acked_us IS NULL"
        assert longer(lambda: rows(tmp_path, open_ones), lambda some: some == [(0,)]) == [(0,)]
        whole = set(batches(agency.out))
        assert [name for name in left_over(agency.out) if name.split(".")[0] not in whole] == []


def test_a_retention_process_killed_in_its_transactions_goes_on_where_it_was(tmp_path: Path) -> None:
    """What is over is ended once each, and told once, while others publish and pull; afterwards all is well."""
    with house(tmp_path) as place:
        place.run("web,handout", "gate")
        place.families(3)
        strangers = [birth(f"w-{number}", child=f"W-{number}") for number in range(WAITING)]
        assert place.agency("civil-registry").publish(strangers).refused == ()
        counted = "SELECT count(*) FROM waiting"
        assert longer(lambda: rows(tmp_path, counted), lambda got: got == [(WAITING,)], 60) == [(WAITING,)]
        rows(tmp_path, "UPDATE waiting SET until_us = 1")
        publishing = Publishing(place, 3)
        left = [WAITING]
        for commit in (6, 7, 9):
            assert place.dying("retention", f"store.before_commit=kill:{commit}") == -signal.SIGKILL
            left.append(rows(tmp_path, counted)[0][0])
        print(f"retention: killed three times; so many were left each time: {left}")
        assert left == sorted(left, reverse=True)
        assert {one % PIECE for one in left} == {0}, "a piece was ended by half"
        assert set(left) - {0, WAITING}, "it was never killed between two pieces"
        (last,) = place.run("retention")
        assert longer(lambda: rows(tmp_path, counted), lambda got: got == [(0,)]) == [(0,)]
        assert rows(tmp_path, "SELECT count(*), count(DISTINCT event) FROM event_unheard") == [(WAITING, WAITING)]
        entries = f"SELECT sum(length(detail)) / 24, count(DISTINCT id) FROM audit WHERE kind = {LeafKind.EXPIRY.value}"
        assert rows(tmp_path, entries) == [(WAITING, PIECES)]
        sent = publishing.stop()
        place.decided(publishing.tokens)
        assert len(place.pulled(PULLER, sent, within_s=60)) == sent
        told = [one for one in place.pulled("civil-registry", PIECES) if one.kind == "notice"]
        assert len(told) == PIECES
        assert longer(last.troubles, lambda said: not said) == []
        assert [one["parts"] for one in status_of(last)["processes"] if one["parts"] == ["retention"]] != []
