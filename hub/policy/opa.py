"""One call to an OPA server through opa-python-client, bounded in time, in bytes and in what is taken for an answer.

The library says how OPA is spoken to; this file, where its types begin, how far it is trusted. Its own transport would
retry with pauses, follow redirects and proxies, read an answer of any size, and wait for as long as a byte comes now
and then: all of that is closed here. What goes wrong is one HubError(UNAVAILABLE) that says what to look at.
"""

import io
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
import requests
import urllib3
from opa_client.opa import OpaClient
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from hub.core.errors import HubError
from hub.policy.answers import WAITS, unavailable

PACKAGE, RULE = "hub.release", "answer"
ANSWER_BYTES = 8 * 1024 * 1024  # 500 verdicts with every field of the largest dataset take a tenth of it
ANSWER_KEYS = frozenset({"result", "decision_id"})  # the second is there where OPA keeps a decision log
PORTS = {"http": 80, "https": 443}


class OpaServer(NamedTuple):
    """Where OPA answers, and how it is reached."""

    url: str  # http(s)://host:port, without a path
    token: str = ""  # shown as a bearer token; none where empty
    ca_file: Path | None = None  # PEM; None: the public authorities that requests brings
    timeout_s: float = 2.0  # for the connection, and again for the whole answer


class OpaCaller:
    """One kept connection. Not shared between threads."""

    def __init__(self, server: OpaServer) -> None:
        url = urlsplit(server.url)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        self._client = _Client(
            host=host,
            port=url.port or PORTS[url.scheme],
            ssl=url.scheme == "https",
            token=server.token or None,
            retries=0,  # whoever waits for the answer asks again
            timeout=(server.timeout_s, server.timeout_s),
        )
        self._client.trust(server.ca_file)

    def answer(self, document: Mapping[str, Any]) -> Any:
        """Return what the rule says of this input. Raises HubError(UNAVAILABLE)."""
        try:
            said = self._client.query_rule(document, PACKAGE, RULE)
        except requests.exceptions.SSLError as cause:
            raise unavailable(
                "The policy server's certificate is not trusted.", f"Correct HUB_OPA_CA_FILE or HUB_OPA_URL; {WAITS}."
            ) from cause
        except (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError) as cause:
            raise unavailable(
                "The policy server did not answer in time.", f"See whether OPA is overloaded; {WAITS}."
            ) from cause
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as cause:
            raise unavailable(
                "The policy server cannot be reached.", f"Start OPA, or correct HUB_OPA_URL; {WAITS}."
            ) from cause
        except (ValueError, RecursionError) as cause:
            raise _not_opa("is not the JSON that OPA writes") from cause
        if not isinstance(said, dict) or not said.keys() <= ANSWER_KEYS:
            raise _not_opa("is not the object that OPA writes")
        if "result" not in said:  # 200 all the same: the rule is undefined
            raise unavailable(
                "The policy server does not know the policy: its answer is undefined.",
                f"See OPA's log: it has no bundle of the hub yet, or refused its signature; {WAITS}.",
            )
        return said["result"]

    def close(self) -> None:
        self._client.close_connection()


class _Client(OpaClient):  # type: ignore[misc]  # the library ships no types
    """The library's client over a transport of ours."""

    def _init_session(self) -> requests.Session:
        session: requests.Session = super()._init_session()
        session.trust_env = False  # no proxies, no .netrc: both come from an environment that nobody reviews
        session.headers["Accept-Encoding"] = "identity"  # a small answer may not unpack into a large one
        for scheme in PORTS:
            session.mount(f"{scheme}://", _Bounded())
        return session

    def trust(self, ca_file: Path | None) -> None:
        if ca_file is not None:
            self._session.verify = str(ca_file)


class _Bounded(HTTPAdapter):
    """Returns 200 with JSON, all of it read, or raises."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["stream"] = True
        response = super().send(request, *args, **kwargs)
        try:
            _refuse(response)
            body = response.raw.read(ANSWER_BYTES + 1, decode_content=False)
            if len(body) > ANSWER_BYTES:
                raise _not_opa(f"is larger than {ANSWER_BYTES >> 20} MiB")
            try:
                orjson.loads(body)  # no NaN, no endless nesting: Python's own reader takes both
            except orjson.JSONDecodeError as cause:
                raise _not_opa("is not the JSON that OPA writes") from cause
        except BaseException:
            response.close()
            raise
        response.raw = io.BytesIO(body)
        return response


def _refuse(response: requests.Response) -> None:
    status = response.status_code
    if status in (401, 403):
        raise unavailable(
            f"The policy server refuses the hub (status {status}).",
            f"Put the token that OPA's authorization wants into HUB_OPA_TOKEN_FILE, and restart; {WAITS}.",
        )
    if status != requests.codes.ok:
        raise unavailable(
            f"The policy server failed (status {status}).",
            f"See OPA's log, and that HUB_OPA_URL names OPA and nothing else; {WAITS}.",
        )
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise _not_opa("is no JSON")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _not_opa("is packed although that was not asked for")


def _not_opa(why: str) -> HubError:
    return unavailable(
        f"The policy server's answer {why}.", f"See that HUB_OPA_URL names OPA and nothing else; {WAITS}."
    )


class _Timed(io.RawIOBase):
    """What comes from a socket until one moment, however it drips. urllib3's own limit is for each read."""

    def __init__(self, raw: io.RawIOBase, sock: socket) -> None:
        self._raw, self._sock = raw, sock
        self._until_s = monotonic() + (sock.gettimeout() or 0.0)  # the time-out for reading was just set

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._until_s - monotonic()
        if left_s <= 0:
            raise TimeoutError("the whole answer took too long")
        self._sock.settimeout(left_s)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """Status, headers and body, all of them by the same moment."""

    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _TimedResponse


class _TlsConnection(HTTPSConnection):
    response_class = _TimedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
