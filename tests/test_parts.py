"""`hub serve --only`: what each part does of a hub, what it opens, and what is refused."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hub.app import Hub, build
from hub.clock import system_clock
from hub.core.errors import HubError
from hub.identity.ledger import Ledger
from hub.logs import open_log
from hub.metrics import render
from hub.parts import ALL, Part, read, shown
from hub.settings import Settings
from hub.store.workers import beat
from hub.web.admin_people import erase_on
from hub.web.apps import public_app
from tests import stores
from tests.doors import client_of

DOORS = {  # an address, and which part serves it
    ("POST", "/v1/events"): Part.WEB,
    ("POST", "/oauth/token"): Part.WEB,
    ("GET", "/v1/agency"): Part.WEB,
    ("GET", "/v1/webhook"): Part.WEB,
    ("GET", "/v1/me/inbox"): Part.WEB,
    ("GET", "/v1/deliveries"): Part.HANDOUT,
    ("POST", "/v1/deliveries/acknowledgements"): Part.HANDOUT,
}
NOT_THERE = 404


@pytest.fixture
def dsn(tmp_path: Path) -> Iterator[str]:
    stores.server()
    yield stores.dsn_of(tmp_path / "hub.sqlite")
    stores.drop_all()


def one_of(directory: Path, dsn: str, *only: str, **more: Any) -> Hub:
    """Build a process's hub; its threads are not started."""
    given = {"mode": "development", "data_dir": directory / "-".join(only or ["all"]), "store_dsn": dsn, "only": only}
    given |= {"key_file": directory / "root.key", "shared_dir": directory}
    if set(only) & {"web", "gate", "files"}:  # no broker is reached before it is needed
        given |= {"bus": "kafka", "kafka_bootstrap": ("127.0.0.1:1",), "kafka_security": "PLAINTEXT"}
    return build(Settings(**{**given, **more}), log=open_log(clock=system_clock, stream=io.StringIO()))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"only": ("gate",)}, "PostgreSQL"),
        ({"only": ("gate",), "store_dsn": "sqlite:///hub.sqlite"}, "PostgreSQL"),
        ({"only": ("web", "retention"), "store_dsn": "postgresql://hub@127.0.0.1/hub"}, "HUB_BUS=kafka"),
        ({"only": ("gatehouse",)}, "of web, gate, handout, webhooks, files, retention"),
        ({"only": ("gate", "gate")}, "at most once"),
    ],
    ids=["no store named", "SQLite", "the embedded bus", "misspelt", "twice"],
)
def test_parts_that_could_not_meet_are_refused_in_words(given: dict[str, Any], said: str) -> None:
    """A SQLite file has one process, and the embedded bus is within it."""
    with pytest.raises(ValidationError, match=said):
        Settings(**given)


def test_a_part_that_needs_no_bus_is_not_asked_for_one() -> None:
    """And nothing said is all parts, as ever."""
    assert Settings(only=("handout",), store_dsn="postgresql://hub@127.0.0.1/hub").parts == {Part.HANDOUT}
    assert Settings().parts == ALL


def test_parts_are_written_and_read_in_one_order() -> None:
    """What another version wrote and this one does not know is left out."""
    assert read(shown(ALL)) == ALL
    assert shown(frozenset([Part.RETENTION, Part.WEB])) == "web,retention"
    assert read("gate,kitchen") == {Part.GATE}


@pytest.mark.parametrize("part", ["web", "handout"])
def test_a_door_serves_what_is_its_parts_and_nothing_else(tmp_path: Path, dsn: str, part: str) -> None:
    """Every process answers whether it is alive and ready."""
    hub = one_of(tmp_path, dsn, part)
    try:
        door = client_of(public_app(hub))
        for (method, address), of in DOORS.items():
            found = door.request(method, address).status_code != NOT_THERE
            assert found == (of == part), address
        assert door.get("/healthz").status_code == 200
    finally:
        hub.close()


EVERYWHERE = {"leases", "marks", "news", "standstill"}
WORKERS = {
    "web": {"day-keys"},
    "gate": {"gate", "let-go", "day-keys"},
    "handout": set(),
    "webhooks": {"webhooks"},
    "files": {"files", "day-keys"},
    "retention": {"retention"},
}


@pytest.mark.parametrize("part", list(Part))
def test_a_process_runs_the_threads_of_its_parts_only(tmp_path: Path, dsn: str, part: Part) -> None:
    """Keys of the day are kept where events are sealed or opened; who never touches intake has no bus."""
    hub = one_of(tmp_path, dsn, part)
    try:
        assert {worker.name for worker in hub.threads.here} == WORKERS[part] | EVERYWHERE
        if part in (Part.HANDOUT, Part.WEBHOOKS, Part.RETENTION):
            with pytest.raises(HubError) as refused:
                hub.bus.ends("in.tax.any")
            assert refused.value.code == "bus-elsewhere"
    finally:
        hub.close()


def test_several_parts_in_one_process_are_their_sum(tmp_path: Path, dsn: str) -> None:
    hub = one_of(tmp_path, dsn, "handout", "webhooks", "retention")
    try:
        assert {worker.name for worker in hub.threads.here} == {"webhooks", "retention"} | EVERYWHERE
    finally:
        hub.close()


def test_status_says_which_part_nobody_runs_and_who_has_fallen_silent(tmp_path: Path, dsn: str) -> None:
    """In words, with the remedy; a process is ready although another part is missing."""
    hub = one_of(tmp_path, dsn, "handout")
    try:
        hub.store.write(lambda tx: beat(tx, "1", "one/1", frozenset([Part.HANDOUT, Part.WEB])))
        hub.store.write(lambda tx: beat(tx, "2", "two/2", frozenset([Part.GATE])))
        hub.store.write(lambda tx: tx.run("UPDATE worker SET heard_us = heard_us - 20000000 WHERE id = '2'"))
        found = hub.status()
        said = [one["what"] for one in found["troubles"] if one["what"].startswith("no process")]
        assert [what.partition(":")[0].rpartition(" ")[2] for what in said] == ["gate", "webhooks", "retention"]
        assert [(one["name"], one["silent_s"] >= 20) for one in found["processes"]] == [
            ("one/1", False), ("two/2", True),
        ]  # fmt: skip
        assert found["parts"] == ["handout"]
        hub.measure()
        shown = render(hub.metrics).decode()
        missing = {part for part in Part if f'hub_parts_missing{{part="{part}"}} 1.0' in shown}
        assert missing == {Part.GATE, Part.WEBHOOKS, Part.RETENTION}
        assert not any("no process" in item.what for item in hub.troubles())
    finally:
        hub.close()


def test_persons_are_erased_where_retention_runs_and_nowhere_else(tmp_path: Path, dsn: str) -> None:
    """The ledger beside the key has one writer; the refusal says where to go."""
    hub = one_of(tmp_path, dsn, "webhooks")
    try:
        with pytest.raises(HubError) as refused:
            erase_on(hub, agency="tax", local_id="T-1", reason="request")
        assert (refused.value.code, "--only retention" in refused.value.remedy) == ("erasure-elsewhere", True)
    finally:
        hub.close()
    hub = one_of(tmp_path, dsn, "retention")
    try:
        with pytest.raises(HubError) as unknown:
            erase_on(hub, agency="tax", local_id="T-1", reason="request")
        assert unknown.value.code != "erasure-elsewhere"
    finally:
        hub.close()


def test_two_processes_append_to_one_ledger_and_its_chain_holds(tmp_path: Path) -> None:
    """Each reads first what the other wrote; a line that one of them left half written is dropped."""
    path, key = tmp_path / "l", b"k" * 32
    one, other = Ledger(path, key), Ledger(path, key)
    one.append(7, 100)
    other.append(8, 200)
    with path.open("ab") as file:
        file.write(b"9 3")
    one.append(9, 300)
    other.append(7, 400)
    assert Ledger(path, key).erased == {7: 100, 8: 200, 9: 300}


def test_a_ledger_that_lost_lines_under_a_running_hub_is_noticed(tmp_path: Path) -> None:
    """Nothing is appended to what is not the file that was there."""
    path, key = tmp_path / "l", b"k" * 32
    one = Ledger(path, key)
    one.append(7, 100)
    path.write_bytes(b"")
    with pytest.raises(HubError, match="lacks lines"):
        one.append(8, 200)
    assert path.read_bytes() == b""
