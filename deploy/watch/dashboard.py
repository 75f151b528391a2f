"""Write the Grafana dashboard: rows of panels from the table below, so that a change is reviewed as a line.

python deploy/watch/dashboard.py          writes deploy/watch/dashboard.json
python deploy/watch/dashboard.py --check  exit 1 where the file is not what the table says
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

OUT = Path(__file__).with_name("dashboard.json")
WIDTH, HEIGHT, ACROSS = 8, 7, 3  # of Grafana's 24 columns; three panels stand side by side
SCHEMA = 39  # of dashboards, Grafana 11


class Panel(NamedTuple):
    """`lines` are (PromQL, legend). `limit` draws a red line: where the alarm is, or the promise."""

    title: str
    unit: str  # s, short, percentunit, bytes, ops
    lines: tuple[tuple[str, str], ...]
    limit: float | None = None


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket[5m])))", f"p{round(share * 100)}")
        for share in (0.5, 0.95, 0.99)
    )


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Promises",
        (
            Panel("Revocation barrier", "s", quantiles("hub_withdraw_seconds"), 0.1),
            Panel("Oldest person standing still", "s", (("max(hub_oldest_halted_seconds)", "halted"),), 900),
            Panel(
                "Not ready, because of; parts that nobody runs",
                "short",
                (
                    ("max by (instance) (hub_troubles)", "{{instance}}"),
                    ("max by (part) (hub_parts_missing)", "nobody runs {{part}}"),
                ),
                1,
            ),
        ),
    ),
    (
        "From publish to decision",
        (
            Panel(
                "Events a second",
                "ops",
                (
                    ("sum(rate(hub_events_published_total[5m]))", "accepted"),
                    ("sum(rate(hub_events_refused_total[5m]))", "refused at the door"),
                    ("sum(rate(hub_gate_events_total[5m]))", "decided"),
                ),
            ),
            Panel("Accepted and not decided", "short", (("max(hub_intake_backlog_events)", "events"),), 10_000),
            Panel("A batch of the gate", "s", quantiles("hub_gate_batch_seconds")),
            Panel(
                "Decisions",
                "percentunit",
                (
                    (
                        "sum by (outcome) (rate(hub_decisions_total[5m])) / scalar(sum(rate(hub_decisions_total[5m])))",
                        "{{outcome}}",
                    ),
                ),
            ),
            Panel(
                "Calls that the policy engine did not answer",
                "short",
                (("sum(increase(hub_policy_unavailable_total[5m]))", "in 5 min"),),
                1,
            ),
            Panel(
                "Waiting for a link",
                "short",
                (("max(hub_waiting_events)", "events"), ("max(hub_dead_letters)", "dead letters")),
            ),
        ),
    ),
    (
        "Hand-out",
        (
            Panel(
                "Deliveries a second, by kind",
                "ops",
                (("sum by (kind) (rate(hub_deliveries_total[5m]))", "{{kind}}"),),
            ),
            Panel(
                "Acknowledged a second",
                "ops",
                (("sum by (agency) (rate(hub_deliveries_acknowledged_total[5m]))", "{{agency}}"),),
            ),
            Panel(
                "Oldest unacknowledged",
                "s",
                (("max by (agency) (hub_oldest_unacknowledged_seconds) > 60", "{{agency}}"),),
                3_600,
            ),
            Panel(
                "Held for a consent",
                "short",
                (("max(hub_held_deliveries)", "deliveries"),),
            ),
            Panel(
                "Ages",
                "s",
                (
                    ("max(hub_oldest_held_seconds)", "oldest held"),
                    ("max(hub_oldest_waiting_seconds)", "oldest waiting"),
                    ("max(hub_oldest_dead_letter_seconds)", "oldest dead letter"),
                    ("max(hub_oldest_ask_seconds)", "oldest ask"),
                    ("max(hub_oldest_backfill_seconds)", "oldest backfill"),
                ),
            ),
            Panel(
                "Deliveries a hand-out",
                "short",
                quantiles("hub_handout_page_deliveries"),
            ),
        ),
    ),
    (
        "Agencies",
        (
            Panel(
                "Published a second",
                "ops",
                (("sum by (agency) (rate(hub_events_published_total[15m]))", "{{agency}}"),),
            ),
            Panel(
                "Silent beyond their rhythm", "short", (("max by (agency) (hub_silent_datasets) > 0", "{{agency}}"),)
            ),
            Panel(
                "Beyond their quota",
                "ops",
                (("sum by (agency) (rate(hub_quota_refusals_total[5m])) > 0", "{{agency}}"),),
            ),
            Panel(
                "Backfill, share of persons done",
                "percentunit",
                (
                    (
                        "max by (agency) (hub_backfill_persons_done) / (max by (agency) (hub_backfill_persons) > 0)",
                        "{{agency}}",
                    ),
                ),
            ),
            Panel(
                "Open asks and backfills",
                "short",
                (
                    ("max by (agency) (hub_asks_open) > 0", "asks, {{agency}}"),
                    ("max by (agency) (hub_asks_overdue) > 0", "asks overdue, {{agency}}"),
                    ("max by (agency) (hub_backfills_open) > 0", "backfills, {{agency}}"),
                ),
            ),
            Panel(
                "Webhooks, by state",
                "short",
                (("count by (state) (max by (agency, state) (hub_webhooks) > 0)", "{{state}}"),),
            ),
        ),
    ),
    (
        "The house",
        (
            Panel(
                "Disk used",
                "percentunit",
                (("1 - hub_disk_free_bytes / hub_disk_total_bytes", "{{instance}}"),),
                0.95,
            ),
            Panel("Write-ahead log", "bytes", (("max(hub_store_wal_bytes)", "bytes"),), 536_870_912),
            Panel(
                "Keys and stops",
                "short",
                (
                    ("max by (agency) (hub_keys_ending) > 0", "keys of {{agency}} ending"),
                    ("max(hub_token_key_age_seconds) / 86400", "days of the token key"),
                    ("max(hub_releases_stopped)", "stops in force"),
                    ("sum(hub_long_polls)", "long polls"),
                    ("max(hub_halted_chains)", "persons halted"),
                ),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """Put the document together; ids and places follow from the order of the table."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": []}
            | {"gridPos": {"h": 1, "w": 24, "x": 0, "y": top}}
        )
        for at, panel in enumerate(row):
            place = {"h": HEIGHT, "w": WIDTH, "x": WIDTH * (at % ACROSS), "y": top + 1 + HEIGHT * (at // ACROSS)}
            panels.append(_drawn(len(panels) + 1, panel, place))
        top += 1 + HEIGHT * -(-len(row) // ACROSS)
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": "exchange-hub",
        "title": "Exchange hub",
        "description": "Made by deploy/watch/dashboard.py. Labels are agencies' codes; nothing is about a person.",
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


def _drawn(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    source = {"type": "prometheus", "uid": "${source}"}
    drawn = {"drawStyle": "line", "fillOpacity": 10, "showPoints": "never"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": drawn | {"thresholdsStyle": {"mode": "off" if panel.limit is None else "line"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": source, "expr": query, "legendFormat": legend}
            for at, (query, legend) in enumerate(panel.lines)
        ],
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


def main() -> int:
    if "--check" in sys.argv[1:]:
        return int(not OUT.exists() or OUT.read_text(encoding="utf-8") != text())
    OUT.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
