"""See whether this agency can work with its hub, step by step, and say what to do where it cannot.

1. clock   2. TLS   3. key   4. token   5. agreements   6. round trip
A step that needs an earlier one that failed fails too, pointing at it. Nothing is written at the hub.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from agency_adapters.client import HubClient
from agency_adapters.clock import Clock, system_clock
from agency_adapters.errors import AgencyError, HubProblem

CLOCK_TOLERANCE_S = 30  # what the hub allows between the two clocks when it checks an assertion
CERTIFICATE_DAYS = 14  # less than this is a failure now, rather than an outage then
UNREGISTERED = ("assertion-unverified", "invalid_client")
_US = 1_000_000
_DAY_US = 86_400 * _US
_FIRST = "Put right the first line that says FAIL; this one needs it."
_REGISTER = "Register the public key that `hub-agency init` printed; at a demo hub run init again with --demo."
_OPERATOR = "Ask the hub's operator."
_UNSIGNED = "`hub-agency agreements` names missing signatures; where it names nothing, ask the hub's operator."


@dataclass(frozen=True, slots=True)
class Finding:
    """One step. `remedy` is empty when it passed."""

    step: str
    passed: bool
    what: str
    remedy: str = ""


def examine(client: HubClient, *, clock: Clock = system_clock) -> list[Finding]:
    """Take all six steps. What stands in the way of one is its finding; never raises `AgencyError`."""
    try:
        before_us = clock()
        greeting = client.channel.request(client.channel.http.build_request("GET", "/healthz"), stream=True)
        now_us = (before_us + clock()) // 2
        certificate = _certificate(greeting, now_us=now_us)  # while the connection is open: it goes with it
        greeting.close()
    except AgencyError as error:
        reach = Finding("TLS", False, error.what, error.remedy)
        return [_not_tried("clock", _TLS), reach, *map(_not_tried, ("key", "token", "agreements", "round trip"))]
    key, token = _sign_in(client)
    if not token.passed:
        by_date = _clock_by_date(greeting, now_us=now_us)
        return [by_date, certificate, key, token, _not_tried("agreements"), _not_tried("round trip")]
    agency: dict[str, Any] = {}
    agreements = _told("agreements", lambda: _agreements(client, agency, clock=clock))
    by_hub = _clock_by_hub(agency) or _clock_by_date(greeting, now_us=now_us)
    return [by_hub, certificate, key, token, agreements, _told("round trip", lambda: _round_trip(client))]


_TLS = "Put right TLS below; this one needs it."


def _not_tried(step: str, remedy: str = _FIRST) -> Finding:
    return Finding(step, False, "not tried", remedy)


def _told(step: str, attempt: Callable[[], Finding]) -> Finding:
    try:
        return attempt()
    except AgencyError as error:
        return Finding(step, False, error.what, error.remedy or _OPERATOR)


def _clock_by_hub(agency: Mapping[str, Any]) -> Finding | None:
    told_us, at_us = agency.get("time_us"), agency.get("asked_at_us")
    return _clock(at_us - told_us) if isinstance(told_us, int) and isinstance(at_us, int) else None


def _clock_by_date(greeting: httpx.Response, *, now_us: int) -> Finding:
    """Compare with the Date header (RFC 9110 6.6.1), which counts whole seconds."""
    try:
        date = parsedate_to_datetime(greeting.headers.get("date", ""))
    except ValueError:
        return Finding("clock", False, "the hub does not tell the time", "Check that the address is a hub's.")
    return _clock(
        now_us - int(date.timestamp()) * _US - _US // 2
    )  # half a second: the mean of what the header cuts off


def _clock(ahead_us: int) -> Finding:
    off_s = abs(ahead_us) / _US
    what = f"{off_s:.0f} s {'ahead of' if ahead_us > 0 else 'behind'} the hub's" if off_s >= 1 else "agrees to a second"
    if off_s > CLOCK_TOLERANCE_S:
        return Finding("clock", False, what, f"Set this machine's clock by NTP; {CLOCK_TOLERANCE_S} s are allowed.")
    return Finding("clock", True, what)


def _certificate(greeting: httpx.Response, *, now_us: int) -> Finding:
    if greeting.request.url.scheme == "http":  # the client's settings refuse it for any other machine
        return Finding("TLS", True, "plain http, and the hub is on this machine")
    stream = greeting.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    ends = (tls.getpeercert() or {}).get("notAfter") if tls is not None else None
    if not isinstance(ends, str):
        return Finding("TLS", False, "the certificate's end is not to be seen", "Ask who runs the proxy in between.")
    days = int((int(ssl.cert_time_to_seconds(ends)) * _US - now_us) / _DAY_US)
    what = f"the hub's certificate is trusted, for {days} more days"
    if days < CERTIFICATE_DAYS:
        return Finding("TLS", False, what, "Ask the hub's operator to renew it.")
    return Finding("TLS", True, what)


def _sign_in(client: HubClient) -> tuple[Finding, Finding]:
    """Judge key and token at once: the hub looks into an assertion only after a registered key has verified it."""
    registered = Finding("key", True, "yours alone, and registered at the hub")
    try:
        client.channel.access_token()
    except HubProblem as error:
        token = Finding("token", False, error.what, error.remedy or _OPERATOR)
        if error.problem.code in UNREGISTERED:
            return Finding("key", False, "the hub does not know it as this agency's", _REGISTER), token
        if error.problem.code.startswith("assertion-"):
            return registered, token
        return Finding("key", False, "the hub did not get as far as looking at it", token.remedy), token
    except AgencyError as error:
        return _not_tried("key"), Finding("token", False, error.what, error.remedy or _OPERATOR)
    return registered, Finding("token", True, "the hub gave an access token")


def _agreements(client: HubClient, into: dict[str, Any], *, clock: Clock) -> Finding:
    before_us = clock()
    into.update(client.agency())
    into["asked_at_us"] = (before_us + clock()) // 2
    counts = {name: len(into.get(name) or ()) for name in ("agreements", "subscriptions", "datasets")}
    if not any(counts.values()):
        return Finding("agreements", False, "none in force, and no dataset of one's own", _UNSIGNED)
    return Finding("agreements", True, ", ".join(f"{count} {name}" for name, count in counts.items()))


def _round_trip(client: HubClient) -> Finding:
    """Pull one delivery without waiting and acknowledge none: what was taken out comes again by itself, later."""
    page = client.pull(limit=1, wait_s=0)
    return Finding("round trip", True, "a delivery came; it comes again" if page.deliveries else "nothing is waiting")
