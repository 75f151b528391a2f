"""A TCP proxy that does to lines what networks do to them: late, cut, half-closed, silent. Per direction, at any time.

Nothing that was sent gets lost in it unless the line is cut: a black hole keeps what comes until it heals, as a network
does that drops packets and has them sent again.
"""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from time import sleep
from typing import Literal

Direction = Literal["up", "down"]  # to the server; back to whoever asked it
BOTH: tuple[Direction, Direction] = ("up", "down")
PIECE_BYTES = 65_536
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: the other side is told that the line broke, not that it ended


class _Line:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server

    def cut(self) -> None:
        for one in (self.client, self.server):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes up who reads from it
            one.close()


class Proxy:
    """Listens on a loopback port of its own, and passes on to `target`. Methods may be called from any thread."""

    def __init__(self, target: int, *, port: int = 0) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._lines: list[_Line] = []
        self._lock, self._closed, self._refusing = Lock(), False, False
        self._flows = {direction: Event() for direction in BOTH}
        self._late_s = dict.fromkeys(BOTH, 0.0)
        self._seen: Callable[[Direction, bytes], bool] = lambda _direction, _piece: True
        self.heal()
        Thread(target=self._accept, name="proxy", daemon=True).start()

    # What may be done to it.
    def heal(self) -> None:
        """Pass everything on at once again; what was kept goes first."""
        self._refusing, self._late_s = False, dict.fromkeys(BOTH, 0.0)
        self._seen = lambda _direction, _piece: True
        for flow in self._flows.values():
            flow.set()

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Pass each piece on this much later."""
        self._late_s |= dict.fromkeys(directions or BOTH, seconds)

    def black_hole(self, *directions: Direction) -> None:
        """Take everything and pass nothing on; nobody is told."""
        for direction in directions or BOTH:
            self._flows[direction].clear()

    def cut(self, *, refusing: bool = False) -> None:
        """Break every line; with `refusing` break new ones, too, until it heals."""
        self._refusing = refusing
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            line.cut()

    def half_close(self, direction: Direction) -> None:
        """End every line in one direction: nothing more comes that way, and the other goes on."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            with suppress(OSError):
                (line.server if direction == "up" else line.client).shutdown(socket.SHUT_WR)

    def watch(self, seen: Callable[[Direction, bytes], bool]) -> None:
        """Have `seen` told of each piece before it is passed on; where it says False the piece is swallowed."""
        self._seen = seen

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        self.heal()

    # The threads.
    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self._target), 3.0)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                client.close()
                continue
            for one in (client, server):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = _Line(client, server)
            with self._lock:
                self._lines.append(line)
            Thread(target=self._pump, args=(line, "up"), daemon=True).start()
            Thread(target=self._pump, args=(line, "down"), daemon=True).start()

    def _pump(self, line: _Line, direction: Direction) -> None:
        source, sink = (line.client, line.server) if direction == "up" else (line.server, line.client)
        try:
            while piece := source.recv(PIECE_BYTES):
                if late_s := self._late_s[direction]:
                    sleep(late_s)
                self._flows[direction].wait()
                if self._seen(direction, piece):
                    sink.sendall(piece)
            self._flows[direction].wait()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            line.cut()
            with self._lock:
                if line in self._lines:
                    self._lines.remove(line)
