"""An agency's webhook: registered, proven, active, failing, disabled. Who sends is `hub/workers/webhook_sender.py`.

1. registered: the URL is checked, a signing key is made         2. proven: the endpoint repeats a random challenge
3. active: deliveries are posted; failing: tried again later and later; disabled after three days of nothing but
   failures, or at once where it answers 410: a notice in the agency's feed says why
Whatever its state, every delivery that was not acknowledged can be pulled.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from ipaddress import ip_network
from threading import Event, Lock
from typing import Any

from hub.core.errors import HubError, Kind
from hub.exchange.endpoints import Reach, Resolve, pin, read_endpoint, system_resolve
from hub.exchange.feed import rfc3339
from hub.exchange.post import Answer, Limits, Line, trusting
from hub.exchange.ways_out import let_pull, note_act, tell_agency
from hub.exchange.world import World
from hub.identity.keys import Wrapping
from hub.identity.webhook_keys import OVERLAP_US, Signer, new_webhook_key, shown, signer
from hub.logs import Log
from hub.parts import Part
from hub.settings import Settings
from hub.store.audit import Salt
from hub.store.engine import Tx
from hub.store.postponed import postponed
from hub.store.webhooks import (
    KeyRow,
    WebhookRow,
    add_webhook_key,
    drop_webhook,
    put_webhook,
    webhook_keys,
    webhook_of,
)

US = 1_000_000
FIRST_RETRY_S, GROWTH, LONGEST_RETRY_S = 5, 3, 4 * 3_600  # 5 s, 15 s, 45 s, ... 4 h: some 25 tries in three days
JITTER = (0.75, 1.25)  # receivers that failed together do not all hear from the hub together again
LONGEST_WISH_S = 24 * 3_600  # of a Retry-After: whoever asks for a month has to be disabled instead
GIVE_UP_US = 3 * 86_400 * US
LEAST_FAILURES = 10  # one failure last month and one today are not three days of failing
MEDIA_TYPE = "application/cloudevents+json"
PAGES = frozenset({"text/html", "application/xhtml+xml"})  # what a login page or a captive portal answers, with 200
GONE, REDIRECTS = 410, range(300, 400)
WORDS = {
    "refused": "no connection could be made",
    "tls": "its certificate is not trusted, or it speaks no TLS",
    "timeout": "it did not answer in time",
    "cut": "it closed the connection without an answer",
    "answer": "what it answered is not HTTP",
    "redirect": "it redirects; register the address that it redirects to",
    "html": "it answered with a page for people: something else stands in front of the receiver",
    "gone": "it answered 410: it wants nothing any more",
    "challenge": "its answer does not repeat the challenge",
    "webhook-address": "its name leads to an address that may not be reached",
    "webhook-unresolved": "its name has no address",
    "webhook-url": "its URL is not permitted any more",
}


@dataclass(frozen=True, slots=True)
class WebhookDesk:
    """All that webhooks need. `calls`: this process may call agencies; else another one proves endpoints."""

    world: Callable[[], World]
    salt: Salt
    wrapping: Wrapping  # what notices and stops are sealed under
    reach: Reach
    limits: Limits
    tls: ssl.SSLContext
    log: Log
    ring: Callable[[int], None] = lambda _recipient: None
    resolve: Resolve = system_resolve
    changed: Event = field(default_factory=Event)  # set when an endpoint came, went or became another
    calls: bool = True
    proving: set[str] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)


def open_webhooks(
    settings: Settings,
    world: Callable[[], World],
    *,
    salt: Salt,
    wrapping: Wrapping,
    log: Log,
    ring: Callable[[int], None],
) -> WebhookDesk:
    """Put the desk together from the settings. Raises HubError(STARTUP) where the CA file cannot be used."""
    try:
        tls = trusting(settings.webhook_ca_file)
    except (OSError, ssl.SSLError) as cause:
        raise HubError(
            Kind.STARTUP,
            "the file of authorities for webhooks cannot be used",
            where="webhook_ca_file",
            remedy="Name a PEM file of certificates in HUB_WEBHOOK_CA_FILE, or unset it.",
            code="webhook-ca-file",
        ) from cause
    networks = tuple(ip_network(each) for each in settings.webhook_private_networks)
    reach = Reach(networks, loopback=settings.mode != "production")
    limits = Limits(settings.webhook_connect_s, settings.webhook_answer_s)
    return WebhookDesk(world, salt, wrapping, reach, limits, tls, log, ring, calls=Part.WEBHOOKS in settings.parts)


def register(desk: WebhookDesk, agency: str, url: str) -> bool:
    """Take an endpoint in place of the former one; says whether it has to prove itself (`webhook_proof.prove`).

    Raises HubError(INVALID) where the URL is refused. The same URL again changes nothing while it works.
    """
    world = desk.world()
    endpoint = read_endpoint(url, desk.reach)
    pin(endpoint, desk.reach, desk.resolve)
    now_us = world.clock()

    def transaction(tx: Tx) -> bool:
        present = webhook_of(tx, agency)
        if present is not None and present.url == url and present.state in ("active", "failing"):
            return False
        put_webhook(tx, WebhookRow(agency, url, "unproven", since_us=now_us))
        if not webhook_keys(tx, agency, now_us):
            add_webhook_key(tx, new_webhook_key(world.keys.wrapping, agency, now_us=now_us), former_until_us=now_us)
        said = {"act": "webhook.registered", "agency": agency, "host": endpoint.host, "port": endpoint.port}
        note_act(tx, desk.salt, said, now_us=now_us)
        return True

    if not world.store.write(transaction):
        return False
    desk.changed.set()
    desk.log.info("webhook.registered", agency=agency)
    return True


def show(desk: WebhookDesk, agency: str) -> dict[str, Any]:
    """Say how an agency's endpoint is, and which keys its messages are signed with. Raises HubError(NOT_FOUND)."""
    world = desk.world()
    with world.store.read() as tx:
        row, keys = webhook_of(tx, agency), webhook_keys(tx, agency, world.clock())
        waiting = len(postponed(tx, world.catalogue.agencies[agency].number))
    if row is None:
        raise absent()
    said: dict[str, Any] = {"url": row.url, "state": row.state, "since": rfc3339(row.since_us)}
    if row.reason:
        said |= {"reason": row.reason, "detail": in_words(row.reason)}
    if row.state == "failing":
        said |= {"failures": row.failures, "next_try": rfc3339(row.next_us)}
    said["retrying"] = waiting
    said["keys"] = [
        {"kid": one.kid, "public_key": shown(one.public), "from": rfc3339(one.from_us)}
        | ({"until": rfc3339(one.until_us)} if one.until_us < 2**61 else {})
        for one in keys
    ]
    return said


def remove(desk: WebhookDesk, agency: str) -> None:
    """Post nothing any more. Its keys stay, for it may come back. Raises HubError(NOT_FOUND)."""
    world = desk.world()
    now_us = world.clock()

    def transaction(tx: Tx) -> None:
        if not drop_webhook(tx, agency):
            raise absent()
        note_act(tx, desk.salt, {"act": "webhook.removed", "agency": agency}, now_us=now_us)

    world.store.write(transaction)
    desk.changed.set()
    let_pull(world, agency)


def rotate(desk: WebhookDesk, agency: str) -> dict[str, Any]:
    """Sign with a new key as well; the former one signs for a day more. Raises HubError NOT_FOUND, CONFLICT."""
    world = desk.world()
    now_us = world.clock()

    def transaction(tx: Tx) -> KeyRow:
        present = webhook_keys(tx, agency, now_us)
        if not present:
            raise absent()
        if len(present) > 1:
            raise HubError(
                Kind.CONFLICT,
                "the key was rotated less than a day ago; the one before it still signs too",
                remedy=f"Rotate again after {rfc3339(min(one.until_us for one in present))}.",
                code="webhook-key-fresh",
            )
        key = new_webhook_key(world.keys.wrapping, agency, now_us=now_us)
        add_webhook_key(tx, key, former_until_us=now_us + OVERLAP_US)
        note_act(tx, desk.salt, {"act": "webhook.key.rotated", "agency": agency, "kid": key.kid}, now_us=now_us)
        return key

    key = world.store.write(transaction)
    desk.changed.set()
    desk.log.warning("webhook.key.rotated", agency=agency)
    return {"kid": key.kid, "public_key": shown(key.public), "former_until": rfc3339(now_us + OVERLAP_US)}


def signers_of(desk: WebhookDesk, agency: str) -> list[Signer]:
    world = desk.world()
    with world.store.read() as tx:
        rows = webhook_keys(tx, agency, world.clock())
    return [signer(world.keys.wrapping, row) for row in rows]


def connect(desk: WebhookDesk, url: str) -> Line:
    """Resolve, check, and connect to what was checked. Raises HubError(INVALID), Unanswered."""
    endpoint = read_endpoint(url, desk.reach)
    addresses = pin(endpoint, desk.reach, desk.resolve)
    return Line(url, endpoint, addresses, tls=desk.tls, limits=desk.limits)


def failure_of(answer: Answer) -> str:
    """Say why an answer is no success; "" where it is: any 2xx, whatever its body, unless it is a page for people."""
    if answer.status == GONE:
        return "gone"
    if answer.status in REDIRECTS:
        return "redirect"
    if not answer.is_success:
        return f"http-{answer.status}"
    return "html" if answer.media_type in PAGES else ""


def in_words(reason: str) -> str:
    return WORDS.get(reason) or f"it answered {reason.removeprefix('http-')}"


def pause_us(failures: int, *, jitter: float, wish_s: int = 0) -> int:
    """Say how long to wait after so many failures in a row; no less than the receiver wished, within reason."""
    grown_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * GROWTH ** min(failures - 1, 10))
    return int(max(grown_s * jitter, min(wish_s, LONGEST_WISH_S)) * US)


def wished_s(retry_after: str, now_us: int) -> int:
    """Read Retry-After: seconds, or an HTTP date (RFC 9110 section 10.2.3); 0 where it is neither."""
    if retry_after.isascii() and retry_after.isdecimal():
        return min(int(retry_after[:9]), LONGEST_WISH_S)
    try:
        return max(0, int(parsedate_to_datetime(retry_after).timestamp()) - now_us // US)
    except (ValueError, TypeError, OverflowError):
        return 0


def note_success(desk: WebhookDesk, row: WebhookRow) -> None:
    """Let a failing endpoint be active again."""
    if row.state != "failing":
        return
    world = desk.world()

    def transaction(tx: Tx) -> None:
        if (present := webhook_of(tx, row.agency)) is not None and present.state == "failing":
            put_webhook(tx, WebhookRow(row.agency, present.url, "active", since_us=world.clock()))

    world.store.write(transaction, group=True)
    desk.log.info("webhook.recovered", agency=row.agency)


def note_failure(desk: WebhookDesk, row: WebhookRow, reason: str, *, wait_us: Callable[[int], int]) -> None:
    """Note a round without one success. `wait_us` says, of so many failures in a row, when to try again.

    Disables the endpoint, with a notice in its agency's feed, where it said 410 or has only failed for three days.
    """
    world = desk.world()
    now_us = world.clock()

    def transaction(tx: Tx) -> str:
        present = webhook_of(tx, row.agency)
        if present is None or present.url != row.url or present.state not in ("active", "failing"):
            return ""
        failures = present.failures + 1
        since_us = present.since_us if present.state == "failing" else now_us
        if reason == "gone" or (now_us - since_us >= GIVE_UP_US and failures >= LEAST_FAILURES):
            put_webhook(tx, WebhookRow(row.agency, row.url, "disabled", reason, now_us, failures=failures))
            said = {"act": "webhook.disabled", "agency": row.agency, "reason": reason, "failures": failures}
            audit = note_act(tx, desk.salt, said, now_us=now_us)
            text = {
                "type": "webhook.disabled", "reason": reason, "detail": in_words(reason),
                "failing_since": rfc3339(since_us), "failures": failures,
            }  # fmt: skip
            tell_agency(world, tx, row.agency, text, audit=audit, now_us=now_us)
            return "disabled"
        put_webhook(
            tx, WebhookRow(row.agency, row.url, "failing", reason, since_us, now_us + wait_us(failures), failures)
        )
        return "failing"

    outcome = world.store.write(transaction)
    if outcome == "disabled":
        desk.log.warning("webhook.disabled", agency=row.agency, code=reason)
        desk.changed.set()
        let_pull(world, row.agency)
        desk.ring(world.catalogue.agencies[row.agency].number)
    elif outcome:
        desk.log.warning("webhook.failing", agency=row.agency, code=reason)


def absent() -> HubError:
    return HubError(
        Kind.NOT_FOUND,
        "no webhook is registered",
        remedy="Register one: PUT /v1/webhook, or `hub-agency webhook set URL`.",
        code="webhook-unknown",
    )
