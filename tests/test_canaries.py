"""Nothing that names a real-shaped person stands in the clear anywhere, nor with anybody who has no right to it."""

import base64
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from agency_adapters.fhir import Mapped, read_export
from hub.app import Hub
from hub.citizens.choices import grant_unasked
from hub.citizens.notices import notice_of_purpose
from hub.identity.people import person_of
from hub.identity.principal import Principal
from hub.logs import open_log
from hub.store.migrate import ensure
from hub.store.sqlite import SqliteStore
from hub.web.apps import admin_app
from tests.canaries import SYNTHEA, Canary, Index, canaries, text_of
from tests.doors import client_of
from tests.stores import dump, on_postgres
from tests.world import Town, town

pytestmark = pytest.mark.engines

PUBLISHERS = {
    "pop.person": "population-register",
    "civil.birth.registered": "civil-registry",
    "health.condition": "health-ministry",
    "health.immunisation": "health-ministry",
}
ASKED = (("school-board", "HEALTH-CARD"), ("health-region", "CARE-PLAN"))
REFERENCE = date(2019, 6, 1)
PATIENCE_S = 60.0


@dataclass
class Played:
    """The export played through a whole hub, and everything that came out of it anywhere."""

    values: list[Canary]
    index: Index
    directory: Path
    published: int = 0
    received: dict[str, list[Any]] = field(default_factory=dict)
    answers: list[httpx.Response] = field(default_factory=list)
    said: str = ""
    metrics: str = ""
    audit: list[bytes] = field(default_factory=list)


@pytest.fixture(scope="module")
def played(engine_set: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Link, ask, publish, decide and hand out the whole export; then make every mistake with its values."""
    if not SYNTHEA.is_dir():
        pytest.skip(f"the Synthea export is not there: {SYNTHEA}")
    values = [*canaries((SYNTHEA / "Patient.ndjson").read_text().splitlines())]
    directory = tmp_path_factory.mktemp("canaries")
    with town(directory) as place:
        one = Played(values, Index(values), directory)
        patients = [canary.value for canary in values if canary.kind == "id"]
        link_all(place, patients)
        say_yes(place.hub, patients[::2])
        publish_all(place, one)
        pull_all(place, one)
        one.answers = mistakes(place, values)
        one.metrics = httpx.get(f"{place.url}/metrics").text
        one.said = place.said.getvalue()
        with place.hub.store.read() as tx:
            one.audit = [b"\n".join(row) for row in tx.rows("SELECT leaf, fences, detail FROM audit")]
        yield one


def link_all(place: Town, patients: list[str]) -> None:
    agencies = sorted(set(PUBLISHERS.values()) - {"population-register"})
    links = [{"agency": code, "local_id": one, "mine": one, "level": 3} for one in patients for code in agencies]
    assert {answer["status"] for answer in place.agency("population-register").link(links)} == {"linked"}


def say_yes(hub: Hub, patients: list[str]) -> None:
    for patient in patients:
        with hub.store.read() as tx:
            person = person_of(tx, hub.keys, "population-register", patient)
        assert person is not None
        for recipient, purpose in ASKED:
            notice = notice_of_purpose(hub.citizens, recipient=recipient, purpose=purpose, language="en")
            grant_unasked(
                hub.citizens, Principal(person, person, "self", 3, "s"), recipient=recipient, purpose=purpose,
                items=None, notice=notice,
            )  # fmt: skip


def publish_all(place: Town, played: Played) -> None:
    lines = read_export(SYNTHEA, publishers=PUBLISHERS, reference=REFERENCE, id_key=b"k" * 32)
    events = [event for line in lines if isinstance(line, Mapped) for event in line.events]
    for publisher in sorted(set(PUBLISHERS.values())):
        own = [event for event in events if event["source"] == f"urn:agency:{publisher}"]
        assert not place.agency(publisher).publish(own).refused
    played.published = len(events)


def pull_all(place: Town, played: Played) -> None:
    """Wait until everything is decided, then let every agency take what it gets."""
    end_s = monotonic() + PATIENCE_S
    while decided(place.hub) < played.published and monotonic() < end_s:
        sleep(0.05)
    assert decided(place.hub) == played.published
    for code in place.hub.in_force.catalogue.agencies:
        if "subscribe" not in place.hub.in_force.catalogue.agencies[code].rights:
            continue
        got = played.received[code] = []
        while page := place.pull(code):
            got += [one.document for one in page]
            place.agency(code).acknowledge(page)


def decided(hub: Hub) -> int:
    with hub.store.read() as tx:
        return int(tx.rows("SELECT count(*) FROM audit WHERE kind = 1")[0][0])


def mistakes(place: Town, values: list[Canary]) -> list[httpx.Response]:
    """Send the values where they do not belong, to every door."""
    answers: list[httpx.Response] = []
    operator = client_of(admin_app(place.hub))
    with httpx.Client(base_url=place.url) as http:
        for value in {one.kind: one.value for one in values[:20]}.values():
            for caller, method, path, body in misplaced(value):
                token = place.hub.agency_tokens.issue(caller, "").token if caller in PUBLISHED else value
                headers = {"authorization": f"Bearer {token}", "cookie": f"hub_session={value}"}
                sent: dict[str, Any] = {"data": body} if path == "/oauth/token" else {"json": body} if body else {}
                if path == "/v1/events":
                    headers["content-type"] = "application/cloudevents+json"
                answers.append(http.request(method, path, headers=headers, **sent))
            answers.append(operator.get("/why", params={"token": value}))
    return answers


PUBLISHED = ("population-register", "civil-registry", "lindum")


def misplaced(value: str) -> Iterator[tuple[str, str, str, Any]]:
    """Yield (caller, method, path, body) of requests that hold `value` in a place where it is wrong."""
    event = {
        "specversion": "1.0", "id": value, "source": "urn:agency:civil-registry", "type": "civil.birth.registered",
        "subject": value, "time": "2026-01-01T00:00:00Z", "data": {"child_id": value, "dob": value, value: value},
    }  # fmt: skip
    for changed in ({}, {"type": value}, {"source": value}, {"time": value}, {"dataschema": value}, {value: value}):
        yield "civil-registry", "POST", "/v1/events", event | changed
    yield "civil-registry", "GET", f"/v1/events/{value}", None
    yield "lindum", "GET", f"/v1/deliveries?limit={value}", None
    yield "lindum", "POST", "/v1/deliveries/acknowledgements", {"acknowledgements": [{"id": value, "number": 1}]}
    link = {"agency": value, "local_id": value, "mine": value, "level": 9}
    yield "population-register", "POST", "/v1/links", {"links": [link, link | {"level": 1}, link | {"born": value}]}
    for act in ("undo", "dispute", "settle"):
        yield "population-register", "POST", f"/v1/links/{act}", {"links": [{"agency": "lindum", "local_id": value}]}
    yield "lindum", "POST", "/v1/consent-requests", {"subject": value, "purpose": value}
    yield "lindum", "POST", "/v1/consent-requests", {"subject": value, "purpose": "KINDER-PLACE", "deadline": value}
    yield "nobody", "POST", "/oauth/token", {"client_assertion": value, "grant_type": value, "client_id": value}
    yield "nobody", "GET", "/v1/agency", None
    yield "nobody", "POST", "/dev/sign-in", {"person": value, "for": value}
    yield "nobody", "GET", "/v1/me", None
    yield "nobody", "GET", f"/{value}", None


def test_the_whole_export_was_played(played: Played) -> None:
    """Otherwise nothing below says anything."""
    assert played.published > 2_000
    assert played.index.patterns > 10_000
    assert {code for code, got in played.received.items() if got} >= {"health-region", "school-board"}
    assert sum(answer.status_code >= 400 for answer in played.answers) > len(played.answers) // 2


def test_no_byte_on_disk_says_who_anybody_is(played: Played) -> None:
    """Database, write-ahead log, the edge's own store: every file of the data directory.

    Of PostgreSQL what every table holds: its files may be compressed.
    """
    if on_postgres():
        dump(played.directory / "hub.sqlite", into=played.directory / "dump")
        assert (played.directory / "dump").stat().st_size > 10_000
    else:
        assert {path.name for path in played.directory.iterdir()} >= {"hub.sqlite", "hub.sqlite-wal", "edge.sqlite"}
    assert not played.index.found_in_files(played.directory)


def test_no_audit_row_says_who_anybody_is(played: Played) -> None:
    """Neither leaf nor fences nor detail."""
    assert len(played.audit) > played.published
    assert not played.index.found_in(b"\n".join(played.audit))


def test_no_log_line_and_no_metric_says_who_anybody_is(played: Played) -> None:
    """At the most talkative level, with every mistake made."""
    assert played.said.count("\n") > 10
    assert not played.index.found_in(played.said.encode())
    assert "hub_events_published" in played.metrics
    assert not played.index.found_in(played.metrics.encode())


def test_no_error_repeats_what_it_was_sent(played: Played) -> None:
    """Body and headers of every answer to a request that held a value it should not."""
    for answer in played.answers:
        said = answer.content + str([*answer.headers.items()]).encode()
        assert not played.index.found_in(said), (answer.request.method, answer.status_code)


def test_no_recipient_gets_what_it_was_not_entitled_to(played: Played) -> None:
    """No agreement of the shipped catalogue grants a name or an identifier, so none may hold any."""
    for code, got in played.received.items():
        assert not played.index.found_in(text_of(got)), code


# Would it be seen? One is planted in each place.
@pytest.fixture(scope="module")
def some() -> list[Canary]:
    """Values of the same shapes, so that these tests run without the export."""
    return [
        Canary("SS", 1, "999-22-1962"),
        Canary("DL", 1, "S99942380"),
        Canary("id", 1, "e925b0f3-8006-43f6-aa31-94bd215e55e7"),
    ]


@pytest.mark.parametrize("value", ["999-22-1962", "S99942380"])
@pytest.mark.parametrize(
    "dress",
    [
        str.encode,
        lambda value: value.lower().encode(),
        lambda value: value.encode().hex().encode(),
        lambda value: value.encode().hex().upper().encode(),
        lambda value: base64.b64encode(value.encode()),
        lambda value: base64.b64encode(b"ab" + value.encode() + b"c"),
        lambda value: base64.urlsafe_b64encode(b"a" + value.encode() + b"bc"),
        lambda value: hashlib.sha256(value.encode()).digest(),
        lambda value: hashlib.sha256(value.encode()).hexdigest().encode(),
        lambda value: base64.b64encode(hashlib.sha256(value.encode()).digest()),
    ],
    ids=["raw", "lower", "hex", "HEX", "base64", "base64 within", "base64url within", "sha256",
         "sha256 hex", "sha256 base64"],
)  # fmt: skip
def test_a_value_planted_in_a_table_is_found(tmp_path: Path, some: list[Canary], value: str, dress: Any) -> None:
    """In whatever dress: the file that holds it is named."""
    path = tmp_path / "hub.sqlite"
    store = SqliteStore(path)
    ensure(path)
    planted = b"\x00x" + dress(value) + b"y\x00"
    store.write(lambda tx: tx.insert("waiting_key(subject, key)", [(b"s", planted)]))
    found = Index(some).found_in_files(tmp_path)
    store.close()
    assert {"hub.sqlite", "hub.sqlite-wal"} & found.keys()


def test_a_value_planted_in_a_log_is_found(some: list[Canary]) -> None:
    """One that looks like a code passes the log's own rules, and is found here."""
    said = io.StringIO()
    open_log(clock=lambda: 0, stream=said).info("gate.batch", worker=some[2].value)
    assert Index(some).found_in(said.getvalue().encode()) == ["id of patient 1, as is", "id of patient 1, lower"]


def test_nothing_is_found_where_nothing_is(some: list[Canary]) -> None:
    """A search that always finds something would prove nothing either."""
    assert not Index(some).found_in(b"999-22-1963 S99942381 e925b0f3-8006-43f6-aa31-94bd215e55e8" * 10)
