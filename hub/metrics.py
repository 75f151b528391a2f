"""What the hub counts and measures, for Prometheus. Labels come from closed sets only, so none can name a person.

Every series exists from the first scrape on, at zero: a rate over a counter that appears later would miss its first
step. The registry is this hub's own, made by `open_metrics`; nothing is registered globally.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hub.parts import Part

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus text format
OUTCOMES = ("release", "hold", "refusal", "wait")
KINDS = ("data", "correction", "stop", "delete", "test", "notice")
WEBHOOK_STATES = ("unproven", "active", "failing", "disabled")
OTHER = "other"  # an agency that is not (or no longer) in the catalogue

# The promise is 100 ms at p99, the goal 50: buckets lie close there, and far enough up to see a failure for what it is.
WITHDRAW_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0)
GATE_BUCKETS_S = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0)
PAGE_BUCKETS = (0, 1, 10, 50, 100, 200, 300, 400, 500, 1_000, 5_000)


@dataclass(frozen=True, slots=True)
class Metrics:
    """One field per family. Agency labels go through `agency`, outcomes and kinds come from the tuples above."""

    registry: CollectorRegistry
    agency: Callable[[str], str]  # the code itself where the catalogue knows it, else OTHER
    published: Counter  # by publisher: events answered 202
    publish_refused: Counter  # by publisher: events refused at the door
    decisions: Counter  # by outcome
    gate_batch_s: Histogram
    gate_events: Counter
    handout_page: Histogram  # deliveries per hand-out
    deliveries: Counter  # by recipient and kind: handed out, redeliveries included
    acknowledged: Counter  # by recipient
    withdraw_s: Histogram
    waiting_events: Gauge
    oldest_waiting_s: Gauge
    dead_letters: Gauge
    oldest_dead_letter_s: Gauge
    intake_backlog: Gauge
    wal_bytes: Gauge
    policy_unavailable: Counter
    quota_refusals: Counter  # by agency
    long_polls: Gauge
    silent_datasets: Gauge  # by publisher
    halted_chains: Gauge
    oldest_halted_s: Gauge
    held_deliveries: Gauge
    oldest_held_s: Gauge
    oldest_unacknowledged_s: Gauge  # by recipient
    keys_ending: Gauge  # by agency
    token_key_age_s: Gauge
    disk_free_bytes: Gauge
    disk_total_bytes: Gauge
    troubles: Gauge
    parts_missing: Gauge  # by part: 1 where no process runs it
    releases_stopped: Gauge
    backfills_open: Gauge  # by provider, as the next four
    backfill_persons: Gauge
    backfill_persons_done: Gauge
    asks_open: Gauge
    asks_overdue: Gauge
    oldest_backfill_s: Gauge
    oldest_ask_s: Gauge
    webhooks: Gauge  # by agency and state: 1 for the one it is in


def open_metrics(agencies: Callable[[], Collection[str]]) -> Metrics:
    """Make this hub's metrics. `agencies` gives the codes of the catalogue in force; it is asked at each label."""
    registry = CollectorRegistry()

    def agency(code: str) -> str:
        return code if code in agencies() else OTHER

    def counter(name: str, text: str, *labels: str) -> Counter:
        return Counter(f"hub_{name}", text, labels, registry=registry)

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"hub_{name}", text, labels, registry=registry)

    def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"hub_{name}", text, buckets=buckets, registry=registry)

    metrics = Metrics(
        registry=registry,
        agency=agency,
        published=counter("events_published", "Events answered 202.", "agency"),
        publish_refused=counter("events_refused", "Events refused at the door.", "agency"),
        decisions=counter("decisions", "Decisions committed, by outcome.", "outcome"),
        gate_batch_s=histogram("gate_batch_seconds", "From the first poll of a batch to its commit.", GATE_BUCKETS_S),
        gate_events=counter("gate_events", "Events decided."),
        handout_page=histogram("handout_page_deliveries", "Deliveries per hand-out.", PAGE_BUCKETS),
        deliveries=counter("deliveries", "Deliveries handed out, redeliveries included.", "agency", "kind"),
        acknowledged=counter("deliveries_acknowledged", "Deliveries acknowledged for the first time.", "agency"),
        withdraw_s=histogram("withdraw_seconds", "From the request to the barrier.", WITHDRAW_BUCKETS_S),
        waiting_events=gauge("waiting_events", "Events waiting for a link, a verdict or an earlier event."),
        oldest_waiting_s=gauge("oldest_waiting_seconds", "Age of the oldest waiting event."),
        dead_letters=gauge("dead_letters", "Events whose decision met a defect, and that stop what comes after them."),
        oldest_dead_letter_s=gauge("oldest_dead_letter_seconds", "Age of the oldest dead letter."),
        intake_backlog=gauge("intake_backlog_events", "Events accepted and not yet decided."),
        wal_bytes=gauge("store_wal_bytes", "Size of SQLite's write-ahead log."),
        policy_unavailable=counter("policy_unavailable", "Calls that the policy engine did not answer."),
        quota_refusals=counter("quota_refusals", "Requests answered 429.", "agency"),
        long_polls=gauge("long_polls", "Requests waiting for deliveries."),
        silent_datasets=gauge("silent_datasets", "Datasets not heard of within their declared rhythm.", "agency"),
        halted_chains=gauge("halted_chains", "Persons per dataset whose events stand behind one not decidable."),
        oldest_halted_s=gauge("oldest_halted_seconds", "Age of the oldest event that cannot be decided."),
        held_deliveries=gauge("held_deliveries", "Deliveries held under look-back, until a consent or their end."),
        oldest_held_s=gauge("oldest_held_seconds", "Age of the delivery that is held longest."),
        oldest_unacknowledged_s=gauge(
            "oldest_unacknowledged_seconds", "Since when the oldest delivery is unacknowledged.", "agency"
        ),
        keys_ending=gauge("keys_ending", "Owners whose last public key ends within 30 days, or has ended.", "agency"),
        token_key_age_s=gauge("token_key_age_seconds", "Age of the key that signs access tokens."),
        disk_free_bytes=gauge("disk_free_bytes", "Free on the disk of the data directory."),
        disk_total_bytes=gauge("disk_total_bytes", "Size of the disk of the data directory."),
        troubles=gauge("troubles", "Reasons for which the hub is not ready; 0 when it is."),
        parts_missing=gauge("parts_missing", "1 for a part that no process of this hub runs.", "part"),
        releases_stopped=gauge("releases_stopped", "Things that an operator has stopped by the flag file."),
        backfills_open=gauge("backfills_open", "Open backfills that a provider fills.", "agency"),
        backfill_persons=gauge("backfill_persons", "Persons of open backfills, as their provider said.", "agency"),
        backfill_persons_done=gauge("backfill_persons_done", "Persons of them of whom all is here.", "agency"),
        asks_open=gauge("asks_open", "Asks that a provider has not answered.", "agency"),
        asks_overdue=gauge("asks_overdue", "Open asks whose deadline has passed.", "agency"),
        oldest_backfill_s=gauge("oldest_backfill_seconds", "Age of the oldest open backfill."),
        oldest_ask_s=gauge("oldest_ask_seconds", "Age of the oldest open ask."),
        webhooks=gauge("webhooks", "1 for the state that an agency's webhook is in.", "agency", "state"),
    )
    _start_at_zero(metrics, sorted(agencies()))
    return metrics


def _start_at_zero(metrics: Metrics, agencies: list[str]) -> None:
    for part in Part:
        metrics.parts_missing.labels(part)
    for outcome in OUTCOMES:
        metrics.decisions.labels(outcome)
    for code in [*agencies, OTHER]:
        for family in (metrics.published, metrics.publish_refused, metrics.acknowledged, metrics.quota_refusals):
            family.labels(code)
        for gauge in (metrics.silent_datasets, metrics.oldest_unacknowledged_s, metrics.keys_ending):
            gauge.labels(code)
        metrics.deliveries.labels(code, "data")
        filled = metrics.backfills_open, metrics.backfill_persons, metrics.backfill_persons_done
        for level in (*filled, metrics.asks_open, metrics.asks_overdue):
            level.labels(code)
        for state in WEBHOOK_STATES:
            metrics.webhooks.labels(code, state)


def render(metrics: Metrics) -> bytes:
    """Return everything in Prometheus' text format, for `GET /metrics`."""
    return generate_latest(metrics.registry)
