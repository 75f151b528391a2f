"""Real engines for tests: `needs_kafka()` and its like return one that runs, shared by whoever asks in this run.

Each pytest-xdist worker has its own PostgreSQL and OPA, which start within a second. The Kafka broker takes several, so
all workers share one: whoever needs it first starts it, whoever leaves last ends it. Tests that kill, pause or fill an
engine take one of their own (`own`). A guard beside each worker ends what that worker leaves behind, however it ends.

Where an engine is not installed the test is skipped with the reason; with ENGINES=required in the environment it fails.
"""

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.engines import launch
from deploy.engines.process import Engine, EngineError, started_at

PLACE = launch.ROOT / "var" / "test-engines"  # all workers of all runs of this checkout know it
NOTES, BROKER, USERS = PLACE / "notes", PLACE / "kafka", PLACE / "kafka.users"
NOT_HERE = "no real engine: "  # how the reason of such a skip begins


@dataclass
class Had:
    """What this process has of engines, and which tests asked for which."""

    engines: dict[str, Engine] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)
    guard: "subprocess.Popen[bytes] | None" = None


HAD = Had()  # one per process: fixtures, plain functions and the hooks of conftest.py have no other place in common


def needs_postgres() -> Engine:
    """Return this worker's PostgreSQL; `address` is the DSN of its empty database `hub`. Its disk is not waited for."""
    return _asked(lambda: _for_the_session("postgresql", lambda directory: launch.postgres(directory, fsync=False)))


def needs_opa() -> Engine:
    """Return this worker's OPA server, with nothing loaded."""
    return _asked(lambda: _for_the_session("opa", launch.opa))


def needs_kafka() -> Engine:
    """Return the broker that all workers share. Name topics and groups by `topic_prefix()`; nobody removes them."""
    return _asked(_shared_broker)


def topic_prefix() -> str:
    """Return what no other test's topics and groups begin with."""
    return f"t{secrets.token_hex(5)}."


@contextmanager
def own(start: Callable[[Path], Engine], directory: Path) -> Iterator[Engine]:
    """Start an engine for one test, which may do to it what it likes; it is ended afterwards and its data removed.

    `own(launch.kafka, tmp_path / "kafka")`, or with a lambda where it is to be another one than usual.
    """
    engine = _asked(lambda: _noted(start, directory))
    try:
        yield engine
    finally:
        _end(engine)


def _asked(start: Callable[[], Engine]) -> Engine:
    """Start and count, by the test that runs now, as pytest names it in the environment; or skip, or fail."""
    try:
        engine = start()
    except EngineError as error:
        if not error.missing:
            raise
        if os.environ.get("ENGINES") == "required":
            pytest.fail(f"{error} (ENGINES=required)", pytrace=False)
        pytest.skip(f"{NOT_HERE}{error}")
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    HAD.asked.setdefault(engine.name, set()).add(test)
    return engine


# -- one per worker


def _for_the_session(name: str, start: Callable[[Path], Engine]) -> Engine:
    known = HAD.engines.get(name)
    if not known or not known.pid:
        HAD.engines[name] = known = _noted(start, PLACE / f"{name}-{os.getpid()}-{secrets.token_hex(3)}")
    return known


def _noted(start: Callable[[Path], Engine], directory: Path) -> Engine:
    """Start an engine after noting whose it is."""
    guarded()
    (NOTES / secrets.token_hex(8)).write_text(json.dumps({**_me(), "directory": str(directory.resolve())}))
    return start(directory)


def _end(engine: Engine) -> None:
    engine.stop()  # not killed: PostgreSQL takes its shared memory with it
    shutil.rmtree(engine.directory, ignore_errors=True)
    for path, note in _notes(NOTES):
        if note["directory"] == str(engine.directory):
            path.unlink(missing_ok=True)


# -- one broker for all


def _shared_broker() -> Engine:
    """Take part in the shared broker; the first one starts it, over an empty directory."""
    known = HAD.engines.get("kafka")
    if known and known.pid:
        return known
    guarded()
    with _alone():
        others = [note for _, note in _notes(USERS) if _lives(note)]
        running = launch.at(BROKER)
        if running and not (others and running.pid):  # left over, or it died: nobody knows what became of it
            running.stop()
            running = None
        if running is None:
            shutil.rmtree(BROKER, ignore_errors=True)
            running = launch.kafka(BROKER)
        (USERS / str(os.getpid())).write_text(json.dumps(_me()))
    HAD.engines["kafka"] = running
    return running


def end_all() -> None:
    """End what this process had; the shared broker only where nobody else uses it."""
    for name, engine in HAD.engines.items():
        if name != "kafka":
            _end(engine)
    HAD.engines.clear()
    if HAD.guard:
        (USERS / str(os.getpid())).unlink(missing_ok=True)
        sweep()
        assert HAD.guard.stdin is not None
        HAD.guard.kill()
        HAD.guard.wait()
        HAD.guard.stdin.close()
        HAD.guard = None


# -- what is ended although nobody ends it


def guarded() -> None:
    """Start a process that sweeps when this one has ended, however it ended. Once."""
    for directory in (NOTES, USERS):
        directory.mkdir(parents=True, exist_ok=True)
    if HAD.guard is None:
        command = [sys.executable, "-m", "tests.engines", str(os.getpid())]
        HAD.guard = subprocess.Popen(command, cwd=launch.ROOT, stdin=subprocess.PIPE, start_new_session=True)


def guard(pid: int) -> None:
    """Wait until process `pid` has ended, which closes the other end of our input; then sweep."""
    sys.stdin.buffer.read()
    deadline_s = time.monotonic() + 10.0  # its memory is given back first
    while started_at(pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    sweep()


def sweep() -> None:
    """End what processes that are gone have left running, with its data; the shared broker when nobody uses it."""
    with _alone():
        for path, note in _notes(NOTES):
            if not _lives(note):
                if left := launch.at(Path(note["directory"])):
                    left.stop()
                shutil.rmtree(note["directory"], ignore_errors=True)
                path.unlink(missing_ok=True)
        for path, note in _notes(USERS):
            if not _lives(note):
                path.unlink(missing_ok=True)
        if not any(USERS.iterdir()) and (broker := launch.at(BROKER)):
            broker.stop()
            shutil.rmtree(BROKER, ignore_errors=True)


@contextmanager
def _alone() -> Iterator[None]:
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _notes(directory: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    for path in list(directory.iterdir()):
        try:
            yield path, json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            pass  # somebody removes or writes it this moment: it is theirs


def _me() -> dict[str, str]:
    return {"pid": str(os.getpid()), "started": started_at(os.getpid())}


def _lives(note: dict[str, str]) -> bool:
    return started_at(int(note["pid"])) == note["started"]


# -- what conftest.py tells


def summary(asked: dict[str, set[str]], skipped: list[str]) -> str:
    """Say in one line which engines ran, for how many tests or fixtures, and what was skipped for want of one."""
    ran = ", ".join(f"{name} (asked for by {len(tests)})" for name, tests in sorted(asked.items()))
    line = f"engines: embedded; real: {ran}" if ran else "engines: embedded only; no test asked for a real one"
    if skipped:
        reasons = "; ".join(sorted({reason.partition(NOT_HERE)[2] for reason in skipped}))
        line += f" - SKIPPED {len(skipped)} for want of one: {reasons}"
    return line


if __name__ == "__main__":
    guard(int(sys.argv[1]))
