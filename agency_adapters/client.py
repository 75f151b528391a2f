"""The client of the hub: publish, ask what became of it, take deliveries, link people, ask for consent."""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from secrets import token_urlsafe
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from joserfc.jwk import OKPKey

from agency_adapters.channel import TIMEOUT_S, Ask, Channel, Settings, open_http
from agency_adapters.clock import Clock, system_clock
from agency_adapters.errors import AgencyError, HubProblem, json_object, objects
from agency_adapters.results import (
    Accepted,
    Acknowledged,
    CloudEvent,
    Delivery,
    Page,
    PublishResult,
    PublishStopped,
    Refused,
    delivery_of,
    outcomes_of,
)
from agency_adapters.sealing import SealKeys, open_sealed
from agency_adapters.seen import Seen

KNOWN_KINDS = frozenset({"data", "correction", "stop", "delete", "test"})  # an ask is for who answers: asks.py
NOTICE = "notice"  # may be acknowledged unread, so that later kinds of message never block an old client
PAGE_DELIVERIES = 500  # the hub's limit for a page and for one call of acknowledgements
PAGE_LINKS = 500
LONGEST_WAIT_S = 30  # the hub's limit for a long poll
LONGEST_PROOF_S = 150.0  # the hub waits at most a minute for a connection and one for an answer
REFUSES_AN_EVENT = frozenset({400, 404, 413, 422})  # said of the event itself; 401, 403, 429, 5xx are of the caller


class HubClient:
    """An agency's line to one hub. Use as a context manager; safe to share between threads."""

    def __init__(
        self, settings: Settings, key: OKPKey, *, clock: Clock = system_clock, seal_keys: SealKeys = ()
    ) -> None:
        """Open the client. Nothing is sent yet. Raises `AgencyError` when the CA file cannot be read.

        `seal_keys`: what deliveries are opened with where this agency has them sealed.
        """
        self._seal_keys = seal_keys
        self.channel = Channel(settings, key, open_http(settings), clock=clock)
        self._batch_events = settings.batch_events

    def __enter__(self) -> Self:
        """Open for a `with` block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close after it."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.channel.http.close()

    def publish(self, events: Sequence[CloudEvent], *, dry_run: bool = False) -> PublishResult:
        """Publish in batches, repeating a batch under the same ids until the hub answers for it.

        Raises `PublishStopped` when it cannot go on; events already answered for are in its `done`.
        """
        done: list[Accepted | Refused] = []
        try:
            for first in range(0, len(events), self._batch_events):
                done += self._publish_batch(events[first : first + self._batch_events], first=first, dry_run=dry_run)
        except AgencyError as error:
            raise PublishStopped(error, done=PublishResult(tuple(done)), given=len(events)) from error
        return PublishResult(tuple(done))

    def _publish_batch(self, batch: Sequence[CloudEvent], *, first: int, dry_run: bool) -> list[Accepted | Refused]:
        """Publish one batch; halve it where it is too large for one request, down to single events."""
        try:
            body = self._post_events(batch, dry_run=dry_run)
        except HubProblem as error:
            if error.problem.status == httpx.codes.REQUEST_ENTITY_TOO_LARGE and len(batch) > 1:
                half = len(batch) // 2
                return self._publish_batch(batch[:half], first=first, dry_run=dry_run) + self._publish_batch(
                    batch[half:], first=first + half, dry_run=dry_run
                )
            if len(batch) == 1 and error.problem.status in REFUSES_AN_EVENT:
                return [Refused(first, str(batch[0].get("id", "")), error.problem)]
            if error.problem.status != httpx.codes.UNPROCESSABLE_ENTITY or "items" not in error.body:
                raise
            body = error.body  # a batch of which nothing was accepted: each item says why
        return outcomes_of(body, batch, first=first)

    def _post_events(self, batch: Sequence[CloudEvent], *, dry_run: bool) -> Mapping[str, Any]:
        single = len(batch) == 1
        media_type = "application/cloudevents+json" if single else "application/cloudevents-batch+json"
        body = _json(batch[0] if single else list(batch))
        params = {"dry_run": "true"} if dry_run else {}
        return json_object(self.channel.send(Ask("POST", "/v1/events", params, body, media_type)))

    def status(self, token: str) -> str:
        """Ask what became of an event: accepted, waiting, handled, expired, failed or conflict.

        Raises `HubProblem` (404: not yours).
        """
        return str(json_object(self.channel.send(Ask("GET", f"/v1/events/{quote(token, safe='')}"))).get("state", ""))

    def pull(self, limit: int = PAGE_DELIVERIES, wait_s: int = 0) -> Page:
        """Take up to `limit` (1..500) deliveries, waiting up to `wait_s` (0..30) for the first."""
        params = {"limit": str(limit), "wait_s": str(wait_s)}
        body = json_object(self.channel.send(Ask("GET", "/v1/deliveries", params, read_s=TIMEOUT_S + wait_s)))
        opened = [open_sealed(item, self._seal_keys) for item in objects(body, "deliveries")]
        return Page(tuple(delivery_of(item) for item in opened), bool(body.get("more")))

    def acknowledge(
        self, deliveries: Sequence[Delivery], *, fields_used: Mapping[str, Sequence[str]] | None = None
    ) -> Acknowledged:
        """Tell the hub that these are handled; `fields_used` may name, by id, what was needed of each.

        Raises `HubProblem` (404) when one was never handed out to this agency: then none of its call is acknowledged.
        """
        used = fields_used or {}
        acknowledged = already = 0
        for first in range(0, len(deliveries), PAGE_DELIVERIES):
            items = [
                {"number": one.number, "id": one.id, **({"fields_used": list(used[one.id])} if one.id in used else {})}
                for one in deliveries[first : first + PAGE_DELIVERIES]
            ]
            body = self._post("/v1/deliveries/acknowledgements", {"acknowledgements": items})
            acknowledged += int(body.get("acknowledged", 0))
            already += int(body.get("already", 0))
        return Acknowledged(acknowledged, already)

    def deliveries(
        self, seen: Seen, *, limit: int | None = None, wait_s: int = 0, kinds: Set[str] = KNOWN_KINDS
    ) -> Iterator[Delivery]:
        """Yield what is there, each once; asking for the next says that the last one is handled.

        1. pull a page (the first waits up to `wait_s` seconds, 0 or more)   2. drop what was handled before
        3. yield; when the caller returns, remember it as handled            4. acknowledge the page
        A delivery of a kind this client does not know is yielded, never acknowledged and never remembered: it comes
        again to a newer client. A `notice` is acknowledged like the known ones. An exception in the caller's loop ends
        it before step 4, and what was not handled comes again. `kinds`: those that the caller handles.
        """
        left = limit
        waited_s = 0
        unknown: set[str] = set()
        while left is None or left > 0:
            wait_now_s = min(LONGEST_WAIT_S, wait_s - waited_s)
            page = self.pull(min(PAGE_DELIVERIES, left or PAGE_DELIVERIES), wait_now_s)
            waited_s += wait_now_s
            handled: list[Delivery] = []
            for delivery in page.deliveries:
                known = delivery.kind in kinds or delivery.kind == NOTICE
                if delivery.id not in unknown and not seen.has(delivery.id, delivery.kind):
                    left = None if left is None else left - 1
                    yield delivery
                    if known:
                        seen.add(delivery.id, delivery.kind)
                if known:
                    handled.append(delivery)
                else:
                    unknown.add(delivery.id)
            if handled:
                self.acknowledge(handled)
                waited_s = wait_s  # the wait is for the first ones; from here on only what is there
            if not (page.more if handled else waited_s < wait_s):
                return

    def link(self, links: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Link local ids to people (agencies with that right). Each link: agency, local_id, mine, level 1..3, born?

        Returns the hub's answer per link, in order. Linking the same again changes nothing but its level,
        which is what was said last.
        """
        return self._links("/v1/links", links)

    def unlink(self, links: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Undo links, each named by agency and local_id. Returns the hub's answer per link, in order."""
        return self._links("/v1/links/undo", links)

    def dispute(self, links: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Put links in doubt, each named by agency and local_id: what rests on them waits. As `unlink` answers."""
        return self._links("/v1/links/dispute", links)

    def settle(self, links: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Say of disputed links that they are right: what waited goes on. As `unlink` answers."""
        return self._links("/v1/links/settle", links)

    def _links(self, path: str, links: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        answers: list[Mapping[str, Any]] = []
        for first in range(0, len(links), PAGE_LINKS):
            page = list(links[first : first + PAGE_LINKS])
            try:
                body = self._post(path, {"links": page})
            except HubProblem as error:
                if error.problem.status != httpx.codes.UNPROCESSABLE_ENTITY or "items" not in error.body:
                    raise
                body = error.body
            items = objects(body, "items")
            answers += [{**item, "index": first + int(item.get("index", at))} for at, item in enumerate(items)]
        return answers

    def request_consent(self, subject: str, purpose: str, *, deadline: str | None = None) -> str:
        """Ask a person for consent, naming them by the agency's own id; return the request's id.

        Not repeated when the line breaks in between, for a second one would ask the person twice.
        """
        body: dict[str, Any] = {"subject": subject, "purpose": purpose}
        if deadline is not None:
            body["deadline"] = deadline
        return str(self._post("/v1/consent-requests", body, repeatable=False).get("id", ""))

    def ask(
        self,
        subject: str,
        purpose: str,
        dataset: str,
        *,
        case: str,
        fields: Sequence[str] = (),
        actor: str = "",
        deadline: str | None = None,
        ask_id: str | None = None,
    ) -> Mapping[str, Any]:
        """Ask a dataset's provider about a person, named by this agency's own id; return the ask with its state.

        No `fields`: all that is agreed. Repeated under the same `ask_id` (one is made where none is given) until the
        hub answers, so nobody is asked twice. The answer comes as a delivery whose `ask` is the ask's id.
        """
        body: dict[str, Any] = {"subject": subject, "purpose": purpose, "dataset": dataset, "case": case}
        body |= {"fields": list(fields), "actor": actor, "id": ask_id or token_urlsafe(16)}
        return self._post("/v1/asks", body if deadline is None else {**body, "deadline": deadline})

    def asked(self, ask: str, *, wait_s: int = 0) -> Mapping[str, Any]:
        """Say how an ask stands, waiting up to `wait_s` (0..30) for it to be closed. Raises `HubProblem` (404)."""
        path = f"/v1/asks/{quote(ask, safe='')}"
        return json_object(self.channel.send(Ask("GET", path, {"wait_s": str(wait_s)}, read_s=TIMEOUT_S + wait_s)))

    def no_answer(self, ask: str) -> Mapping[str, Any]:
        """Say that this agency has no answer to what it is asked. Raises `HubProblem` (409: closed otherwise)."""
        return self._post(f"/v1/asks/{quote(ask, safe='')}/no-answer", {})

    def agency(self) -> Mapping[str, Any]:
        """Return what the hub knows of this agency: agreements in force, subscriptions, datasets, `time_us`."""
        return json_object(self.channel.send(Ask("GET", "/v1/agency")))

    def webhook(self) -> Mapping[str, Any]:
        """Say how this agency's webhook is, and with which public keys the hub signs. Raises `HubProblem` (404)."""
        return json_object(self.channel.send(Ask("GET", "/v1/webhook")))

    def set_webhook(self, url: str) -> Mapping[str, Any]:
        """Register an address and have it proven; returns its state. Raises `HubProblem` (422) for a refused one."""
        body = _json({"url": url})
        return json_object(self.channel.send(Ask("PUT", "/v1/webhook", body=body, read_s=LONGEST_PROOF_S)))

    def prove_webhook(self) -> Mapping[str, Any]:
        """Have the registered address proven again; returns its state."""
        return json_object(self.channel.send(Ask("POST", "/v1/webhook/prove", read_s=LONGEST_PROOF_S)))

    def rotate_webhook_key(self) -> Mapping[str, Any]:
        """Have the hub sign with a new key as well; returns it. The former one signs for a day more."""
        return json_object(self.channel.send(Ask("POST", "/v1/webhook/rotate", repeatable=False)))

    def remove_webhook(self) -> None:
        """Have nothing posted any more."""
        self.channel.send(Ask("DELETE", "/v1/webhook", repeatable=False))

    def set_sealing_key(self, jwk: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have payloads sealed to this public X25519 key from now on. Raises `HubProblem` (422)."""
        return json_object(self.channel.send(Ask("PUT", "/v1/sealing-key", body=_json({"jwk": dict(jwk)}))))

    def sealing_key(self) -> Mapping[str, Any]:
        """Say which key payloads are sealed to. Raises `HubProblem` (404) where there is none."""
        return json_object(self.channel.send(Ask("GET", "/v1/sealing-key")))

    def end_sealing_key(self) -> None:
        """Have payloads sealed no more."""
        self.channel.send(Ask("DELETE", "/v1/sealing-key", repeatable=False))

    def catalogue(self) -> Mapping[str, Any]:
        """Return what is agreed for this agency, and the schemas of what it gets and of what it publishes."""
        return json_object(self.channel.send(Ask("GET", "/v1/catalogue")))

    def asyncapi(self) -> Mapping[str, Any]:
        """Return the AsyncAPI 3 document of what this agency gets."""
        return json_object(self.channel.send(Ask("GET", "/v1/asyncapi.json")))

    def backfills(self) -> list[Mapping[str, Any]]:
        """List the backfills that this agency gets, and with their `cursor` those that it fills."""
        return list(objects(json_object(self.channel.send(Ask("GET", "/v1/backfills"))), "backfills"))

    def open_backfill(self, *, agreement: str, purpose: str, dataset: str) -> Mapping[str, Any]:
        """Ask the provider of a subscription for what it held already. Raises `HubProblem` (409: open, or done)."""
        wish = {"agreement": agreement, "purpose": purpose, "dataset": dataset}
        return self._post("/v1/backfills", wish, repeatable=False)

    def backfill_progress(self, backfill: str, *, cursor: str, persons: int) -> Mapping[str, Any]:
        """Keep a bookmark (at most 256 characters) at the hub, sealed, and say how many persons there are in all."""
        return self._post(f"/v1/backfills/{quote(backfill, safe='')}/progress", {"cursor": cursor, "persons": persons})

    def end_backfill(self, backfill: str) -> Mapping[str, Any]:
        """Say that everything was sent. Said again it changes nothing. Raises `HubProblem` (409: closed)."""
        return self._post(f"/v1/backfills/{quote(backfill, safe='')}/end", {})

    def _post(self, path: str, document: Mapping[str, Any], *, repeatable: bool = True) -> Mapping[str, Any]:
        return json_object(self.channel.send(Ask("POST", path, body=_json(document), repeatable=repeatable)))


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
