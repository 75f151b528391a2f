"""A small server for webhooks on this machine; a TLS proxy that the hub can reach stands in front of it."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agency_adapters.errors import AgencyError
from agency_adapters.webhook import BODY_BYTES, Receiver, Reply, receive

IDLE_S = 120.0  # of a connection: the hub opens a new one where this one is gone
LENGTH_CHARS = 12  # of a content-length: a longer text is not looked at, whatever number it is
TOO_LARGE, LENGTH_REQUIRED, FAILED = 413, 411, 500


def server(receiver: Receiver, host: str, port: int) -> ThreadingHTTPServer:
    """Make a server, listening. `serve_forever` runs it, `shutdown` ends it from another thread.

    Raises `AgencyError` where the address cannot be listened on.
    """

    class Handler(BaseHTTPRequestHandler):
        """Answers POST; http.server makes one for each connection."""

        protocol_version = "HTTP/1.1"
        timeout = IDLE_S
        disable_nagle_algorithm = True
        wbufsize = -1  # one packet for an answer, not one for each of its lines

        def do_POST(self) -> None:
            """Take one message."""
            told = self.headers.get("content-length", "")
            if not told.isdecimal():
                return self._answer(Reply(LENGTH_REQUIRED, b"{}"), close=True)
            if len(told) > LENGTH_CHARS or int(told) > BODY_BYTES:
                return self._answer(Reply(TOO_LARGE, b"{}"), close=True)
            body = self.rfile.read(int(told))
            try:
                reply = receive(receiver, dict(self.headers.items()), body)
            except AgencyError as error:
                sys.stderr.write(f"not taken: {error.what}. {error.remedy}\n")
                reply = Reply(FAILED, b"{}")
            return self._answer(reply)

        def _answer(self, reply: Reply, *, close: bool = False) -> None:
            self.send_response(reply.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply.body)))
            if close:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name for it
            """Say nothing: a path may hold a secret."""

    try:
        made = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise AgencyError(
            f"{host}:{port} cannot be listened on: {error.strerror}", remedy="Choose another port with --port."
        ) from error
    made.daemon_threads = True
    return made
