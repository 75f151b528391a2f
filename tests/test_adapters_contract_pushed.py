"""What adapters owe that the hub reaches by itself, webhook receiver and drop folder: all once, through kills."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
from anyio import to_thread
from fastapi import FastAPI, Request, Response

from agency_adapters.keys import new_key, public_jwk
from tests.adapters_contract_ways import KEY_FILE, PUBLISHER, RECIPIENT, Birth, ClientPublishes, client_for
from tests.doors import served
from tests.file_ways import Arrived, DropPublishes, DropReceives
from tests.world import Town, link_family, town

ROWS, CHILDREN = 12, 3
PATIENCE_S = 40.0  # a webhook that failed is tried again after some five seconds
FAMILIES = count()


class Place:
    """A hub with file drop, and a family of children that no other test knows."""

    def __init__(self, hub: Town, drops: Path, directory: Path, pem: bytes) -> None:
        self.hub, self.drops, self.directory = hub, drops, directory
        self.children = [f"W{next(FAMILIES)}-{at}" for at in range(CHILDREN)]
        for child in self.children:
            link_family(hub, child=child, parent="P-1")
        (directory / KEY_FILE).write_bytes(pem)
        self.client = client_for(directory, hub.url, RECIPIENT)

    def births(self, rows: int = ROWS) -> list[Birth]:
        return [Birth(at, self.children[at % CHILDREN], f"2026-02-{at + 1:02d}") for at in range(rows)]

    def tell(self) -> None:
        """Publish with the plain client and wait until the gate has decided."""
        plain = ClientPublishes(self.directory)
        plain.add(self.births())
        result = self.hub.agency(PUBLISHER).publish(plain.events())
        assert self.hub.decided(result.accepted[-1].token) == "handled"

    def arrived(self) -> list[Arrived]:
        """Read what is stored of this family's births."""
        if not (self.directory / "drop.ndjson").exists():
            return []
        found = DropReceives(self.directory).arrived()
        return [one for one in found if str(one.data.get("child_id", "")).removeprefix("FB-") in self.children]

    def all_once_and_in_order(self) -> bool:
        """Every birth, no more; each child's in the order of its days. False while some are missing."""
        got = [(one.data["child_id"], one.data["dob"]) for one in self.arrived()]
        assert len(got) == len(set(got)), "twice"
        for child in {child for child, _ in got}:
            days = [day for one, day in got if one == child]
            assert days == sorted(days)
        return len(got) == ROWS

    def process(self, name: str, *more: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tests.pushed_ways", name, str(self.directory), self.hub.url, *more]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def until(done: Callable[[], bool]) -> None:
    end_s = monotonic() + PATIENCE_S
    while not done():
        assert monotonic() < end_s, "it never came"
        sleep(0.05)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A hub of its own: an agency has one webhook and one drop folder."""
    (tmp_path / "drops").mkdir()
    (tmp_path / "agency").mkdir()
    given: dict[str, Any] = {"file_drop_dir": tmp_path / "drops", "file_every_s": 0, "handout_redeliver_s": 1}
    with town(tmp_path / "hub", **given) as hub:
        keys = {agency: new_key() for agency in (PUBLISHER, RECIPIENT)}
        for agency, key in keys.items():
            hub.hub.add_agency_key(agency, public_jwk(key))
        one = Place(hub, tmp_path / "drops", tmp_path / "agency", keys[RECIPIENT].as_pem(private=True))
        yield one
        one.client.close()


class Post:
    """A door between the hub and a webhook receiver, which can end the receiver before or after it has taken one."""

    def __init__(self) -> None:
        self.behind, self.victim, self.kill_at, self.taken = "", 0, (0, False), 0
        self.http = httpx.Client(trust_env=False, timeout=20)

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        return await to_thread.run_sync(self._pass_on, dict(request.headers), body)

    def _pass_on(self, headers: dict[str, str], body: bytes) -> Response:
        challenge = b"hub.webhook.verification" in body
        self.taken += not challenge
        nth, heard = self.kill_at
        ends = not challenge and self.taken == nth
        if ends and not heard:
            self._kill()
        try:
            reply = self.http.post(self.behind, content=body, headers=headers)
        except httpx.TransportError:
            return Response("{}", 503)
        if ends and heard:
            self._kill()
            return Response("{}", 503)
        return Response(reply.content, reply.status_code, media_type=reply.headers.get("content-type"))

    def _kill(self) -> None:
        self.kill_at = (0, False)
        subprocess.run(["kill", "-9", str(self.victim)], check=True)


@contextmanager
def post() -> Iterator[tuple[Post, str]]:
    """Open the door until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        door, app = Post(), FastAPI()
        app.add_api_route("/{path:path}", door.answer, methods=["POST"])
        with served(app, listening) as url:
            yield door, url
        door.http.close()


@contextmanager
def receiving(place: Place, door: Post) -> Iterator[subprocess.Popen[str]]:
    """Run the receiver behind the door until the block ends or it is killed."""
    process = place.process("webhook")
    try:
        assert process.stdout is not None
        door.behind, door.victim = process.stdout.readline().strip(), process.pid
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


@pytest.mark.parametrize(("nth", "heard"), [(1, False), (3, True)])
def test_a_webhook_receiver_that_is_killed_loses_and_doubles_nothing(place: Place, nth: int, heard: bool) -> None:
    """Killed before it has heard of one, or when it has stored one and the hub was not told: it comes again, once."""
    with post() as (door, url):
        with receiving(place, door) as process:
            assert place.client.set_webhook(url)["state"] == "active"
            door.kill_at = (nth, heard)
            place.tell()
            assert process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
        assert not place.all_once_and_in_order()
        with receiving(place, door):
            until(place.all_once_and_in_order)
    assert place.client.pull(limit=1, wait_s=0).deliveries == (), "all of it is acknowledged"


def drop_of(place: Place, agency: str) -> Path:
    """Turn file drop on for an agency and put its folder where the way looks for it; returns the folder."""
    place.hub.hub.file_drops.set(agency, form="ndjson", bom=False)
    folder = place.drops / agency
    (place.directory / "drop").symlink_to(folder)
    until(lambda: (folder / "out").is_dir() and (folder / "in").is_dir())
    return folder


def acknowledged(place: Place, folder: Path) -> bool:
    """Say whether the hub has taken every acknowledgement."""
    return not any((folder / "ack").iterdir()) and place.client.pull(limit=1, wait_s=0).deliveries == ()


@pytest.mark.parametrize("turn", [1, 5])
def test_a_drop_receiver_that_is_killed_loses_and_doubles_nothing(place: Place, turn: int) -> None:
    """Killed in the middle of a batch: what it had stored is not stored again, and the batch is acknowledged then."""
    folder = drop_of(place, RECIPIENT)
    place.tell()
    until(lambda: any((folder / "out").glob("*.done")))
    process = place.process("drop", str(turn))
    assert process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
    process.communicate()
    assert len(place.arrived()) == turn - 1

    def taken() -> bool:
        DropReceives(place.directory).run(place.client)
        return place.all_once_and_in_order()

    until(taken)
    until(lambda: acknowledged(place, folder))


def test_what_is_put_into_the_drop_folder_again_is_published_once(place: Place) -> None:
    """A file without its done-marker, as a kill leaves it, is not taken; the rows put there twice reach people once."""
    folder = drop_of(place, PUBLISHER)
    publishing = DropPublishes(place.directory)
    publishing.add(place.births())
    (folder / "in" / "half.ndjson").write_text('{"specversion": "1.0"')
    client = place.hub.agency(PUBLISHER)
    for _ in range(2):
        publishing.run(client)
    (place.directory / "drop").unlink()
    until(lambda: len(list((folder / "in" / "done").glob("*.receipt.json"))) == 2)
    recipient = drop_of(place, RECIPIENT)

    def taken() -> bool:
        DropReceives(place.directory).run(place.client)
        return place.all_once_and_in_order()

    until(taken)
    until(lambda: acknowledged(place, recipient))
    assert (folder / "in" / "half.ndjson").exists()
