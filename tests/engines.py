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
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.engines import launch
from deploy.engines.process import Engine, EngineError, started_at

PLACE = launch.ROOT / "var" / "test-engines"  # where all workers of all runs of this checkout find the shared broker
NOT_HERE = "no real engine: "  # how the reason of such a skip begins


@dataclass
class Had:
    """What this process has of engines, and which tests asked for which."""

    engines: dict[str, Engine] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)
    guard: "subprocess.Popen[str] | None" = None


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
    engine = _asked(lambda: _guarded(start, directory))
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
        missing(str(error))
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    HAD.asked.setdefault(engine.name, set()).add(test)
    return engine


def missing(said: str) -> NoReturn:
    """Skip the test that runs, or fail it, for want of an engine."""
    if os.environ.get("ENGINES") == "required":
        pytest.fail(f"{said} (ENGINES=required)", pytrace=False)
    pytest.skip(f"{NOT_HERE}{said}")


# -- one per worker


def _for_the_session(name: str, start: Callable[[Path], Engine]) -> Engine:
    known = HAD.engines.get(name)
    if not known or not known.pid:
        HAD.engines[name] = known = _guarded(start, Path(tempfile.mkdtemp(prefix=f"hub-{name}-")))
    return known


def _guarded(start: Callable[[Path], Engine], directory: Path) -> Engine:
    tell_guard("+", directory)
    try:
        return start(directory)
    except EngineError:
        shutil.rmtree(directory, ignore_errors=True)  # nothing runs there
        tell_guard("-", directory)
        raise


def _end(engine: Engine) -> None:
    _end_at(engine.directory)
    tell_guard("-", engine.directory)


def _end_at(directory: Path) -> None:
    if engine := launch.at(directory):
        engine.stop()  # not killed: PostgreSQL takes its shared memory with it
    shutil.rmtree(directory, ignore_errors=True)


# -- one broker for all


def _shared_broker() -> Engine:
    """Take part in the shared broker; the first one starts it, over an empty directory."""
    known = HAD.engines.get("kafka")
    if known and known.pid:
        return known
    PLACE.mkdir(parents=True, exist_ok=True)
    named = PLACE / "broker"
    with _alone(PLACE):
        running = launch.at(Path(named.read_text())) if named.exists() else None
        if not (running and running.pid and _users(PLACE)):  # none, left over, or dead: nobody knows what became of it
            if running:
                _end_at(running.directory)
            fresh = Path(tempfile.mkdtemp(prefix="hub-kafka-"))
            named.write_text(str(fresh))
            tell_guard("*", fresh)
            running = launch.kafka(fresh)
        tell_guard("*", running.directory)
        me = {"pid": os.getpid(), "started": started_at(os.getpid())}
        (PLACE / f"user.{os.getpid()}").write_text(json.dumps(me))
    HAD.engines["kafka"] = running
    return running


def _users(place: Path) -> list[Path]:
    """Return the notes of those that use the broker; those of the dead are removed."""
    for path in place.glob("user.*"):
        note = json.loads(path.read_text())
        if started_at(note["pid"]) != note["started"]:
            path.unlink()
    return list(place.glob("user.*"))


def _leave(pid: int, broker: Path, place: Path) -> None:
    """Take process `pid` out of the users of the broker that `place` names; the last one ends it."""
    try:
        with _alone(place):
            (place / f"user.{pid}").unlink(missing_ok=True)
            if not _users(place):
                _end_at(broker)
                (place / "broker").unlink(missing_ok=True)
    except FileNotFoundError:  # the whole checkout has been removed, as copies of it are: so nobody else can use it
        _end_at(broker)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_all() -> None:
    """End what this process had; the shared broker only where nobody else uses it."""
    broker = HAD.engines.pop("kafka", None)
    for engine in HAD.engines.values():
        _end(engine)
    HAD.engines.clear()
    if broker:
        _leave(os.getpid(), broker.directory, PLACE)
    if HAD.guard and HAD.guard.stdin:
        HAD.guard.kill()  # by now there is nothing left for it to do
        HAD.guard.wait()
        HAD.guard.stdin.close()
        HAD.guard = None


# -- what is ended although nobody ends it


def tell_guard(what: str, directory: Path) -> None:
    """Have an engine over `directory` ended when this process has, however it ends: + ours, - no more, * the broker."""
    if HAD.guard is None:
        command = [sys.executable, "-m", "tests.engines", str(os.getpid()), started_at(os.getpid()), str(PLACE)]
        HAD.guard = subprocess.Popen(
            command, cwd=launch.ROOT, stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
        )
    assert HAD.guard.stdin is not None
    HAD.guard.stdin.write(f"{what}{directory.resolve()}\n")


def guard(pid: int, started: str, place: Path) -> None:
    """Take in what process `pid` has, until it ends, which closes the other end of our input; then end that."""
    ours, broker = set[Path](), None
    for line in sys.stdin:
        directory = Path(line[1:].rstrip("\n"))
        if line[0] == "*":
            broker = directory
        elif line[0] == "+":
            ours.add(directory)
        else:
            ours.discard(directory)
    deadline_s = time.monotonic() + 10.0  # its memory is given back first
    while started_at(pid) == started and time.monotonic() < deadline_s:
        time.sleep(0.05)
    for directory in ours:
        _end_at(directory)
    if broker:
        _leave(pid, broker, place)


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
    guard(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
