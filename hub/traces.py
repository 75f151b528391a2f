"""Traces for OpenTelemetry: what a request or batch did and how long it took, with ids that name no person.

A span is recorded when it is over, so nothing runs beside the work; without `otlp_endpoint` there is no `Traces`, and
OpenTelemetry is not even loaded. What a span may hold is closed: an agency's code from the catalogue, counts, the
keyed hashes of events and the ids of deliveries, which are how the spans of one event are found: publish and gate share
its hash, gate, hand-out and webhook its deliveries. What agencies send along (`traceparent`) is not taken over: it is
theirs, and could be anybody's number.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Name = Literal["publish", "gate.batch", "handout.page", "webhook.post"]
Count = Literal[
    "accepted", "refused", "decided", "released", "held", "refusals", "waiting", "handed", "cancelled", "status"
]
ID_BYTES = 16  # of an event's hash and of a delivery's id; anything else is not an id and is left out
IDS_MOST = 500  # of one span: a whole batch or page
EXPORT_S = 2  # for one call with all its retries: a collector that is away holds up no stop


class Traces:
    """Thread-safe. Spans leave in the background; when the collector is away they are dropped, and nothing waits."""

    def __init__(self, provider: "TracerProvider", agency: Callable[[str], str]) -> None:
        self._provider, self._agency = provider, agency
        self._tracer = provider.get_tracer("exchange-hub")

    def record(
        self,
        name: Name,
        began_us: int,
        ended_us: int,
        *,
        agency: str = "",
        events: Sequence[bytes] = (),
        deliveries: Sequence[bytes] = (),
        counts: dict[Count, int] | None = None,
    ) -> None:
        """Record what was done between two instants of the hub's clock."""
        span = self._tracer.start_span(name, start_time=began_us * 1_000)
        if agency:
            span.set_attribute("hub.agency", self._agency(agency))
        for key, ids in (("hub.events", events), ("hub.deliveries", deliveries)):
            if ids:
                span.set_attribute(key, [one.hex() for one in ids[:IDS_MOST] if len(one) == ID_BYTES])
        for of, count in (counts or {}).items():
            span.set_attribute(f"hub.{of}", count)
        span.end(end_time=max(began_us, ended_us) * 1_000)

    def close(self) -> None:
        """Send what is left, once."""
        self._provider.shutdown()


def open_traces(endpoint: str, agency: Callable[[str], str], exporter: "SpanExporter | None" = None) -> Traces:
    """Send spans to an OTLP/HTTP collector. `agency` gives a code as the catalogue knows it; tests bring an exporter.

    How the collector is signed in to, and whom to trust there, OpenTelemetry's own variables say
    (OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_CERTIFICATE).
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "exchange-hub"}), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_S))
        if exporter is None
        else SimpleSpanProcessor(exporter)
    )
    return Traces(provider, agency)
