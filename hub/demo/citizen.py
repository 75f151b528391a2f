"""A citizen at the citizens' JSON API: signs in, reads, says yes or no, withdraws, sees who got what."""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from hub.core.errors import HubError, Kind
from hub.demo.tally import Seen

TIMEOUT_S = 20.0
CSRF = "x-csrf-token"


class Withdrawn(NamedTuple):
    """What a withdrawal gave back, and how long it took as its person waited."""

    receipt: Mapping[str, Any]
    took_ms: float


class Use(NamedTuple):
    """One line of the page of switches: what would go to whom. `choice`: the person decides, and said yes."""

    offer: Mapping[str, Any]
    choice: bool


class Citizen:
    """One signed-in person. Use as a context manager."""

    def __init__(self, address: str, *, person: str, on: str = "") -> None:
        """Sign in as `person`, on behalf of `on` where it is not empty. Both as AGENCY:ITS-OWN-ID."""
        self._http = httpx.Client(base_url=address, trust_env=False, timeout=TIMEOUT_S)
        self._csrf = ""
        body = {"person": person} | ({"for": on} if on else {})
        self._csrf = str(self._send("POST", "/dev/sign-in", body)["csrf"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def request_for(self, recipient: str, purpose: str) -> Mapping[str, Any]:
        """Find the question that a recipient put into the inbox."""
        for one in self._send("GET", "/v1/me/inbox")["requests"]:
            if (one["offer"]["recipient"], one["offer"]["purpose"]) == (recipient, purpose):
                return dict(one)
        raise _missing("there is no such question in the inbox")

    def consent_for(self, recipient: str, purpose: str) -> Mapping[str, Any]:
        """Find the consent that runs for a purpose."""
        for one in self._send("GET", "/v1/me/consents")["consents"]:
            if (one["offer"]["recipient"], one["offer"]["purpose"]) == (recipient, purpose):
                return dict(one)
        raise _missing("there is no such consent")

    def uses(self) -> list[Use]:
        """Return every use of this person's data that they can see: what the law allows, and what they said yes to."""
        found = self._send("GET", "/v1/me/consents")
        return [Use(one["offer"], choice=False) for one in found["by_law"]] + [
            Use(one["offer"], choice=True) for one in found["consents"]
        ]

    def grant(self, consent: str, *, until: str = "") -> Mapping[str, Any]:
        return self._send("POST", f"/v1/me/consents/{consent}/grant", {"until": until} if until else {})

    def grant_unasked(self, recipient: str, purpose: str) -> Mapping[str, Any]:
        return self._send("POST", "/v1/me/consents", {"recipient": recipient, "purpose": purpose})

    def refuse(self, consent: str) -> Mapping[str, Any]:
        return self._send("POST", f"/v1/me/consents/{consent}/refuse", {})

    def object_to(self, recipient: str, purpose: str) -> Mapping[str, Any]:
        return self._send("POST", "/v1/me/objections", {"recipient": recipient, "purpose": purpose})

    def withdraw(self, consent: str) -> Withdrawn:
        """End a consent, and measure the way there and back."""
        began = time.perf_counter()
        receipt = self._send("POST", f"/v1/me/consents/{consent}/withdraw", {})
        return Withdrawn(receipt, (time.perf_counter() - began) * 1000)

    def decisions(self) -> Iterator[Seen]:
        """Read the whole history, newest first, of what was decided about this person."""
        after = ""
        while True:
            page = self._send("GET", f"/v1/me/history{after}")
            for entry in page["entries"]:
                if entry["kind"] == "decision":
                    yield _seen(entry)
            if page.get("after") is None:
                return
            after = f"?after={page['after']}"

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        response = self._http.request(method, path, json=body, headers={CSRF: self._csrf} if self._csrf else {})
        document = response.json() if response.content else {}
        if not response.is_success:
            raise HubError(
                Kind.INVALID,
                f"the hub answered a citizen with {response.status_code}: {document.get('detail', '')}",
                remedy=str(document.get("remedy", "")),
                code="demo-citizen",
            )
        return dict(document)


def _seen(entry: Mapping[str, Any]) -> Seen:
    return Seen(
        int(entry["audit"]),
        str(entry["case"]),
        str(entry["dataset"]),
        str(entry["recipient"]),
        str(entry["purpose"]),
        str(entry["role"]),
        str(entry["outcome"]),
        tuple(entry["reasons"]),
        bool(entry["handed_out"]),
    )


def _missing(what: str) -> HubError:
    return HubError(Kind.NOT_FOUND, what, remedy="Start the demo anew.", code="demo-citizen")
