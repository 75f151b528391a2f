"""Whatever is sent to any address, by anybody, in any shape: an answer, and never a failure of the hub.

A few seconds in the usual run; HUB_FUZZ_S says how many for a long one.
"""

import json
import os
import random
import string
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import orjson
import pytest

from tests.world import Town, birth, link_family, town

pytestmark = pytest.mark.engines

SECONDS = float(os.environ.get("HUB_FUZZ_S", "4"))
SEED = int(os.environ.get("HUB_FUZZ_SEED", "20261102"))
AGENCIES = ("civil-registry", "population-register", "family-benefits", "lindum", "nobody")
KINDS = (
    "application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/csv", "text/plain",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/json; charset=utf-16",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, -0.0, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, "", " ", "0",
    "\x00", "\x1f", "\u202e", "\ud800", "ﬀ", "e\u0301", "x" * 255, "x" * 256, "x" * 257, "𝕏" * 128, "civil-registry",
    "C-1", "R-C-1", "2026-02-30", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59",
    "2026-11-02T09:00:00Z", "..", "%", "%00", "'; DROP TABLE queue; --", "KINDER-PLACE", "lindum", [], {},
    [[]], [None], {"": ""}, {"a": {}},
)  # fmt: skip
RAW = (
    b"", b"{", b"[", b"null", b"NaN", b"[1e999]", b'{"a":1,"a":2}', b"\xff\xfe", b"\xef\xbb\xbf{}", b'"\\ud800"',
    b"[" * 2_000, b'{"a":' * 1_000, b"1" * 5_000, b"agency,local_id,mine,level\n" + b'"', b"a" * 200_000, b"\x00" * 64,
    b"[" * 300 + b"]" * 300,
)  # fmt: skip
FORMS: dict[str, dict[str, Any]] = {
    "/v1/consent-requests": {"subject": "FB-C-1", "purpose": "KINDER-PLACE", "deadline": "2026-12-01T00:00:00Z"},
    "/v1/deliveries/acknowledgements": {"acknowledgements": [{"number": 1, "id": "0" * 32, "fields_used": ["dob"]}]},
    "/v1/links": {"links": [{"agency": "lindum", "local_id": "L-1", "mine": "R-1", "level": 3, "born": "2020-01-01"}]},
    "/v1/links/undo": {"links": [{"agency": "lindum", "local_id": "L-1"}]},
    "/v1/links/dispute": {"links": [{"agency": "lindum", "local_id": "L-1"}]},
    "/v1/links/settle": {"links": [{"agency": "lindum", "local_id": "L-1"}]},
    "/v1/me/consents": {"recipient": "lindum", "purpose": "KINDER-PLACE", "items": [{"dataset": "d", "field": "f"}]},
    "/v1/me/consents/x/grant": {"items": [{"dataset": "d", "field": "f"}], "until": "2026-12-01T00:00:00Z"},
    "/v1/me/consents/x/narrow": {"items": [{"dataset": "civil.birth.registered", "field": "dob"}]},
    "/v1/me/consents/x/withdraw": {},
    "/v1/me/objections": {"recipient": "family-benefits", "purpose": "FAM-ALLOW"},
    "/dev/sign-in": {"person": "population-register:R-C-1", "for": "civil-registry:P-1", "assurance": 2},
    "/demo/agency-keys": {"agency": "lindum", "jwk": {"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": "AA"}},
    "/oauth/token": {"grant_type": "client_credentials", "client_assertion": "a.b.c"},
}
LOOKS = (
    "/v1/agency", "/v1/deliveries?limit={}&wait_s=0", "/v1/events/{}", "/v1/me", "/v1/me/inbox", "/v1/me/consents",
    "/v1/me/history?after={}", "/v1/me/receipts/{}", "/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", "/{}",
)  # fmt: skip


class Fuzzer:
    """Makes requests from one seed, so that a failing one can be made again."""

    def __init__(self, place: Town, seed: int) -> None:
        self.place, self.dice = place, random.Random(seed)
        self.tokens = {code: place.hub.agency_tokens.issue(code, "").token for code in AGENCIES[:-1]}
        self.http = httpx.Client(base_url=place.url, timeout=20)
        person = {"person": "population-register:R-C-1"}
        self.csrf = str(self.http.post("/dev/sign-in", json=person).json()["csrf"])

    def bent(self, value: Any) -> Any:
        """Return the value with one thing in it replaced, left out, doubled or misnamed."""
        if self.dice.random() < 0.2 or not isinstance(value, dict | list) or not value:
            return self.dice.choice(ODD)
        if isinstance(value, list):
            at = self.dice.randrange(len(value))
            return [*value[:at], self.bent(value[at]), *value[at + 1 :]]
        name = self.dice.choice(sorted(value))
        how = self.dice.randrange(4)
        if how == 0:
            return {key: one for key, one in value.items() if key != name}
        if how == 1:
            return {**value, self.dice.choice(("", "\u202e", "x" * 300, "Jane Doe")): self.dice.choice(ODD)}
        return {**value, name: self.bent(value[name])}

    def body(self, form: Any) -> bytes:
        if self.dice.random() < 0.15:
            return self.dice.choice(RAW)
        for _ in range(self.dice.randrange(4)):
            form = self.bent(form)
        written = json.dumps(form).encode()
        if self.dice.random() < 0.1:
            at = self.dice.randrange(len(written) + 1)
            return written[:at] + self.dice.randbytes(self.dice.randrange(4)) + written[at + self.dice.randrange(4) :]
        return written

    def headers(self) -> dict[str, str]:
        agency = self.dice.choice(AGENCIES)
        token = self.tokens.get(agency, "".join(self.dice.choices(string.printable[:90], k=40)).strip() or "x")
        given = {"authorization": f"Bearer {token}", "x-csrf-token": self.dice.choice((self.csrf, "", "0"))}
        given["content-type"] = self.dice.choice((*KINDS[:3], *KINDS))
        given["accept-language"] = self.dice.choice(("en", "ar;q=2", "x" * 500, ",,;q=;q", "zh;q=nan"))
        if self.dice.random() < 0.1:
            given["cookie"] = self.dice.choice(("hub_session=x", "hub_session=", "=;;", "hub_session=" + "x" * 5_000))
        if self.dice.random() < 0.1:
            event = birth()
            given |= {
                f"ce-{name}": str(self.dice.choice((event[name], "%ff", "%00", "")))
                for name in ("id", "source", "type")
            } | {"ce-specversion": "1.0", "ce-subject": "C-1", "ce-time": str(event["time"])}
        return given

    def ask(self) -> httpx.Response:
        """Send one request."""
        draw = self.dice.random()
        headers = self.headers()
        if draw < 0.25:
            odd = self.dice.choice(("0", "-1", "9" * 30, "st1.AAAA", "%ff%00", "..%2f", "é", "1e5", " ", "x" * 3_000))
            return self.http.request(
                self.dice.choice(("GET", "HEAD", "DELETE", "PUT", "OPTIONS")),
                self.dice.choice(LOOKS).replace("{}", odd), headers=headers,
            )  # fmt: skip
        if draw < 0.6:
            event = birth(str(self.dice.randrange(50)))
            form: Any = [event, birth("b")] if self.dice.random() < 0.5 else event
            kind = self.dice.choice(KINDS[1:3])
            dry = self.dice.choice(("", "?dry_run=true", "?dry_run=x"))
            return self.http.post(
                f"/v1/events{dry}", content=self.body(form), headers={**headers, "content-type": kind}
            )
        path = self.dice.choice(sorted(FORMS))
        return self.http.post(path, content=self.body(FORMS[path]), headers=headers)


def test_no_request_of_any_shape_is_a_failure_of_the_hub(tmp_path: Path) -> None:
    """Bent, cut, odd and hostile requests, some thousand in the usual run: none is answered by 500."""
    burst = 1_000_000
    with town(tmp_path, quota_requests_per_s=burst, quota_requests_burst=burst, quota_events_burst=burst) as place:
        link_family(place)
        fuzzer, answers = Fuzzer(place, SEED), 0
        end_s = monotonic() + SECONDS
        while monotonic() < end_s:
            answered = fuzzer.ask()
            answers += 1
            assert answered.status_code != 500, (answers, answered.request.url, answered.request.content[:300])
            if answered.status_code >= 400 and answered.request.method != "HEAD":
                assert orjson.loads(answered.content)["title"], answered.request.url
        fuzzer.http.close()
        assert "request.failed" not in place.said.getvalue()
        assert "worker.failed" not in place.said.getvalue()
        assert place.hub.troubles() == ()
