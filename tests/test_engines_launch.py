"""The engines' launcher: each engine answers, survives what a test does to it, and nothing else is ended."""

import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError

from deploy.engines import launch, up
from deploy.engines.process import STATE, STOP_S, Engine, EngineError, free_port, started_at
from tests import engines
from tests.engines import NOT_HERE, own


def write(engine: Engine, word: str) -> None:
    """Have the engine acknowledge a word; OPA keeps nothing and is only asked."""
    if engine.name == "postgresql":
        with psycopg.connect(engine.address) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS said (word text)")
            connection.execute("INSERT INTO said VALUES (%s)", (word,))
    elif engine.name == "kafka":
        with KafkaAdminClient(bootstrap_servers=engine.address, **launch.client(engine)) as admin:
            if "said" not in admin.list_topics():
                admin.create_topics([NewTopic("said", 1, 1)])
        producer = KafkaProducer(bootstrap_servers=engine.address, acks="all", **launch.client(engine))
        producer.send("said", word.encode(), partition=0).get(timeout=20)
        producer.close()
    else:
        httpx.put(f"{engine.address}/v1/data/{word}", json=word).raise_for_status()


def words(engine: Engine) -> list[str]:
    """Return every word that the engine has, in order."""
    if engine.name == "postgresql":
        with psycopg.connect(engine.address) as connection:
            return [word for (word,) in connection.execute("SELECT word FROM said ORDER BY word")]
    if engine.name == "kafka":
        consumer = KafkaConsumer(bootstrap_servers=engine.address, enable_auto_commit=False, **launch.client(engine))
        part = TopicPartition("said", 0)
        consumer.assign([part])
        consumer.seek_to_beginning(part)
        end, said = consumer.end_offsets([part])[part], list[str]()
        while consumer.position(part) < end:
            said += [record.value.decode() for records in consumer.poll(500).values() for record in records]
        consumer.close()
        return said
    return sorted(httpx.get(f"{engine.address}/v1/data").json()["result"])


STARTS: dict[str, Callable[[Path], Engine]] = {
    "postgresql": launch.postgres,
    "kafka": lambda directory: launch.kafka(directory, sasl=True, users=("gate",)),
    "opa": launch.opa,
}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Engine]]:
    """Start each engine once for the tests of this file; each leaves it running."""
    had = dict[str, Engine]()
    with ExitStack() as stack:

        def get(name: str) -> Engine:
            if name not in had:
                had[name] = stack.enter_context(own(STARTS[name], tmp_path_factory.mktemp("engines") / name))
            return had[name]

        yield get


Started = Callable[[str], Engine]


@pytest.mark.parametrize("name", STARTS)
def test_an_engine_keeps_what_it_acknowledged_through_a_kill(name: str, started: Started) -> None:
    """Same address, another process, the data still there. OPA's data live in memory: it comes back empty."""
    engine = started(name)
    first, word = engine.pid, secrets.token_hex(4)
    write(engine, word)
    assert word in words(engine)
    engine.kill()
    assert engine.pid == 0
    assert engine.start_again().pid not in (0, first)
    assert (word in words(engine)) == (name != "opa")


@pytest.mark.parametrize("name", STARTS)
def test_an_engine_starts_over_its_directory_as_it_was(name: str, started: Started) -> None:
    """After an orderly end; whoever starts it by its directory finds address, users and data."""
    engine, word = started(name), secrets.token_hex(4)
    write(engine, word)
    engine.stop()
    assert engine.pid == 0
    again = STARTS[name](engine.directory)
    assert (again.address, again.passwords) == (engine.address, engine.passwords)
    assert (word in words(again)) == (name != "opa")


@pytest.mark.parametrize("name", ["kafka", "opa"])
def test_a_paused_engine_is_silent_until_it_is_resumed(name: str, started: Started) -> None:
    """Who asks gets no answer, neither a refusal."""
    engine = started(name)
    engine.pause()
    with pytest.raises((httpx.ReadTimeout, KafkaTimeoutError)):
        engine.answers(engine)
    engine.resume()
    engine.answers(engine)


def test_a_pause_holds_sessions_that_are_open_and_a_resume_lets_them_answer(started: Started) -> None:
    """PostgreSQL's sessions are processes with groups of their own: none of them may go on meanwhile."""
    engine = started("postgresql")
    with psycopg.connect(engine.address, autocommit=True) as connection:
        engine.pause()
        connection.pgconn.send_query(b"SELECT 1")
        readable, _, _ = select.select([connection.pgconn.socket], [], [], 0.5)
        engine.resume()
        assert readable == []
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == b"1"
        assert connection.pgconn.get_result() is None


def test_a_paused_engine_can_be_stopped(tmp_path: Path) -> None:
    """A process that stands still takes no SIGTERM: it is woken for it."""
    with own(launch.opa, tmp_path / "opa") as engine:
        engine.pause()
        began_s = time.monotonic()
        engine.stop()
        assert engine.pid == 0
        assert time.monotonic() - began_s < STOP_S / 2


def test_who_signs_in_to_the_broker_may_nothing_until_it_is_granted(started: Started) -> None:
    """Another user's write is refused, a wrong password and no password do not get in."""
    engine = started("kafka")
    write(engine, "a")
    producer = KafkaProducer(bootstrap_servers=engine.address, max_block_ms=5_000, **launch.client(engine, "gate"))
    with pytest.raises(TopicAuthorizationFailedError):
        producer.send("said", b"b", partition=0).get(timeout=10)
    producer.close()
    wrong = launch.client(engine) | {"sasl_plain_password": "wrong"}
    for entry in (wrong, {}):
        with pytest.raises(KafkaError):
            KafkaAdminClient(bootstrap_servers=engine.address, bootstrap_timeout_ms=1_500, **entry)
    assert "b" not in words(engine)


def test_an_engine_over_a_directory_where_one_runs_is_refused(tmp_path: Path) -> None:
    """Two servers over the same data would ruin it."""
    with own(launch.opa, tmp_path / "opa") as engine:
        with pytest.raises(EngineError, match=rf"runs already over .* \(pid {engine.pid}\)"):
            launch.opa(tmp_path / "opa")
        with pytest.raises(EngineError, match="runs already"):
            engine.start_again()
        assert words(engine) == []


def test_a_port_in_use_is_said_with_its_number(tmp_path: Path) -> None:
    """For the port that is named, and for the one that a directory had before."""
    port = free_port()
    told = rf"Port {port} of 127\.0\.0\.1.* is in use by something else"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EngineError, match=told):
        launch.opa(tmp_path / "opa", port=port)
    with own(lambda directory: launch.opa(directory, port=port), tmp_path / "opa") as engine:
        assert engine.address == f"http://127.0.0.1:{port}"
        engine.kill()
        with socket.create_server(("127.0.0.1", port)), pytest.raises(EngineError, match=f"Port {port}"):
            engine.start_again()


def test_no_port_is_taken_that_the_system_gives_to_clients() -> None:
    """While an engine is down its own clients would take it: they ask again and again."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(free_port() for _ in range(200)) < lowest


MISSING = {
    "postgres": "PostgreSQL's server is missing. Install it: make install",
    "kafka": "java is missing. Install it: apt-get install openjdk-17-jre-headless maven",
    "kafka without jars": "Kafka's broker is missing. Install it: make .tools/kafka",
    "opa": "OPA is missing. Install it: make .tools/bin/opa",
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named_with_the_one_command_that_installs_it(name: str, tmp_path: Path) -> None:
    """In a checkout that has nothing, with a path that has nothing; the jars where there is Java."""
    with bare(tmp_path, java=name == "kafka without jars") as run:
        told = run(f"launch.{name.split()[0]}(Path('engine'))")
    assert told.splitlines()[-1] == f"deploy.engines.process.EngineError: {MISSING[name]}"


def test_an_old_java_counts_as_none(tmp_path: Path) -> None:
    """Kafka 4 needs Java 17."""
    with bare(tmp_path) as run:
        java = tmp_path / "bin" / "java"
        java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
        java.chmod(0o755)
        assert "Java 17 or newer is missing. Install it: apt-get" in run("launch.kafka(Path('engine'))")


@contextmanager
def bare(place: Path, *, java: bool = False) -> Iterator[Callable[[str], str]]:
    """Give what runs code in a copy of the launcher where nothing is installed, and returns what it complained of."""
    shutil.copytree(launch.ROOT / "deploy" / "engines", place / "deploy" / "engines")
    (place / "bin").mkdir()
    found = shutil.which("java") if java else None
    if java and not found:
        pytest.skip(f"{NOT_HERE}no Java on this machine")
    if found:
        (place / "bin" / "java").symlink_to(Path(found).resolve())
    # No pgserver: found where this Python looks, so it looks away; all else is imported as usual.
    blind = (
        "import sys, importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if 'pgserver' in n else f(n)"
    )
    begin = f"{blind}\nfrom pathlib import Path\nfrom deploy.engines import launch\n"

    def run(code: str) -> str:
        env = {"PATH": str(place / "bin"), "PYTHONPATH": str(place)}
        command = [sys.executable, "-c", begin + code]
        return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False).stderr

    yield run


def test_an_engine_that_ends_at_once_is_told_with_what_it_said(tmp_path: Path) -> None:
    """OPA with a policy that is none."""
    broken = tmp_path / "broken.rego"
    broken.write_text("package x\nthis is no rego")
    with pytest.raises(EngineError, match=r"opa on port \d+ ended by itself:(.|\n)*broken\.rego:2"):
        launch.opa(tmp_path / "opa", files=[broken])
    engine = launch.at(tmp_path / "opa")
    assert engine is not None
    assert engine.pid == 0


def test_down_ends_exactly_what_up_started(tmp_path: Path) -> None:
    """A second `up` starts nothing; a process that has got the pid of an ended engine is not touched."""
    place = tmp_path / "engines"
    with own(launch.opa, place / "opa") as mine, own(launch.opa, tmp_path / "another") as another:
        bystander = subprocess.Popen(["sleep", "60"])
        recycled = place / "kafka"
        recycled.mkdir()
        state = json.loads((place / "opa" / STATE).read_text())
        state["engine"]["name"] = "kafka"
        (recycled / STATE).write_text(json.dumps({**state, "pid": bystander.pid}))  # the start time is another's
        assert [engine.name for engine in up.down(place)] == ["opa"]
        assert mine.pid == 0
        assert another.pid != 0
        assert bystander.poll() is None
        (recycled / STATE).write_text(json.dumps({**state, "pid": bystander.pid, "started": started_at(bystander.pid)}))
        up.down(place)  # now it is that process
        assert bystander.wait(timeout=5) == -signal.SIGTERM
        assert up.down(place) == []


def test_all_three_come_up_once_and_print_what_a_hub_is_told(tmp_path: Path) -> None:
    """As `make engines` does it, twice, and down again; another process looks at them between."""
    place = tmp_path / "engines"

    def call(*flags: str) -> list[str]:
        command = [sys.executable, "-m", "deploy.engines.up", "--place", str(place), *flags]
        ran = subprocess.run(command, cwd=launch.ROOT, capture_output=True, text=True, check=False)
        if "Install it: " in ran.stderr and os.environ.get("ENGINES") != "required":
            pytest.skip(f"{NOT_HERE}{ran.stderr.strip()}")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.splitlines()

    for name in STARTS:
        engines.tell_guard("+", place / name)
    try:
        first, second = call(), call()
        told = dict(line.removeprefix("export ").split("=", 1) for line in first if line.startswith("export "))
        assert set(told) == {"HUB_STORE_DSN", "HUB_BUS", "HUB_KAFKA_BOOTSTRAP", "HUB_POLICY", "HUB_OPA_URL"}
        assert second[-5:] == first[-5:]
        assert [line.split(":")[0] for line in second[:3]] == ["postgresql runs", "kafka runs", "opa runs"]
        with psycopg.connect(told["HUB_STORE_DSN"]) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
        found = [launch.at(place / name) for name in STARTS]
        assert all(engine and engine.pid for engine in found)
    finally:
        ended = call("--down")
    assert len(ended) == 3
    assert not any(engine and engine.pid for engine in found)


def test_what_a_killed_run_left_is_ended_by_its_guard(tmp_path: Path) -> None:
    """A pytest worker that dies by SIGKILL leaves no server behind, of its own or the shared one; nor if its copy of
    this checkout is removed that moment, as `make mutants` does."""
    place = tmp_path / "place"
    code = (
        "import sys; from pathlib import Path; from tests import engines; from deploy.engines import launch\n"
        f"engines.PLACE = Path({str(place)!r}); launch.kafka = launch.opa\n"
        "print(engines.needs_opa().pid, engines.needs_kafka().pid, flush=True); sys.stdin.read()"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=launch.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    pids = [int(word) for word in worker.stdout.readline().split()]
    began = [started_at(pid) for pid in pids]
    assert all(began)
    assert len(set(pids)) == 2
    shutil.rmtree(place)
    worker.kill()
    worker.communicate()
    deadline_s = time.monotonic() + 15
    left = list(zip(pids, began, strict=True))
    while left and time.monotonic() < deadline_s:
        time.sleep(0.05)
        left = [(pid, moment) for pid, moment in left if started_at(pid) == moment]
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def test_the_shared_broker_outlives_all_but_its_last_user() -> None:
    """Two processes get the same one; it ends with the second."""
    code = (
        "import sys; from tests import engines; from deploy.engines import launch\n"
        "engines.PLACE = engines.PLACE / 'two'\n"  # not where this run's own broker is
        "launch.kafka = launch.opa\n"  # any engine will do, and this one starts at once
        "print(engines.needs_kafka().pid, flush=True); sys.stdin.read(); engines.end_all()"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code], cwd=launch.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    pids = [int(worker.stdout.readline()) for worker in workers if worker.stdout]
    assert len(set(pids)) == 1
    assert started_at(pids[0])
    workers[0].communicate()
    assert started_at(pids[0])
    workers[1].communicate()
    assert not started_at(pids[0])


def test_the_closing_line_says_what_ran_and_what_was_skipped() -> None:
    """In words and numbers; a set that is silently left out is a defect."""
    assert engines.summary({}, []) == "engines: embedded only; no test asked for a real one"
    said = engines.summary({"kafka": {"a", "b"}, "opa": {"a"}}, [f"Skipped: {NOT_HERE}java is missing."] * 3)
    real = "real: kafka (asked for by 2), opa (asked for by 1)"
    assert said == f"engines: embedded; {real} - SKIPPED 3 for want of one: java is missing."


@pytest.mark.parametrize(("required", "outcome"), [("required", "1 failed"), ("", "1 skipped")])
def test_a_missing_engine_skips_a_test_or_fails_it_where_engines_are_required(
    required: str, outcome: str, tmp_path: Path
) -> None:
    """ENGINES=required is what `make test ENGINES=required` sets; the reason is the launcher's own words."""
    test = tmp_path / "test_one.py"
    test.write_text("from tests.engines import needs_opa\ndef test_one():\n    needs_opa()\n")
    env = {**os.environ, "ENGINES": required, "OPA": "/nowhere", "PYTHONPATH": str(launch.ROOT)}
    settings = ["-c", str(launch.ROOT / "pyproject.toml"), "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *settings, str(test)]
    ran = subprocess.run(command, cwd=launch.ROOT, env=env, capture_output=True, text=True, check=False)
    assert outcome in ran.stdout
    assert "OPA is missing. Install it: make .tools/bin/opa" in ran.stdout
    assert ("SKIPPED 1 for want of one" in ran.stdout) == (required == "")
