"""One keep-alive HTTP connection of a measuring client: as little work per request as the standard library allows."""

from http.client import HTTPConnection, HTTPException
from time import monotonic, sleep
from typing import NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 60.0  # above the longest poll
AGAIN_S = 0.05
UNAVAILABLE = 503
JSON = "application/json"


class Answer(NamedTuple):
    status: int
    body: bytes


class Refused(Exception):
    """The hub answered a measuring client with an error: what was measured would not be what it says."""

    def __init__(self, said: str, *, passes: bool) -> None:
        super().__init__(said)
        self.passes = passes  # it says that it may be asked again


class Line:
    """A connection to one hub, as one caller: `headers` go with every request and may be replaced.

    With `insists_until_s` (of the monotonic clock) what the hub has no time for is asked again, as any client of an
    agency's does, and counted in `again`.
    """

    def __init__(self, address: str, headers: dict[str, str], *, insists_until_s: float = 0.0) -> None:
        parts = urlsplit(address)
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        self.headers, self._insists_until_s = headers, insists_until_s
        self.again = 0

    def ask(self, method: str, path: str, body: bytes | None = None, media_type: str = JSON) -> Answer:
        """Send one request and read its answer whole. Raises Refused for anything from 300 on."""
        while True:
            try:
                return self._ask(method, path, body, media_type)
            except (Refused, HTTPException, OSError) as error:
                refused = isinstance(error, Refused) and not error.passes
                if refused or monotonic() > self._insists_until_s:
                    raise
            self.close()  # it opens itself again
            self.again += 1
            sleep(AGAIN_S)

    def _ask(self, method: str, path: str, body: bytes | None, media_type: str) -> Answer:
        self._connection.request(method, path, body, {**self.headers, "content-type": media_type})
        response = self._connection.getresponse()
        answer = Answer(response.status, response.read())
        if answer.status >= 300:  # from here on it is no success (RFC 9110 section 15)
            said = answer.body[:500].decode(errors="replace")
            raise Refused(f"{method} {path} was answered {answer.status}: {said}", passes=answer.status == UNAVAILABLE)
        return answer

    def close(self) -> None:
        self._connection.close()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
