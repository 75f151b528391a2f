"""What somebody who means harm sends to the doors: each is answered with a problem, and stops nobody else."""

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import Message

from hub.core.catalogue import from_document, to_document
from hub.web.apps import public_app
from hub.web.bodies import FORM_BYTES
from tests.citizen_world import code_of
from tests.world import Town, birth, link, link_family, town

pytestmark = pytest.mark.engines

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
DEEP = b"[" * 300 + b"]" * 300  # a parser takes more levels than a writer or a validator
MB = 1_000_000


@pytest.fixture(scope="module")
def place(engine_set: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("town")) as running:
        link_family(running)
        yield running


def post(
    place: Town, path: str, body: bytes, *, agency: str = "", kind: str = "application/json", **headers: str
) -> httpx.Response:
    """Send bytes as they are, as an agency where one is named."""
    if agency:
        headers["authorization"] = f"Bearer {place.hub.agency_tokens.issue(agency, '').token}"
    return httpx.post(place.url + path, content=body, headers={"content-type": kind, **headers}, timeout=30)


def nested(event: dict[str, Any]) -> bytes:
    """Write an event whose data holds something nested deeper than anybody needs."""
    event["data"]["x"] = 0
    return orjson.dumps(event).replace(b'"x":0', b'"x":' + DEEP)


def test_an_event_nested_too_deeply_is_refused_and_not_a_failure(place: Town) -> None:
    """A structured event that parses but that no validator walks through gets a problem of its own."""
    answer = post(place, "/v1/events", nested(birth("deep")), agency="civil-registry", kind=STRUCTURED)
    assert (answer.status_code, code_of(answer)) == (422, "event-schema")


def test_a_text_with_a_zero_in_it_is_no_failure_and_stops_no_other_event(place: Town) -> None:
    """PostgreSQL has no form for it: wherever it stands, in an address or an event, others are decided after it."""
    member = {"id": "e\0", "subject": "C\0", "case": "k\0", "actor": "a\0"}
    bad = [birth(f"zero-{name}") | {name: text} for name, text in member.items()]
    bad += [
        birth("zero-data", hospital="St\0"),
        birth("zero-child", child="C\0"),
        birth("zero-parent", parents=("P\0",)),
    ]
    bad += [birth(f"zero-{name}") | {name: "0\0"} for name in ("corrects", "answers", "backfill")]
    body = orjson.dumps([*bad, birth("after-zero")])
    answer = post(place, "/v1/events", body, agency="civil-registry", kind=BATCH)
    assert (answer.status_code, answer.json()["items"][-1]["status"]) == (202, "accepted"), answer.text
    assert place.decided(answer.json()["items"][-1]["token"]) != "accepted"  # it waits for a link of an earlier one
    assert place.hub.troubles() == ()
    for path in ("/v1/events/%00", "/v1/me/receipts/%ff%00", "/v1/agreements/%00", "/v1/asks/%00"):
        token = place.hub.agency_tokens.issue("civil-registry", "").token
        answer = httpx.get(place.url + path, headers={"authorization": f"Bearer {token}"})
        assert 400 <= answer.status_code < 500, (path, answer.text)


def test_one_event_nested_too_deeply_does_not_take_its_batch_along(place: Town) -> None:
    """The others of the batch are accepted; only the deep one is refused."""
    body = b"[" + nested(birth("deep-2")) + b"," + orjson.dumps(birth("beside-it")) + b"]"
    answer = post(place, "/v1/events", body, agency="civil-registry", kind=BATCH)
    assert answer.status_code == 202
    assert [item["status"] for item in answer.json()["items"]] == ["refused", "accepted"]


def test_a_level_of_five_thousand_digits_is_refused(place: Town) -> None:
    """Python refuses to read such a number; the row is refused like any other bad one."""
    body = b"agency,local_id,mine,level\ncivil-registry,x,y," + b"9" * 5_000 + b"\n"
    answer = post(place, "/v1/links", body, agency="population-register", kind="text/csv")
    assert (answer.status_code, code_of(answer)) == (422, "all-items-refused")


def test_a_file_of_too_many_rows_is_refused_without_reading_them_all(place: Town) -> None:
    """Two million rows of one letter fit into the permitted bytes; refusing them takes little memory and time."""
    body = b"agency\n" + b"a\n" * 1_900_000
    tracemalloc.start()
    answer = post(place, "/v1/links", body, agency="population-register", kind="text/csv")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.status_code, code_of(answer)) == (413, "items-too-many")
    assert peak < 60 * MB


@pytest.mark.parametrize("path", ["/v1/consent-requests", "/v1/me/consents", "/v1/me/objections", "/dev/sign-in"])
def test_a_form_longer_than_any_form_is_refused_before_it_has_arrived(place: Town, path: str) -> None:
    """Nobody has to be signed in to send bytes, so no door keeps more of them than its form can have."""
    answer = post(place, path, b'"' + b"a" * FORM_BYTES + b'"')
    assert (answer.status_code, code_of(answer)) == (413, "too-large")


def test_a_form_without_a_length_is_cut_off_where_it_becomes_too_long(place: Town) -> None:
    """Chunk after chunk without Content-Length: the door stops taking them."""
    taken = 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b" " * 65_536, "more_body": taken < 10_000}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "https",
        "path": "/v1/consent-requests", "raw_path": b"/v1/consent-requests", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "server": ("hub", 443),
    }  # fmt: skip
    asyncio.run(public_app(place.hub)(scope, receive, send))
    assert sent[0]["status"] == 413
    assert taken <= FORM_BYTES // 65_536 + 2


@pytest.mark.parametrize(
    "jwk",
    [
        {"kid": "a", "key_ops": 5},
        {"kid": "a", "use": []},
        {"kid": "a", "kty": "EC", "crv": [], "x": 5, "y": "A"},
        {"kid": "a", "kty": "EC", "crv": "P-256", "x": None, "y": None},
        {"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": "\ud800"},
        {"kid": "a", "kty": "OKP", "crv": "X25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kid": "a", "kty": "RSA", "n": 5, "e": {}},
        {"kid": "a", "kty": "RSA", "n": "AQ", "e": "AQ"},
        {"kid": "a", "kty": [[]]},
        {"kid": "a", "alg": {}, "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kid": "a", "alg": "none", "kty": "oct", "k": "AA"},
    ],
)
def test_a_key_of_any_shape_is_refused_in_words(place: Town, jwk: dict[str, Any]) -> None:
    """Whatever stands in its members, it is a key that is refused and no failure of the hub."""
    answer = post(place, "/demo/agency-keys", json.dumps({"agency": "lindum", "jwk": jwk}).encode())
    assert (answer.status_code, code_of(answer)) == (422, "key-refused")


def test_an_agency_that_left_the_catalogue_is_a_stranger_at_once(tmp_path: Path) -> None:
    """Its token lasts five minutes by itself; at every door it opens nothing any more."""
    with town(tmp_path) as place:
        bearer = {"authorization": f"Bearer {place.hub.agency_tokens.issue('vehicles', '').token}"}
        assert httpx.get(place.url + "/v1/agency", headers=bearer).status_code == 200
        document = to_document(place.hub.approved())
        gone = [
            code for code, one in document["agreements"].items() if "vehicles" in (one["provider"], one["recipient"])
        ]
        for code in gone:
            del document["agreements"][code]
        del document["agencies"]["vehicles"]
        place.hub.approve(from_document(document))
        for method, path in (
            ("GET", "/v1/agency"),
            ("GET", "/v1/deliveries"),
            ("POST", "/v1/deliveries/acknowledgements"),
        ):
            body = b'{"acknowledgements": []}' if method == "POST" else b""
            answer = httpx.request(method, place.url + path, headers=bearer, content=body)
            assert (answer.status_code, code_of(answer)) == (401, "token-invalid"), path


def test_one_agency_cannot_take_every_long_poll(tmp_path: Path) -> None:
    """Half of the waiting places at most are one agency's; a request beyond them is answered empty at once."""
    with town(tmp_path, long_polls_max=4) as place:
        place.agency("lindum"), place.agency("family-benefits")

        async def crowd() -> list[float]:
            bearer = {"authorization": f"Bearer {place.hub.agency_tokens.issue('lindum', '').token}"}
            other = {"authorization": f"Bearer {place.hub.agency_tokens.issue('family-benefits', '').token}"}
            async with httpx.AsyncClient(base_url=place.url, timeout=30) as http:
                greedy = [asyncio.create_task(http.get("/v1/deliveries?wait_s=3", headers=bearer)) for _ in range(6)]
                await asyncio.sleep(0.7)
                assert place.hub.bell.listeners() <= 2
                answer = await http.get("/v1/deliveries?wait_s=1", headers=other)
                await asyncio.gather(*greedy)
                return [answer.elapsed.total_seconds()]

        (waited_s,) = asyncio.run(crowd())
        assert waited_s > 0.8


def test_an_address_with_a_slash_too_many_is_no_address(place: Town) -> None:
    """No redirect is made out of the Host header that the request brought."""
    answer = post(place, "/v1/events/", b"{}", agency="civil-registry", host="elsewhere.example")
    assert (answer.status_code, code_of(answer)) == (404, "not-found")
    assert "location" not in answer.headers


def test_who_links_learns_of_an_id_only_whether_it_is_taken(place: Town) -> None:
    """A conflict repeats neither id and names nobody; undoing an unknown link says no more than that there is none."""
    rows = [link("civil-registry", "C-1", "R-nobody-else"), link("civil-registry", "C-1", "R-P-1")]
    answer = post(place, "/v1/links", orjson.dumps({"links": rows}), agency="population-register")
    assert "C-1" not in answer.text
    assert "R-P-1" not in answer.text


def test_a_batch_of_hopeless_events_is_not_explained_to_its_last_error(place: Town) -> None:
    """Twenty thousand errors in each of a hundred events would keep the hub busy for a minute; two are explained."""
    events = [birth(f"hopeless-{at}", parents=()) for at in range(20)]
    for event in events:
        event["data"]["parent_ids"] = [0] * 2_000
    answer = post(place, "/v1/events", orjson.dumps(events), agency="civil-registry", kind=BATCH)
    listed = [len(item["problem"]["items"]) for item in answer.json()["items"]]
    assert answer.status_code == 422
    assert listed == [101, 101, *[1] * 18]
