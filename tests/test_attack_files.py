"""Attacks with files and bytes that are made to be expensive: what one agency sends costs no more than its size."""

import io
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agency_adapters.results import Delivery
from agency_adapters.seen import Seen
from agency_adapters.webhook import Receiver
from agency_adapters.webhook_server import server
from hub.core.catalogue import compose
from hub.exchange.file_lines import DEEPEST_CELL, csv_rows

READ = """
import io, resource, sys
from hub.core.catalogue import compose
from hub.core.errors import HubError
from hub.exchange.file_lines import csv_rows
body = sys.stdin.buffer.read()
before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for _ in csv_rows(io.BytesIO(body), compose(agencies=(), datasets=(), purposes=(), agreements=(), lines=()), "tax"):
        pass
except HubError as refused:
    print(refused.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb)
"""


def one_long_row(pieces: int) -> bytes:
    """Make a table whose first row goes on over every piece that is read: a cell per comma, a quote across each end."""
    first = b"," * (DEEPEST_CELL - 3) + b'"aa'
    others = (b'"' + b"," * (DEEPEST_CELL - 4) + b'"aa') * pieces
    return b"id,type,subject,time\r\n" + first + others + b'"\n'


def test_a_row_as_long_as_its_file_is_refused_before_it_is_in_memory() -> None:
    """Else a cell for each comma in 256 MB are two gigabytes in the hub's one process, by one agency."""
    body = one_long_row(240)
    done = subprocess.run([sys.executable, "-c", READ], input=body, capture_output=True, check=True, timeout=60)
    code, more_kb = done.stdout.decode().split()
    assert code == "file-csv"
    assert int(more_kb) * 1_024 < len(body)


def test_a_row_that_is_merely_long_is_read() -> None:
    """Cells may be as long as csv lets them, and some of them in one row."""
    nothing = compose(agencies=(), datasets=(), purposes=(), agreements=(), lines=())
    cell = b'"' + b"a" * (DEEPEST_CELL - 10) + b'"'
    row = b",".join([cell] * 4) + b"\r\n"
    found = list(csv_rows(io.BytesIO(b"id,type,subject,time\r\n" + row * 40), nothing, "tax"))
    assert [one.at for one in found] == list(range(1, 41))


@contextmanager
def receiving(seen: Path) -> Iterator[int]:
    """Run the adapters' own webhook server; nothing that it gets is signed."""

    def handle(_delivery: Delivery) -> None:
        raise AssertionError("nothing was signed")

    with Seen(seen) as remembered:
        running = server(Receiver(lambda _anew: (), remembered, handle), "127.0.0.1", 0)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield int(running.server_address[1])
        finally:
            running.shutdown()
            running.server_close()
            thread.join()


@pytest.mark.parametrize("told", ["1000001", "000000000000999999999999", "0" * 12 + "9" * 5_000])
def test_a_receiver_reads_no_message_that_says_it_is_enormous(tmp_path: Path, told: str) -> None:
    """However the length is written: whoever sends it has not signed anything yet."""
    with (
        receiving(tmp_path / "seen") as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as line,
    ):
        line.sendall(f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {told}\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")
