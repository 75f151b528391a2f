"""One keep-alive HTTP connection of a measuring client: as little work per request as the standard library allows."""

from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 60.0  # above the longest poll


class Answer(NamedTuple):
    status: int
    body: bytes


class Refused(Exception):
    """The hub answered a measuring client with an error: what was measured would not be what it says."""


class Line:
    """A connection to one hub, as one caller: `headers` go with every request and may be replaced."""

    def __init__(self, address: str, headers: dict[str, str]) -> None:
        parts = urlsplit(address)
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        self.headers = headers

    def ask(self, method: str, path: str, body: bytes | None = None, media_type: str = "application/json") -> Answer:
        """Send one request and read its answer whole. Raises Refused for anything from 300 on."""
        self._connection.request(method, path, body, {**self.headers, "content-type": media_type})
        response = self._connection.getresponse()
        answer = Answer(response.status, response.read())
        if answer.status >= 300:  # from here on it is no success (RFC 9110 section 15)
            raise Refused(f"{method} {path} was answered {answer.status}: {answer.body[:500].decode(errors='replace')}")
        return answer

    def close(self) -> None:
        self._connection.close()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
