"""Traces: one event is found again from publish to webhook by its ids, no span is about a person, and off is off."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hub.core.errors import HubError
from hub.exchange.status import event_of
from hub.exchange.webhook_proof import register_and_prove
from hub.settings import load
from hub.traces import IDS_MOST, open_traces
from tests.agency_world import CANARY
from tests.canaries import Canary, Index
from tests.test_serve import ROOT, environment
from tests.webhook_world import machine
from tests.world import birth, link_family, town, until

CHILD, PARENT = f"{CANARY}-child", f"{CANARY}-parent"
PERSONAL = (CANARY, CHILD, PARENT, f"FB-{CHILD}", f"R-{CHILD}", f"R-{PARENT}", "birth-91", "birth-92", "St Example")
ALLOWED = {
    "publish": {"hub.agency", "hub.events", "hub.accepted", "hub.refused"},
    "gate.batch": {"hub.events", "hub.deliveries"}
    | {f"hub.{one}" for one in ("decided", "released", "held", "refusals", "waiting")},
    "handout.page": {"hub.agency", "hub.deliveries", "hub.handed", "hub.cancelled", "hub.held"},
    "webhook.post": {"hub.agency", "hub.deliveries", "hub.status", "hub.refused"},
}


@dataclass
class Collector:
    """An OTLP/HTTP collector that keeps what it is sent."""

    server: ThreadingHTTPServer
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def spans(self, name: str) -> list[dict[str, Any]]:
        """Return the attributes of every span of this name, in the order of their start."""
        found = [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if not name or span.name == name
        ]
        return [
            {"name": one.name, **{pair.key: value_of(pair.value) for pair in one.attributes}}
            for one in sorted(found, key=lambda one: one.start_time_unix_nano)
        ]


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [one.string_value for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@contextmanager
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name for it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Collector(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collector, list[str]]:
    """One birth that is pulled and one that a webhook brings, in a hub that is traced. Returns their events' hashes."""
    with collector() as kept:
        with machine() as to, town(tmp_path_factory.mktemp("traced"), otlp_endpoint=kept.url) as place:
            link_family(place, child=CHILD, parent=PARENT)
            civil, keys = place.agency("civil-registry"), place.hub.keys
            (pulled,) = civil.publish([birth("91", child=CHILD, parents=(PARENT,))]).accepted
            place.decided(pulled.token)
            first = place.pull("family-benefits")
            assert len(first) == 1
            place.agency("family-benefits").acknowledge(first)  # or its person's next stands behind it
            register_and_prove(place.hub.webhooks, "family-benefits", to.url)
            (posted,) = civil.publish([birth("92", child=CHILD, parents=(PARENT,))]).accepted
            place.decided(posted.token)
            civil.publish([birth("93", child=CHILD, parents=(PARENT,)) | {"data": {}}])  # refused at the door
            assert until(lambda: to.deliveries, bool)
            assert PARENT not in str(to.deliveries)
        return kept, [event_of(keys, token).hex() for token in (pulled.token, posted.token)]


def test_one_event_is_found_again_from_publish_to_webhook(followed: tuple[Collector, list[str]]) -> None:
    """Publish and gate share the event's hash; gate, hand-out and webhook the delivery's id."""
    kept, events = followed
    published = kept.spans("publish")
    assert [one.get("hub.events") for one in published] == [[events[0]], [events[1]], None]
    assert [(one["hub.accepted"], one["hub.refused"]) for one in published] == [(1, 0), (1, 0), (0, 1)]
    assert {one["hub.agency"] for one in published} == {"civil-registry"}
    batches = {one["hub.events"][0]: one for one in kept.spans("gate.batch") if one.get("hub.events")}
    pages, posts = kept.spans("handout.page"), kept.spans("webhook.post")
    assert batches.keys() == set(events)
    assert set(pages[0]["hub.deliveries"]) <= set(batches[events[0]]["hub.deliveries"])
    assert set(posts[-1]["hub.deliveries"]) <= {one for page in pages for one in page["hub.deliveries"]}
    assert set(posts[-1]["hub.deliveries"]) <= {one for batch in batches.values() for one in batch["hub.deliveries"]}
    assert {(one["hub.agency"], one["hub.status"], one["hub.refused"]) for one in posts} == {
        ("family-benefits", 200, 0)
    }


def test_nothing_that_leaves_names_a_person(followed: tuple[Collector, list[str]]) -> None:
    """No id that an agency gave, no payload, in no encoding; and no attribute that is not on the list."""
    kept, _ = followed
    index = Index([Canary("id", at, value) for at, value in enumerate(PERSONAL)])
    assert kept.bodies
    assert [label for body in kept.bodies for label in index.found_in(body)] == []
    for span in kept.spans(""):
        assert set(span) - {"name"} <= ALLOWED[span["name"]], span["name"]


def test_a_value_that_is_no_id_and_an_agency_that_is_unknown_stay_out() -> None:
    """Whatever a caller hands over by mistake."""
    exported = InMemorySpanExporter()
    traces = open_traces("", lambda code: code if code == "tax" else "other", exported)
    traces.record("publish", 1, 2, agency=CANARY, events=[CANARY.encode(), bytes(16)])
    traces.record("publish", 5, 2, agency="tax", events=[bytes(16)] * (IDS_MOST + 1))
    one, two = exported.get_finished_spans()
    assert dict(one.attributes or {}) == {"hub.agency": "other", "hub.events": ("00" * 16,)}
    assert len((two.attributes or {})["hub.events"]) == IDS_MOST  # type: ignore[arg-type]  # a sequence, as it was set
    assert (one.start_time, one.end_time, two.start_time, two.end_time) == (1_000, 2_000, 5_000, 5_000)


def test_without_an_endpoint_nothing_that_could_send_is_loaded_and_with_one_it_is(tmp_path: Path) -> None:
    """Off is off. FastAPI loads OpenTelemetry's interface by itself, which without an SDK does nothing."""
    code = (
        "import sys; from hub.app import build; from hub.settings import load; one = build(load());"
        " import hub.web.apps; one.close();"
        " print(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    for more, loaded in (({}, "False"), ({"HUB_OTLP_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, "True")):
        environ = environment(tmp_path / loaded, **more)
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ran.stdout == loaded + "\n", ran.stderr


FRAMEWORK = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)

from hub.app import build
from hub.settings import load
from hub.web.apps import admin_app, operations_app, public_app
from tests.doors import client_of
hub = build(load())
for app in (public_app(hub), admin_app(hub), operations_app(hub)):
    for path in ("/healthz", "/nothing/{CANARY}", "/v1/deliveries?limit={CANARY}"):
        client_of(app).get(path)
hub.close()
print([span.name for span in kept.get_finished_spans()])
"""


def test_the_web_framework_does_not_trace_by_itself_whoever_set_opentelemetry_up(tmp_path: Path) -> None:
    """It would send addresses and the messages of exceptions; here each has somebody's id in it."""
    command = [sys.executable, "-c", FRAMEWORK]
    ran = subprocess.run(command, env=environment(tmp_path), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout == "[]\n", ran.stderr


def test_a_collector_that_is_away_delays_nobody(tmp_path: Path) -> None:
    """Spans are dropped; publish, gate and hand-out go on, and the hub stops within seconds."""
    with town(tmp_path, otlp_endpoint="http://127.0.0.1:9/v1/traces") as place:
        link_family(place)
        (said,) = place.agency("civil-registry").publish([birth()]).accepted
        place.decided(said.token)
        assert len(place.pull("family-benefits")) == 1
        stopped_s = monotonic()
    assert monotonic() - stopped_s < 5  # of a grace of 10 to 30


def test_an_endpoint_that_holds_a_password_is_refused() -> None:
    """It would stand in every listing of the settings; OpenTelemetry's own variables take it."""
    for given in ("collector:4318", "https://user:word@collector/v1/traces", "ftp://collector"):
        with pytest.raises(HubError):
            load({}, otlp_endpoint=given)
