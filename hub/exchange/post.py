"""One HTTP/1.1 connection to a webhook's receiver, on an address that was checked before and is not looked up again.

Small on purpose: POST only, no redirect is followed, no proxy asked, no cookie kept. The whole of an exchange has one
deadline, so that nobody can hold it by dripping; of an answer's body no more than `BODY_BYTES` are read.
"""

import select
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import httptools

from hub.exchange.endpoints import Endpoint
from hub.failpoints import reach

BODY_BYTES = 65_536  # of an answer: the challenge takes a hundred, and nothing else in it is read
HEAD_BYTES = 65_536
CHUNK_BYTES = 16_384
TRIED_MOST = 4  # of a name's addresses: one that has hundreds, none of which answers, would hold a thread for an hour
OK, MULTIPLE_CHOICES = 200, 300


class Answer(NamedTuple):
    """What a receiver said. `media_type` without parameters; `retry_after` as it stood there."""

    status: int
    media_type: str
    retry_after: str
    body: bytes

    @property
    def is_success(self) -> bool:
        return OK <= self.status < MULTIPLE_CHOICES


class Unanswered(Exception):
    """No answer came; `reason` is a code: refused, tls, timeout, cut, answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotBegun(Exception):
    """Not a byte was sent: it may not leave any more. The connection stands."""


May = Callable[[], AbstractContextManager[bool]]  # asks whether bytes may begin, and keeps the answer true in its block


@contextmanager
def at_once() -> Iterator[bool]:
    yield True


class Limits(NamedTuple):
    connect_s: float = 5.0
    answer_s: float = 20.0  # from the first byte sent to the answer's head, and its body


class Line:
    """A connection that stands. One thread posts on it at a time; `close` may come from another, and ends a wait."""

    def __init__(
        self, url: str, endpoint: Endpoint, addresses: Sequence[str], *, tls: ssl.SSLContext, limits: Limits
    ) -> None:
        """Connect to the first of the pinned addresses that answers. Raises Unanswered."""
        self.url, self._limits = url, limits
        self._head = f"POST {endpoint.target} HTTP/1.1\r\nhost: {endpoint.authority}\r\nuser-agent: exchange-hub\r\n"
        self._socket = _connect(endpoint, addresses, tls, limits.connect_s)
        self.closed = False

    def post(self, headers: Sequence[tuple[str, str]], media_type: str, body: bytes, may: May = at_once) -> Answer:
        """Send one message and read its answer. Raises Unanswered; then the connection is closed. And NotBegun."""
        told = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = f"{self._head}{told}content-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        until_s = monotonic() + self._limits.answer_s
        try:
            whole = memoryview(head.encode("ascii") + body)
            sent = self._begin(whole[:CHUNK_BYTES], may)
            self._socket.settimeout(self._limits.answer_s)
            self._socket.sendall(whole[sent:])
            reading = _read(self._socket, until_s)
        except TimeoutError as cause:
            self.close()
            raise Unanswered("timeout") from cause
        except httptools.HttpParserError as cause:
            self.close()
            raise Unanswered("answer") from cause
        except (OSError, ValueError) as cause:
            self.close()
            raise Unanswered("cut") from cause
        if not reading.keeps_open:
            self.close()
        return Answer(reading.status, reading.media_type, reading.retry_after, b"".join(reading.chunks))

    def _begin(self, first: memoryview, may: May) -> int:
        """Send first bytes while `may` holds, at once or not at all: who waits for its end waits for no receiver.

        Returns how many. Raises NotBegun, and OSError where the connection takes none: its last message is unread.
        """
        self._socket.settimeout(0)
        reach("post.ready")
        with may() as allowed:
            if not allowed:
                raise NotBegun
            reach("post.begins")
            sent = self._socket.send(first)
            reach("post.begun")
        return sent

    def stands(self) -> bool:
        """Say whether it can be used again: a receiver that went away, or said something unasked, has ended it."""
        if self.closed:
            return False
        try:
            looking = select.poll()  # select() ends at the 1024th file of a process
            looking.register(self._socket, select.POLLIN)
            return not looking.poll(0)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        self.closed = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it
        except OSError:
            pass
        self._socket.close()


class _Reading:
    """An answer as it comes in; httptools calls these."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status, self.media_type, self.retry_after = 0, "", ""
        self.chunks: list[bytes] = []
        self.body_bytes = 0
        self.has_head = self.done = self.keeps_open = False

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-type":
                self.media_type = value.decode("latin-1").partition(";")[0].strip().lower()
            case b"retry-after":
                self.retry_after = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        self.has_head = self.status >= OK  # 1xx is said before the answer (RFC 9110 section 15.2)

    def on_body(self, chunk: bytes) -> None:
        if self.body_bytes < BODY_BYTES:
            self.chunks.append(chunk[: BODY_BYTES - self.body_bytes])
        self.body_bytes += len(chunk)

    def on_message_complete(self) -> None:
        if self.has_head:
            self.done, self.keeps_open = True, self.parser.should_keep_alive()


def _read(connection: socket.socket, until_s: float) -> _Reading:
    """Read one answer. Once its head is there it counts, whatever becomes of the body.

    Raises TimeoutError, OSError, httptools' own errors.
    """
    reading, head_bytes = _Reading(), 0
    while not reading.done:
        left_s = until_s - monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            data = connection.recv(CHUNK_BYTES)
            if not data and not reading.has_head:
                raise ConnectionResetError
            if not data:
                break
            reading.parser.feed_data(data)
        except (OSError, httptools.HttpParserError):
            if reading.has_head:
                break
            raise
        head_bytes += len(data)
        if reading.body_bytes >= BODY_BYTES:
            reading.keeps_open = False
            break
        if not reading.has_head and head_bytes > HEAD_BYTES:
            raise ValueError("the head is too long")
    if reading.body_bytes >= BODY_BYTES or not reading.done:
        reading.keeps_open = False
    return reading


def _connect(endpoint: Endpoint, addresses: Sequence[str], tls: ssl.SSLContext, connect_s: float) -> socket.socket:
    failure: OSError = ConnectionRefusedError()
    for address in addresses[:TRIED_MOST]:
        try:
            plain = socket.create_connection((address, endpoint.port), timeout=connect_s)
        except OSError as error:
            failure = error
            continue
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if endpoint.scheme == "http":
            return plain
        try:
            return tls.wrap_socket(plain, server_hostname=endpoint.host)
        except (OSError, ValueError) as cause:  # a handshake that hangs runs into the same time limit
            plain.close()
            raise Unanswered("timeout" if isinstance(cause, TimeoutError) else "tls") from cause
    raise Unanswered("timeout" if isinstance(failure, TimeoutError) else "refused") from failure


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Make the TLS settings: the system's authorities, and those of a file where one is named."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
