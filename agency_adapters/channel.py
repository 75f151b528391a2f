"""The line to the hub: one HTTP client, one access token, and the rule for when a request is sent again.

A request is repeated when the hub says it took nothing (429, 503) or when it never left; and, where repeating cannot
do harm (`repeatable`), also when it is not known whether it arrived (a broken connection, 502, 504).
"""

import ipaddress
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from joserfc.jwk import OKPKey

from agency_adapters.clock import Clock, system_clock
from agency_adapters.errors import AgencyError, HubProblem, HubUnreachable, json_object, problem_from
from agency_adapters.keys import assertion
from agency_adapters.retry import Backoff

TOOK_NOTHING = frozenset({429, 503})
MAYBE_TOOK = frozenset({502, 504})  # from a proxy in between, which cannot know
TIMEOUT_S = 20.0
RENEW_BEFORE_S = 30  # an access token lives 300 s; half a minute covers a request that travels slowly
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2


@dataclass(frozen=True, slots=True)
class Settings:
    """Which hub, as whom. `issuer` is asked of the hub (RFC 8414) where it is left empty.

    Raises `AgencyError` for plain http to anything but this machine: payloads and tokens would travel in the clear.
    """

    hub: str  # "https://hub.example", no path
    agency: str
    issuer: str = ""
    ca_file: Path | None = None  # a private CA: then only it is trusted, not the public ones
    batch_events: int = 100
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        """Refuse an address that is none, or that is unsafe."""
        parts = urlsplit(self.hub)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise AgencyError("the hub's address is not a URL", remedy="Give it as https://HOST[:PORT].")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise AgencyError("plain http is for this machine only", remedy="Use the hub's https address.")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, as data, so that it can be sent again unchanged."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    media_type: str = "application/json"
    repeatable: bool = True
    read_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    renew_at_us: int


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_http(settings: Settings) -> httpx.Client:
    """Open the HTTP client: the environment's proxies, except for this machine; redirects are not followed."""
    verify: ssl.SSLContext | bool = True
    if settings.ca_file is not None:
        try:
            verify = ssl.create_default_context(cafile=settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise AgencyError("the CA file cannot be read", remedy="Point `ca_file` at a PEM file.") from error
    host = urlsplit(settings.hub).hostname or ""
    direct: dict[str, httpx.BaseTransport | None] | None = {"all://" + host: None} if is_loopback(host) else None
    return httpx.Client(base_url=settings.hub.rstrip("/"), verify=verify, timeout=TIMEOUT_S, mounts=direct)


class Channel:
    """Sends `Ask`s with the agency's access token. Safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        key: OKPKey,
        http: httpx.Client,
        *,
        clock: Clock = system_clock,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.settings, self.http = settings, http
        self._key, self._clock, self._sleep, self._uniform = key, clock, sleep, uniform
        self._lock = threading.Lock()
        self._issuer = settings.issuer
        self._token: _Token | None = None

    def send(self, ask: Ask) -> httpx.Response:
        """Send until answered below 300. Raises `HubProblem`, or `HubUnreachable` once all attempts are used up."""
        last: AgencyError | None = None
        for pause_s in self.settings.backoff.pauses_s(self._uniform):
            self._sleep(max(pause_s, min(_told_s(last), self.settings.backoff.cap_s)))
            try:
                return self._send_authorised(ask)
            except HubProblem as problem:
                status = problem.problem.status
                if status not in TOOK_NOTHING and not (ask.repeatable and status in MAYBE_TOOK):
                    raise
                last = problem
            except HubUnreachable as unreachable:
                if not (ask.repeatable or unreachable.never_sent):
                    raise
                last = unreachable
        assert last is not None  # there is at least one attempt, and each returns, raises or sets it
        raise last

    def _send_authorised(self, ask: Ask) -> httpx.Response:
        """Send once; on 401 the token is renewed, once, for the hub may have restarted or rotated its keys."""
        response = self._exchange(ask, self.access_token())
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._token = None
            response = self._exchange(ask, self.access_token())
        if response.status_code >= httpx.codes.MULTIPLE_CHOICES:
            raise problem_from(response)
        return response

    def _exchange(self, ask: Ask, token: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        if ask.body is not None:
            headers["content-type"] = ask.media_type
        timeout = httpx.Timeout(TIMEOUT_S, read=ask.read_s)
        return self.request(
            self.http.build_request(
                ask.method, ask.path, params=ask.params, content=ask.body, headers=headers, timeout=timeout
            )
        )

    def request(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Send one prepared request as it is, without token or repeat. Raises `HubUnreachable`.

        With `stream` the body is not read and the connection stays open until the response is closed.
        """
        try:
            return self.http.send(request, stream=stream)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE" in str(error):
                remedy = "The certificate is not trusted: name the hub's CA with `ca_file`, or have it renewed."
            else:
                remedy = "Check the address and that the hub runs; behind a proxy set HTTPS_PROXY."
            raise HubUnreachable("no connection to the hub", remedy=remedy, never_sent=True) from error
        except httpx.TransportError as error:
            what = "the hub did not answer in time" if isinstance(error, httpx.TimeoutException) else "the line broke"
            raise HubUnreachable(what, remedy="Try again; nothing is doubled.", never_sent=False) from error

    def access_token(self) -> str:
        """Return the token at hand, or fetch one. Raises `HubProblem`, `HubUnreachable` (then nothing was sent)."""
        with self._lock:
            if self._token is None or self._clock() >= self._token.renew_at_us:
                self._token = self._fetch_token()
            return self._token.value

    def _fetch_token(self) -> _Token:
        now_us = self._clock()
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion(self._key, agency=self.settings.agency, issuer=self.issuer(), now_us=now_us),
        }
        try:
            response = self.request(self.http.build_request("POST", "/oauth/token", data=form))
        except HubUnreachable as error:  # a token asked for in vain changes nothing; the request itself never left
            raise HubUnreachable(error.what, remedy=error.remedy, never_sent=True) from error
        if response.status_code != httpx.codes.OK:
            raise problem_from(response)
        body = json_object(response)
        token, life_s = body.get("access_token"), body.get("expires_in", 0)
        if not isinstance(token, str) or not isinstance(life_s, int):
            raise AgencyError("the hub's answer holds no access token", remedy="Check that the address is a hub's.")
        return _Token(token, now_us + max(life_s - RENEW_BEFORE_S, life_s // 2) * 1_000_000)

    def issuer(self) -> str:
        """Return the issuer's name: from the settings, else as the hub publishes it (RFC 8414 section 3)."""
        if not self._issuer:
            path = "/.well-known/oauth-authorization-server"
            try:
                response = self.request(self.http.build_request("GET", path))
            except HubUnreachable as error:
                raise HubUnreachable(error.what, remedy=error.remedy, never_sent=True) from error
            if response.status_code != httpx.codes.OK:
                raise problem_from(response)
            issuer = json_object(response).get("issuer")
            if not isinstance(issuer, str) or not issuer:
                raise AgencyError("the address does not name an issuer", remedy="Check that the address is a hub's.")
            self._issuer = issuer
        return self._issuer


def _told_s(last: AgencyError | None) -> float:
    """Return how long the hub asked to wait; 0 where it did not."""
    return last.problem.retry_after_s if isinstance(last, HubProblem) else 0.0
