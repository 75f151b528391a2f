"""A store that fails while somebody reads: an engine that is down, said in words, and nothing else."""

import io
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from hub.app import Hub, build
from hub.bus.embedded import EmbeddedBus
from hub.clock import system_clock
from hub.core.errors import HubError, Kind
from hub.identity.people import NewLink, link
from hub.logs import open_log
from hub.ports import Record
from hub.settings import Settings
from hub.store.engine import Store
from hub.store.migrate import ensure
from hub.store.sqlite import SqliteStore
from hub.web.apps import public_app
from tests.doors import client_of
from tests.world import birth


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    running = SqliteStore(tmp_path / "hub.sqlite", synchronous="OFF")
    ensure(tmp_path / "hub.sqlite")
    yield running
    running.close()


def lose_the_log(store: Store) -> bytes:
    """Cut SQLite's write-ahead log, as a failing disk would: whoever reads next meets an I/O error. Returns the log."""
    store.write(lambda tx: tx.run("INSERT OR REPLACE INTO fact(name, value) VALUES ('x', '1')"))
    store.write(lambda tx: tx.rows("PRAGMA shrink_memory"))  # the writer forgets its pages; readers have to by now
    assert store.path is not None
    path = store.path.with_name(store.path.name + "-wal")
    log = path.read_bytes()
    os.truncate(path, 0)
    return log


def bring_back(store: SqliteStore, log: bytes) -> None:
    """Let the disk hold again what it held."""
    store.path.with_name(store.path.name + "-wal").write_bytes(log)


def read(store: SqliteStore) -> None:
    with store.read() as tx:
        tx.rows("SELECT * FROM fact")


def test_a_reader_whose_disk_fails_is_told_that_the_store_is_down(store: SqliteStore) -> None:
    """With SQLite's own error as the cause; the next reader opens the file anew."""
    read(store)
    lose_the_log(store)
    with pytest.raises(HubError) as refused:
        read(store)
    assert (refused.value.kind, refused.value.code) == (Kind.UNAVAILABLE, "store-unavailable")
    assert isinstance(refused.value.__cause__, sqlite3.Error)


def test_a_store_that_is_gone_is_down_and_no_empty_one_takes_its_place(store: SqliteStore) -> None:
    """A reader that opens the file finds none, and makes none."""
    store.path.unlink()
    with pytest.raises(HubError) as refused:
        read(store)
    assert refused.value.code == "store-unavailable"
    assert not store.path.exists()


def test_a_file_that_was_moved_away_is_noticed_while_old_readers_still_read_it(store: SqliteStore) -> None:
    """What is written then would be lost with the process."""
    read(store)
    assert store.trouble() == ""
    store.path.rename(store.path.with_name("elsewhere"))
    assert store.trouble() == "the store's file is gone"
    store.path.touch()
    assert store.trouble() == "another file stands where the store's was"


def test_a_defect_in_a_question_is_not_taken_for_a_failing_disk(store: SqliteStore) -> None:
    """It stays what it is, so that the log says so; the reader is good for the next all the same."""
    with pytest.raises(sqlite3.OperationalError, match="nowhere"), store.read() as tx:
        tx.rows("SELECT 1 FROM nowhere")
    read(store)


def test_what_was_polled_while_the_store_failed_is_polled_again_when_it_is_back(store: SqliteStore) -> None:
    """Going back to the stored positions needs the store; it is done when it can be, and not forgotten."""
    bus = EmbeddedBus(store)
    bus.publish([Record("in.a.x", bytes(16), b"sealed")])
    assert len(bus.poll(10, 1.0).records) == 1
    log = lose_the_log(store)
    bus.rewind()
    with pytest.raises(HubError):
        bus.poll(10, 0.0)
    bring_back(store, log)
    assert [one.record.value for one in bus.poll(10, 1.0).records] == [b"sealed"]


@dataclass
class House:
    """A hub with one event and one citizen signed in; its threads do not run, so that no page is read in between."""

    hub: Hub
    said: io.StringIO
    token: str
    cookie: str

    def get(self, path: str, agency: str = "civil-registry") -> httpx.Response:
        bearer = self.hub.agency_tokens.issue(agency, "").token
        headers = {"authorization": f"Bearer {bearer}", "cookie": self.cookie}
        return client_of(public_app(self.hub)).get(path.replace("{token}", self.token), headers=headers)


@contextmanager
def opened(directory: Path) -> Iterator[House]:
    said = io.StringIO()
    log = open_log(clock=system_clock, stream=said)
    hub = build(Settings(mode="demo", data_dir=directory, synchronous="OFF"), log=log)
    try:
        link(hub.register, "population-register", [NewLink("civil-registry", "C-1", "R-1", 2)])
        client = client_of(public_app(hub))
        headers = {
            "authorization": f"Bearer {hub.agency_tokens.issue('civil-registry', '').token}",
            "content-type": "application/cloudevents+json",
        }
        accepted = client.post("/v1/events", json=birth(), headers=headers).json()
        signed_in = client.post("/dev/sign-in", json={"person": "population-register:R-1"})
        cookie = signed_in.headers["set-cookie"].partition(";")[0]
        yield House(hub, said, accepted["items"][0]["token"], cookie)
    finally:
        hub.close()


PATHS = [
    ("/v1/me/consents", ""),
    ("/v1/me/history", ""),
    ("/v1/me/inbox", ""),
    ("/v1/events/{token}", "civil-registry"),
    ("/v1/deliveries", "lindum"),
    ("/v1/agency", "lindum"),
    ("/metrics", ""),
]


@pytest.mark.parametrize(("path", "agency"), PATHS, ids=[path for path, _ in PATHS])
def test_whoever_asks_meanwhile_is_told_to_come_back(tmp_path: Path, path: str, agency: str) -> None:
    """503 as a problem with Retry-After; no trace of SQLite, file or person; nothing unforeseen logged."""
    with opened(tmp_path) as house:
        assert house.get(path, agency or "tax").status_code == 200
        lose_the_log(house.hub.store)
        answer = house.get(path, agency or "tax")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), answer.text
        assert answer.json()["type"].rpartition("/")[2] == "store-unavailable"
        assert answer.json()["remedy"]
        assert answer.headers["retry-after"] == "2"
        for secret in ("sqlite", "Traceback", "disk I/O", str(tmp_path), "R-1", "C-1", "P-1", house.token):
            assert secret.lower() not in answer.text.lower()
        assert "request.failed" not in house.said.getvalue()


def test_readiness_says_that_the_store_is_down(tmp_path: Path) -> None:
    """In words, with what to do, as one of the reasons."""
    with opened(tmp_path) as house:
        lose_the_log(house.hub.store)
        answer = house.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        found = {item["detail"]: item["remedy"] for item in answer.json()["items"]}
        assert "Check the disk" in found["the store cannot be read; nothing was changed"]
