"""Alarms and dashboard: they ask for what the hub measures, raise when they must, and say what to do."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.watch.dashboard import OUT, ROWS, text
from hub.metrics import KINDS, OUTCOMES, open_metrics, render

WATCH = Path(__file__).resolve().parents[1] / "deploy" / "watch"
GROUPS: list[dict[str, Any]] = yaml.safe_load((WATCH / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
NAME = re.compile(r"\bhub_[a-z_]+\b")
LABELS = {"agency", "outcome", "kind", "le", "instance", "state", "part"}
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=WATCH.parents[1] / ".tools" / "bin")

ASKED = {  # what is to be watched, and the alarm for it
    "barrier latency": "HubBarrierSlow",
    "oldest waiting": "HubEventsWait",
    "oldest held": "HubDeliveriesHeld",
    "a jump of refusals": "HubRefusalsJump",
    "a publisher silent beyond its rhythm": "HubPublisherSilent",
    "a person halted for more than 15 minutes": "HubPersonHalted",
    "keys that end": "HubKeysEnding",
    "the policy engine away": "HubPolicyUnavailable",
    "intake that is not worked off": "HubIntakeNeverEmpty",
    "time until the disk is full": "HubDiskFills",
    "dead letters": "HubDeadLetters",
    "a part that nobody runs": "HubPartMissing",
}


def exposed() -> set[str]:
    """Every name of a series that `/metrics` can show."""
    shown = render(open_metrics(lambda: ["tax"])).decode()
    return set(re.findall(r"^(hub_[a-z_]+)", shown, re.MULTILINE))


def queries() -> list[str]:
    drawn = [query for _, row in ROWS for panel in row for query, _ in panel.lines]
    return [*drawn, *(str(rule["expr"]) for rule in RULES.values())]


def test_every_metric_that_is_asked_for_is_one_that_the_hub_shows() -> None:
    """A misspelt one would be no data, and no data raises nothing."""
    asked = {name for query in queries() for name in NAME.findall(query)}
    assert asked - exposed() == set()


def test_every_gauge_and_counter_of_the_hub_is_on_the_dashboard_or_in_an_alarm() -> None:
    """What nobody looks at need not be measured."""
    asked = " ".join(queries())
    families = {name.removesuffix("_created") for name in exposed()}
    stems = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in families}
    assert {stem for stem in stems if stem not in asked} == set()


def test_labels_in_queries_are_those_that_there_are() -> None:
    """Their values, too: an outcome that does not exist never rises."""
    for query in queries():
        named = re.findall(r"(?:by|ignoring) \(?\(([a-z, ]*)\)", query) + re.findall(r"[{,]([a-z]+)=", query)
        assert {one.strip() for names in named for one in names.split(",")} <= LABELS, query
        assert set(re.findall(r'outcome="([a-z]+)"', query)) <= set(OUTCOMES)
        assert set(re.findall(r'kind="([a-z]+)"', query)) <= set(KINDS)


def test_every_alarm_says_what_to_do_and_how_urgent_it_is() -> None:
    """Whoever is woken has one remedy in the message; what is to be watched has its alarm."""
    for name, rule in RULES.items():
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert rule["annotations"].keys() == {"summary", "remedy"}, name
        assert "person" not in str(rule["expr"]), name
    assert set(ASKED.values()) <= RULES.keys()


def test_every_alarm_is_tried_with_a_series_that_raises_it() -> None:
    """In alerts_test.yaml; what promtool finds there is what the next test shows."""
    tried = yaml.safe_load((WATCH / "alerts_test.yaml").read_text(encoding="utf-8"))["tests"]
    raised = {one["alertname"] for case in tried for one in case["alert_rule_test"] if one["exp_alerts"]}
    assert raised == RULES.keys()


@pytest.mark.skipif(
    PROMTOOL is None and os.environ.get("HUB_REQUIRE_PROMTOOL") != "1",
    reason="promtool is not installed: `make .tools/bin/promtool` brings it; HUB_REQUIRE_PROMTOOL=1 fails without it",
)
def test_prometheus_reads_rules_and_panels_and_raises_what_it_must(tmp_path: Path) -> None:
    """By its own promtool; a panel's query is read as a rule that records it."""
    assert PROMTOOL is not None, "make .tools/bin/promtool"
    rules = [{"record": "panel:query", "expr": one, "labels": {"at": str(at)}} for at, one in enumerate(queries())]
    panels = tmp_path / "panels.yaml"
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    for words in (["check", "rules", "alerts.yaml", str(panels)], ["test", "rules", "alerts_test.yaml"]):
        ran = subprocess.run([PROMTOOL, *words], cwd=WATCH, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_dashboard_is_what_its_table_says() -> None:
    """Run `python deploy/watch/dashboard.py` after a change."""
    assert OUT.read_text(encoding="utf-8") == text()
    panels = json.loads(text())["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
