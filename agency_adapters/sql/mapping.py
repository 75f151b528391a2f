"""A mapping file: which table, which column is which field of which dataset. TOML; every mistake in it is told at once.

dataset = "civil.birth.registered"
database = "env:REGISTRY_DATABASE"
mode = "watermark"              # or "snapshot"; "outbox" for a table like `hub-agency sql ddl outbox` prints
table = "births"                # or query = "select ..."
key = "id"
subject = "child_no"            # the column with the agency's own id of the person
time = "registered_at"
changed = "updated_at"

[fields]
child_id = "child_no"
dob = {column = "born", as = "date", format = "%d.%m.%Y"}
sex = {column = "sex", as = "lookup", lookup = {F = "female", M = "male"}}
parent_ids = {columns = ["mother_no", "father_no"]}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agency_adapters.rules import NOTICED, Rule, Sheet, read_toml, refuse, rule_of

MODES = ("outbox", "watermark", "snapshot")
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}
OVERLAP_S = 600  # longer than any transaction of an application should last
LEAST_OVERLAP_S = 2 * 3_600  # where clocks are set back once a year
GONE_PERCENT = 10


@dataclass(frozen=True, slots=True)
class Deletions:
    """What is published of a row that is gone. More than `most_percent` of all at once is taken for a mistake."""

    dataset: str
    rules: Mapping[str, Rule]


@dataclass(frozen=True, slots=True)
class Plan:
    """A mapping that was read. `dataset` is empty where a column of the outbox says it."""

    name: str
    dataset: str
    database: str
    mode: str
    table: str
    query: str
    key: tuple[str, ...]
    subject: str
    time: str  # "": when it was noticed
    time_zone: str
    changed: str
    changed_unit: str
    overlap_s: int
    deletions: Deletions | None
    most_percent: int
    rules: Mapping[str, Rule]  # none in an outbox whose column `data` holds the JSON

    @property
    def columns(self) -> tuple[str, ...]:
        """Name every column that is read, once."""
        fields = (column for rule in self.rules.values() for column in rule.columns)
        named = dict.fromkeys((*self.key, self.subject, self.time, self.changed, *fields))
        return tuple(one for one in named if one)

    def publishes(self) -> tuple[str, ...]:
        """Name the datasets that the mapping says; an outbox may say them row by row."""
        return tuple(one for one in (self.dataset, self.deletions.dataset if self.deletions else "") if one)


_TOP = {
    "dataset": str, "database": str, "mode": str, "table": str, "query": str, "key": (str, list), "subject": str,
    "time": str, "time_zone": str, "changed": str, "changed_unit": str, "overlap_s": int, "deletions": (str, dict),
    "most_deletions_percent": int, "fields": dict,
}  # fmt: skip


def read_mapping(path: Path) -> Plan:
    """Read a mapping file. Raises `AgencyError` with everything that is wrong in it."""
    given = read_toml(path, remedy="Name a file that `sql map` wrote.")
    sheet = Sheet(path.name)
    plan = _plan(sheet, path.stem, sheet.known("", given, _TOP))
    refuse(path.name, sheet.findings)
    return plan


def _plan(sheet: Sheet, name: str, top: Mapping[str, Any]) -> Plan:
    mode, outbox = top.get("mode", ""), top.get("mode") == "outbox"
    key = top.get("key", "id" if outbox else [])
    rules = {field: rule_of(sheet, f"fields.{field}", said) for field, said in top.get("fields", {}).items()}
    plan = Plan(
        name=name,
        dataset=top.get("dataset", ""),
        database=top.get("database", ""),
        mode=mode,
        table=top.get("table", "hub_outbox" if outbox and "query" not in top else ""),
        query=top.get("query", ""),
        key=(key,) if isinstance(key, str) else tuple(map(str, key)),
        subject=top.get("subject", "subject" if outbox else ""),
        time=top.get("time", "happened_at" if outbox else ""),
        time_zone=top.get("time_zone", "UTC"),
        changed=top.get("changed", ""),
        changed_unit=top.get("changed_unit", "s"),
        overlap_s=top.get("overlap_s", OVERLAP_S),
        deletions=_deletions(sheet, top.get("deletions")),
        most_percent=top.get("most_deletions_percent", GONE_PERCENT),
        rules=rules,
    )
    _check(sheet, plan, top)
    return plan


def _check(sheet: Sheet, plan: Plan, top: Mapping[str, Any]) -> None:
    needed = ("database",) if plan.mode == "outbox" else ("database", "dataset", "key", "subject", "fields")
    for one in needed:
        if not top.get(one):
            sheet.note(f"{one} is missing")
    if plan.mode not in MODES:
        sheet.note(f"mode is one of {', '.join(MODES)}")
    if bool(plan.table) == bool(plan.query):
        sheet.note("table or query is missing" if not plan.table else "there is both a table and a query")
    if plan.query and plan.mode == "outbox":
        sheet.note("an outbox is a table: its rows are marked")
    if plan.rules and plan.mode == "outbox" and not plan.dataset:
        sheet.note("dataset is missing: the fields are of one dataset")
    if (plan.mode == "watermark") != bool(plan.changed):
        sheet.note("changed, the column that says when a row last changed, is for mode watermark and needed there")
    if plan.changed_unit not in UNITS:
        sheet.note(f"changed_unit is one of {', '.join(UNITS)}: what a number in that column counts since 1970")
    if (plan.mode == "snapshot") != ("deletions" in top):
        sheet.note('deletions, "ignore" or what to publish of them, is for mode snapshot and has to be said there')
    if plan.overlap_s < 0 or not 0 <= plan.most_percent <= 100:
        sheet.note("overlap_s or most_deletions_percent is out of its range")
    _check_zone(sheet, plan)


def _check_zone(sheet: Sheet, plan: Plan) -> None:
    try:
        ZoneInfo(plan.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        sheet.note("time_zone is no time zone; write it like Europe/Vienna, or UTC")
    if plan.mode == "watermark" and plan.time_zone != "UTC" and plan.overlap_s < LEAST_OVERLAP_S:
        what = f"overlap_s has to be {LEAST_OVERLAP_S} at least where time_zone is not UTC"
        sheet.note(f"{what}: when clocks are set back, new rows look an hour old")


def _deletions(sheet: Sheet, said: Any) -> Deletions | None:
    if said is None or said == "ignore":
        return None
    if not isinstance(said, dict):
        sheet.note('deletions is "ignore", or a table with dataset and fields')
        return None
    found = sheet.known("deletions.", said, {"dataset": str, "fields": dict})
    rules = {name: rule_of(sheet, f"deletions.fields.{name}", one) for name, one in found.get("fields", {}).items()}
    if not found.get("dataset") or not rules:
        sheet.note("deletions needs dataset and fields")
    if any(rule.columns for rule in rules.values()):
        sheet.note(f"deletions.fields know constants and from = {', '.join(NOTICED)}: the row itself is gone")
    return Deletions(found.get("dataset", ""), rules)
