"""A hub that is started while its database is away: it says so at every door, and goes on by itself."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import psycopg
import pytest

from deploy.engines import launch
from deploy.engines.process import Engine, free_port
from hub.store.migrate import HEAD
from hub.store.refused import REASONS, UNKNOWN, refused
from tests.engines import needs_kafka, own, topic_prefix
from tests.proxy import Proxy
from tests.test_serve import Serving, command, environment, serving
from tests.world import until

READY_S = 30.0  # from the database's first answer to the hub's: a schema to make, a catalogue to approve


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    with own(lambda directory: launch.postgres(directory, fsync=False), tmp_path / "pg") as engine:
        yield engine


def detail(hub: Serving) -> str:
    return str(hub.status().json().get("detail", ""))


def ready_after(hub: Serving) -> float:
    """Wait until it is ready; return for how many seconds."""
    began_s = monotonic()
    while not is_ready(hub):
        assert monotonic() - began_s < READY_S
    return monotonic() - began_s


def is_ready(hub: Serving) -> bool:
    try:
        return hub.status().status_code == httpx.codes.OK
    except httpx.TransportError:  # a line that was taken in the moment in which the doors changed hands
        return False


def test_a_hub_starts_without_its_database_says_so_and_goes_on_when_it_is_there(
    database: Engine, tmp_path: Path
) -> None:
    """It lives, is not ready with the reason, sends all others away for a moment, and keeps its address."""
    database.kill()
    environ = environment(tmp_path / "hub", HUB_STORE_DSN=database.address)
    with serving(environ, tmp_path) as hub:
        assert httpx.get(hub.url + "/healthz").json() == {"status": "ok"}
        unready = hub.status()
        assert (unready.status_code, unready.headers["content-type"]) == (503, "application/problem+json")
        assert "the store does not answer: nobody listens at its address" in unready.json()["detail"]
        assert "HUB_STORE_DSN" in unready.json()["remedy"]
        refusal = httpx.post(hub.url + "/v1/events", json={})
        assert refusal.status_code == 503
        assert (refusal.json()["type"].rpartition("/")[2], refusal.headers["retry-after"]) == ("not-started", "2")
        told = command(environ, tmp_path, "status")
        assert (told.returncode, "has not started yet: the store does not answer" in told.stderr) == (1, True)
        looked = command(environ, tmp_path, "doctor")
        assert "FAIL  store        the store does not answer: nobody listens at its address" in looked.stdout
        for text in (unready.text, refusal.text, told.stderr):
            assert str(database.port) not in text
        database.start_again()
        recovered_s = ready_after(hub)
        assert command(environ, tmp_path, "status").returncode == 0
    print(f"fault: PostgreSQL away at the start, lost 0, ready {recovered_s:.1f} s after it was back")


def test_a_hub_that_waits_for_its_database_stops_when_it_is_told_to(tmp_path: Path) -> None:
    """At once, and well; its socket is gone."""
    environ = environment(tmp_path, HUB_STORE_DSN="postgresql://hub@127.0.0.1:1/hub")
    with serving(environ, tmp_path) as hub:
        assert hub.status().status_code == 503
        began_s = monotonic()
        hub.process.send_signal(signal.SIGTERM)
        assert hub.process.wait(timeout=20) == 0
        assert monotonic() - began_s < 5
    assert not (tmp_path / "admin.sock").exists()


def test_a_database_of_a_newer_hub_keeps_it_waiting_until_it_is_set_right(database: Engine, tmp_path: Path) -> None:
    """Nothing is released, and it is said why; whoever brings the schema back need not start the hub anew."""
    environ = environment(tmp_path / "hub", HUB_STORE_DSN=database.address)
    with serving(environ, tmp_path) as first:
        ready_after(first)
    schema(database, "9999")
    with serving(environ, tmp_path) as hub:
        assert "the store was written by a newer hub (schema 9999" in detail(hub)
        assert "newer hub" in command(environ, tmp_path, "status").stderr
        schema(database, HEAD)
        ready_after(hub)


def schema(database: Engine, revision: str) -> None:
    with psycopg.connect(database.address, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))
        connection.execute(f"COMMENT ON TABLE alembic_version IS 'serves {revision}'".encode())  # no roll-out is open


def test_a_wrong_name_of_the_database_is_told_from_one_that_is_away(database: Engine, tmp_path: Path) -> None:
    """It answers, and has no such database; made, it is used."""
    environ = environment(tmp_path / "hub", HUB_STORE_DSN=f"{database.address}2")
    with serving(environ, tmp_path) as hub:
        assert "it has no such database" in detail(hub)
        with psycopg.connect(database.address, autocommit=True) as connection:
            connection.execute("CREATE DATABASE hub2 TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        ready_after(hub)


def test_what_no_waiting_mends_still_refuses_the_start(tmp_path: Path) -> None:
    """A key file that is none."""
    (tmp_path / "hub.key").write_text("none\n")
    (tmp_path / "hub.key").chmod(0o600)
    refusal = command(environment(tmp_path, HUB_STORE_DSN="postgresql://hub@127.0.0.1:1/hub"), tmp_path, "serve")
    assert (refusal.returncode, "key" in refusal.stderr) == (1, True)


SAID = [
    ('FATAL:  password authentication failed for user "canary"', "it refuses the hub's password"),
    ("fe_sendauth: no password supplied", "it refuses the hub's password"),
    ('FATAL:  role "canary" does not exist', "it does not know the hub's user, or does not let it in"),
    ('FATAL:  permission denied for database "canary"', "it does not know the hub's user, or does not let it in"),
    ('FATAL:  no pg_hba.conf entry for host "10.9.8.7", user "canary"', "it lets this machine or user in by no rule"),
    ('FATAL:  database "canary" does not exist', "it has no such database"),
    ("FATAL:  the database system is starting up", "it is starting or stopping"),
    ("FATAL:  sorry, too many clients already", "it has no connection left"),
    ('server certificate for "canary" does not match host name', "TLS with it fails"),
    ("failed to resolve host 'canary': [Errno -2] Name or service not known", "the name of its host is not known"),
    ('connection to server at "10.9.8.7", port 1 failed: Connection refused', "nobody listens at its address"),
    ("connection timeout expired", "nothing comes back from its address"),
    ('connection is bad: invalid sslmode value: "canary"', "its DSN cannot be read"),
    ("server closed the connection unexpectedly", UNKNOWN[0]),
]


@pytest.mark.parametrize(("text", "why"), SAID)
def test_why_a_database_lets_nobody_in_is_said_in_words_of_ours(text: str, why: str) -> None:
    """With what to do; nothing of the library's text is left, for that names host, user and database."""
    error = refused(psycopg.OperationalError(text))
    assert error.what == f"the store does not answer: {why}; nothing was changed"
    assert error.remedy
    assert not [word for word in ("canary", "10.9.8.7") if word in error.what + error.remedy]


def test_every_reason_has_an_example() -> None:
    assert {why for _, why in SAID} == {why for _, why, _ in REASONS} | {UNKNOWN[0]}


def test_a_hub_starts_without_its_brokers_says_so_and_goes_on_when_they_are_there(
    database: Engine, tmp_path: Path
) -> None:
    """It is not ready, with the reason, and publishing is told to come again; then the topics are made, and it is."""
    broker, port = needs_kafka(), free_port()
    environ = environment(
        tmp_path / "hub", HUB_STORE_DSN=database.address, HUB_BUS="kafka", HUB_KAFKA_SECURITY="PLAINTEXT",
        HUB_KAFKA_BOOTSTRAP=f"127.0.0.1:{port}", HUB_KAFKA_TOPIC_PREFIX=topic_prefix(), HUB_KAFKA_PARTITIONS="1",
        HUB_KAFKA_REPLICATION="1", HUB_KAFKA_MIN_INSYNC="1",
    )  # fmt: skip
    with serving(environ, tmp_path) as hub:
        assert httpx.get(hub.url + "/healthz").json() == {"status": "ok"}
        unready = until(hub.status, lambda answer: '"where":"bus"' in answer.text)
        assert unready.status_code == 503
        told = [item for item in unready.json()["items"] if item["where"] == "bus"]
        assert all("`hub doctor` names" in item["remedy"] or "See the cluster" in item["remedy"] for item in told)
        said = until(lambda: command(environ, tmp_path, "status").stdout, lambda said: "Releases paused" in said)
        assert "Nothing released or lost" in said
        proxy = Proxy(broker.port, port=port)
        try:
            plan = json.loads(command(environ, tmp_path, "topics", "plan", "--json").stdout)
            applied = command(environ, tmp_path, "topics", "apply", "--expect", plan["digest"])
            assert applied.returncode == 0, applied.stderr
            recovered_s = ready_after(hub)
        finally:
            proxy.close()
    print(f"fault: brokers away at the start, lost 0, ready {recovered_s:.1f} s after their topics were there")
