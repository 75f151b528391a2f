"""A hub that is killed while it writes files loses nothing, doubles nothing, and shows no half batch."""

import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from hub.exchange.intake import event_hash
from tests.file_world import batches, left_over, lines, manifest
from tests.files_kill_runner import start
from tests.protocol_world import CONSENT, ROOT
from tests.stores import for_child

pytestmark = pytest.mark.engines

POINTS = ("files.written", "files.manifest", "files.done", "handout.committed", "store.before_commit")


def kill(directory: Path, run: int, failpoint: str) -> set[str]:
    """Run until the failpoint kills it; returns the events that it had made durable."""
    command = [sys.executable, str(ROOT / "tests" / "files_kill_runner.py"), str(directory), str(run), failpoint]
    env = {"PYTHONPATH": str(ROOT), **for_child(directory / "hub" / "hub.sqlite")}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    return {line.split()[1] for line in ran.stdout.splitlines()}


def look(out: Path, into: dict[int, set[str]]) -> None:
    """Read what an agency can see: every batch with a marker is whole, and note which ids its numbers stand for."""
    for batch in batches(out):
        told = manifest(out, batch)
        assert told["recipient"] == CONSENT.recipient
        for file in told["files"]:
            body = (out / file["name"]).read_bytes()
            assert (len(body), sha256(body).hexdigest()) == (file["bytes"], file["sha256"])
        for line in lines(out, batch):
            into.setdefault(line["number"], set()).add(line["id"])


def test_a_hub_killed_at_any_step_of_a_batch_keeps_its_promises(tmp_path: Path) -> None:
    """Killed once at each step, in its first and in its second batch, and restarted on what was left."""
    published: set[str] = set()
    seen: dict[int, set[str]] = {}
    run = 0
    for point in POINTS:
        for count in (1, 2):
            published |= kill(tmp_path, run, f"{point}=kill:{count}")
            look(tmp_path / "drop" / CONSENT.recipient / "out", seen)
            run += 1
    files = start(tmp_path, run)
    strays = [name for name in left_over(files.out) if not name.startswith(tuple(files.batches() or ["-"]))]
    assert strays == [], "the restart left something of a batch that nobody can see"
    hub = files.hub
    hub.decide()
    while files.write().batch:
        look(files.out, seen)
    for batch in files.batches():
        (files.ack / f"{batch}.ack").write_text("all\n")
    files.acknowledged()
    source = f"urn:agency:{CONSENT.publisher}"
    decided = {bytes(event) for (event,) in hub.rows("SELECT event FROM event_seen")}
    assert [one for one in published if event_hash(hub.keys, CONSENT.publisher, source, one) not in decided] == []
    assert all(len(ids) == 1 for ids in seen.values()), "a number stands for two deliveries"
    ids = [next(iter(ids)) for ids in seen.values()]
    assert len(ids) == len(set(ids)), "a delivery came under two numbers"
    handed = hub.rows("SELECT number, acked_us IS NOT NULL FROM handout")
    assert {number for number, _ in handed} == set(seen)
    assert [number for number, acked in handed if not acked] == []
    assert len(seen) == len(decided)
    hub.close()
