"""The client goes through the proxy that the environment names, and never through it to this machine."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.adapters_contract_hub import serving

ASK = """
import sys
from agency_adapters.channel import Settings, open_http
from agency_adapters.errors import HubUnreachable
from agency_adapters.channel import Channel
from agency_adapters.keys import new_key
settings = Settings(sys.argv[1], "lindum")
try:
    print(Channel(settings, new_key(), open_http(settings)).issuer())
except HubUnreachable as error:
    print(error.what)
"""


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """Listen as a proxy that lets nobody through; yields its address and the first lines that it was sent."""
    asked: list[str] = []

    def listen(listening: socket.socket) -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            with line:
                asked.append(line.recv(65_536).split(b"\r\n")[0].decode())
                line.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=listen, args=(listening,))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def asked_through(address: str, at: str) -> str:
    """Ask a hub for its issuer with this proxy in the environment; return what came of it."""
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment = clean | {"HTTPS_PROXY": at, "HTTP_PROXY": at, "ALL_PROXY": at}
    command = [sys.executable, "-c", ASK, address]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_hub_elsewhere_is_asked_through_the_proxy() -> None:
    """HTTPS_PROXY is told the hub's name and port, and nothing else of the request."""
    with proxy() as (address, asked):
        said = asked_through("https://hub.example", address)
    assert asked == ["CONNECT hub.example:443 HTTP/1.1"]
    assert said in ("the line broke\n", "no connection to the hub\n")


def test_a_hub_on_this_machine_is_asked_directly() -> None:
    """A demo works behind a company's proxy, which could not reach it."""
    with serving() as hub, proxy() as (address, asked):
        assert asked_through(hub.issuer, address).strip() == hub.issuer
    assert asked == []
