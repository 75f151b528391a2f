"""Webhooks and sealed payloads from end to end: the agency's commands, its receiver as a process, and a real hub."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from agency_adapters.__main__ import app
from agency_adapters.client import HubClient
from agency_adapters.errors import AgencyError, HubProblem
from agency_adapters.results import Delivery
from agency_adapters.sealing import new_seal_key, public_seal_jwk
from agency_adapters.seen import Seen
from agency_adapters.ways_out_commands import hub_keys
from agency_adapters.webhook import Receiver
from agency_adapters.webhook_server import server
from tests.webhook_world import Calendar, machine
from tests.world import Town, birth, link_family, town, until

AGENCY = "family-benefits"
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("hub"), clock=calendar) as running:
        link_family(running)
        yield running


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    return os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "200"}


@pytest.fixture
def run(environment: Mapping[str, str]) -> Run:
    def ran(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, env=environment)

    return ran


def test_an_agency_receives_at_a_terminal_what_the_hub_posts(
    place: Town, run: Run, environment: Mapping[str, str]
) -> None:
    """A receiver, an address, a sealing key: what comes is opened, one JSON line each; removed, it is pulled again."""
    assert run("init", AGENCY, "--hub", place.url, "--demo").exit_code == 0
    sealed = run("seal-key", "new")
    assert json.loads(sealed.stdout)["suite"].startswith("DHKEM(X25519")
    assert json.loads(run("seal-key", "show").stdout)["here"] is True
    receiving = subprocess.Popen(
        [sys.executable, "-m", "agency_adapters", "webhook", "receive", "--port", "0"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert receiving.stderr is not None
        assert receiving.stdout is not None
        address = receiving.stderr.readline().split()[-1]
        done = run("webhook", "set", address)
        assert (done.exit_code, json.loads(done.stdout)["state"]) == (0, "active")
        place.agency("civil-registry").publish([birth("1")])
        document = json.loads(receiving.stdout.readline())
        assert (document["subject"], document["data"]["dob"]) == ("FB-C-1", "2026-01-31")
        assert "sealed" not in document
        assert json.loads(run("webhook", "show").stdout)["state"] == "active"
        assert run("webhook", "remove").exit_code == 0
        assert "no webhook" in str(run("webhook", "show").exception)
    finally:
        receiving.terminate()
        receiving.communicate()
    place.agency("civil-registry").publish([birth("2")])
    pulled = run("pull", "--wait", "5")
    assert json.loads(pulled.stdout)["data"]["dob"] == "2026-01-31"
    assert run("seal-key", "remove").exit_code == 0


def test_an_endpoint_that_does_not_prove_itself_is_told_with_the_reason(place: Town, run: Run) -> None:
    """What stands in the way, and what to do."""
    assert run("init", AGENCY, "--hub", place.url, "--demo").exit_code == 0
    with machine() as closed:
        url = closed.url
    done = run("webhook", "set", url)
    assert isinstance(done.exception, AgencyError)
    assert "no connection could be made" in done.exception.what
    assert "webhook receive" in done.exception.remedy
    assert "own service for its secrets" in str(run("webhook", "set", "https://169.254.169.254/latest").exception)


@contextmanager
def receiving(client: HubClient, seen: Path, handle: Callable[[Delivery], None]) -> Iterator[str]:
    """Run the adapters' own server until the block ends."""
    with Seen(seen) as remembered:
        running = server(Receiver(hub_keys(client), remembered, handle), "127.0.0.1", 0)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}/"
        finally:
            running.shutdown()
            running.server_close()
            thread.join()


def test_a_handler_that_fails_gets_the_same_again_and_a_rotation_goes_unnoticed(
    place: Town, tmp_path: Path, calendar: Calendar
) -> None:
    """The adapters' server answers 500; the hub tries again after some five seconds, signing with both keys."""
    handled: list[Delivery] = []
    fail = [AgencyError("the inbox is full")]

    def handle(delivery: Delivery) -> None:
        if fail:
            raise fail.pop()
        handled.append(delivery)

    client = place.agency("health-insurance")
    with receiving(client, tmp_path / "seen", handle) as url:
        assert client.set_webhook(url)["state"] == "active"
        place.agency("civil-registry").publish([birth("10")])
        assert until(lambda: client.webhook()["state"], lambda state: state == "failing") == "failing"
        client.rotate_webhook_key()
        calendar.pass_by(7)
        assert until(lambda: handled, bool)
        assert until(lambda: client.webhook()["state"], lambda state: state == "active") == "active"
        assert len(client.webhook()["keys"]) == 2
        client.remove_webhook()


def test_a_key_and_an_address_are_refused_with_what_is_wrong(place: Town) -> None:
    """422 with a stable code, and nothing changes."""
    client = place.agency("tax")
    bad: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.set_webhook("http://receiver.example/"), "webhook-url"),
        (lambda: client.set_webhook("https://10.1.2.3/"), "webhook-address"),
        (lambda: client.set_webhook("https://receiver.invalid/"), "webhook-unresolved"),
        (lambda: client.set_sealing_key({**public_seal_jwk(new_seal_key()), "crv": "X448"}), "sealing-key-refused"),
        (client.webhook, "webhook-unknown"),
        (client.prove_webhook, "webhook-unknown"),
        (client.rotate_webhook_key, "webhook-unknown"),
        (client.remove_webhook, "webhook-unknown"),
        (client.sealing_key, "sealing-key-unknown"),
        (client.end_sealing_key, "sealing-key-unknown"),
    ]
    for call, code in bad:
        with pytest.raises(HubProblem) as caught:
            call()
        assert (caught.value.problem.code, bool(caught.value.problem.remedy)) == (code, True)


def test_a_delivery_that_no_key_here_opens_is_not_acknowledged(place: Town) -> None:
    """The pull fails with what to do, and the delivery comes again."""
    client = place.agency(AGENCY)
    for each in client.pull().deliveries:
        client.acknowledge([each])
    client.set_sealing_key(public_seal_jwk(new_seal_key()))
    try:
        place.agency("civil-registry").publish([birth("20")])
        with pytest.raises(AgencyError, match="sealed to a key that is not here"):
            until(lambda: client.pull(wait_s=1).deliveries, bool)
    finally:
        client.end_sealing_key()
    place.hub.store.write(lambda tx: tx.run("UPDATE queue SET due_us = 0 WHERE state = 3"))
    assert [one.kind for one in until(lambda: place.pull(AGENCY), bool)] == ["data"]


def test_a_body_that_is_too_long_or_of_unknown_length_is_refused_unread(tmp_path: Path, place: Town) -> None:
    """Nobody makes the receiver hold what a delivery never is."""
    with receiving(place.agency(AGENCY), tmp_path / "seen", lambda _delivery: None) as url:
        assert httpx.post(url, content=b"x" * 1_000_001).status_code == 413
        assert httpx.post(url, content=iter([b"x"])).status_code == 411
        assert httpx.post(url, content=b"{}").status_code == 401


def test_the_operator_rotates_an_agencys_key_beside_a_running_hub(place: Town, tmp_path: Path) -> None:
    """Over the socket; without a webhook there is nothing to rotate."""
    with machine() as to:
        client = place.agency("tax")
        client.set_webhook(to.url)
        said = place.hub.rotate_webhook_key("tax")
        assert said["public_key"] in [one["public_key"] for one in client.webhook()["keys"]]
        client.remove_webhook()
