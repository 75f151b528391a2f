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

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agency_adapters.errors import AgencyError
from agency_adapters.sql.database import did_you_mean

MODES = ("outbox", "watermark", "snapshot")
FORMS = ("str", "int", "number", "bool", "date", "datetime", "lookup", "json")
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}
OVERLAP_S = 600  # longer than any transaction of an application should last
LEAST_OVERLAP_S = 2 * 3_600  # where clocks are set back once a year
NOTICED = ("key", "subject", "noticed")  # what is still known of a row that is gone
GONE_PERCENT = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """Where one field comes from. Without a form it is the dataset's: text, date, whole number."""

    columns: tuple[str, ...] = ()
    many: bool = False  # a list, of several columns; empty ones are left out
    form: str = ""
    format: str = ""  # of a date or time, as strptime reads it; else ISO 8601
    lookup: Mapping[str, Any] = field(default_factory=dict)
    constant: Any = None  # without columns and `known`
    known: str = ""  # of NOTICED, for rows that are gone


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
_RULE = {
    "column": str, "columns": list, "as": str, "format": str, "lookup": dict, "constant": object, "from": str,
}  # fmt: skip


class _Sheet:
    """The file being read: findings are collected, so that all of them are told at once."""

    def __init__(self, name: str) -> None:
        self.name, self.findings = name, list[str]()

    def note(self, what: str) -> None:
        self.findings.append(what)

    def known(self, where: str, given: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what is known and of its type; note the rest."""
        kept = {}
        for key, value in given.items():
            if key not in kinds:
                self.note(f"{where}{key} means nothing. {did_you_mean(key, list(kinds))}")
            elif not isinstance(value, kinds[key]) or (kinds[key] is int and isinstance(value, bool)):
                self.note(f"{where}{key} has the wrong type")
            else:
                kept[key] = value
        return kept


def read_mapping(path: Path) -> Plan:
    """Read a mapping file. Raises `AgencyError` with everything that is wrong in it."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AgencyError(f"{path.name} is not TOML: {error}", remedy="Mend that place in the mapping.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise AgencyError(f"the mapping {path} cannot be read", remedy="Name a file that `sql map` wrote.") from error
    sheet = _Sheet(path.name)
    plan = _plan(sheet, path.stem, sheet.known("", given, _TOP))
    refuse(path.name, sheet.findings)
    return plan


def refuse(name: str, findings: Sequence[str]) -> None:
    """Raise one `AgencyError` for all findings; nothing where there are none."""
    if findings:
        listed = "".join(f"\n  - {finding}" for finding in findings)
        raise AgencyError(f"{name}: nothing was published, for{listed}\n", remedy=f"Mend {name} and run it again.")


def _plan(sheet: _Sheet, name: str, top: Mapping[str, Any]) -> Plan:
    mode, outbox = top.get("mode", ""), top.get("mode") == "outbox"
    key = top.get("key", "id" if outbox else [])
    rules = {field: _rule(sheet, f"fields.{field}", said) for field, said in top.get("fields", {}).items()}
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


def _check(sheet: _Sheet, plan: Plan, top: Mapping[str, Any]) -> None:
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


def _check_zone(sheet: _Sheet, plan: Plan) -> None:
    try:
        ZoneInfo(plan.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        sheet.note("time_zone is no time zone; write it like Europe/Vienna, or UTC")
    if plan.mode == "watermark" and plan.time_zone != "UTC" and plan.overlap_s < LEAST_OVERLAP_S:
        what = f"overlap_s has to be {LEAST_OVERLAP_S} at least where time_zone is not UTC"
        sheet.note(f"{what}: when clocks are set back, new rows look an hour old")


def _deletions(sheet: _Sheet, said: Any) -> Deletions | None:
    if said is None or said == "ignore":
        return None
    if not isinstance(said, dict):
        sheet.note('deletions is "ignore", or a table with dataset and fields')
        return None
    found = sheet.known("deletions.", said, {"dataset": str, "fields": dict})
    rules = {name: _rule(sheet, f"deletions.fields.{name}", one) for name, one in found.get("fields", {}).items()}
    if not found.get("dataset") or not rules:
        sheet.note("deletions needs dataset and fields")
    if any(rule.columns for rule in rules.values()):
        sheet.note(f"deletions.fields know constants and from = {', '.join(NOTICED)}: the row itself is gone")
    return Deletions(found.get("dataset", ""), rules)


def _rule(sheet: _Sheet, where: str, said: Any) -> Rule:
    if isinstance(said, str):
        return Rule((said,))
    if not isinstance(said, dict):
        sheet.note(f'{where} is a column\'s name, or {{column = "...", as = "..."}}, or {{constant = ...}}')
        return Rule()
    found = sheet.known(f"{where}.", said, _RULE)
    if len({"column", "columns", "constant", "from"} & found.keys()) != 1:
        sheet.note(f"{where} needs exactly one of column, columns, constant, from")
    form = found.get("as", "lookup" if "lookup" in found else "")
    if form and form not in FORMS:
        sheet.note(f"{where}.as is one of {', '.join(FORMS)}")
    if (form == "lookup") != bool(found.get("lookup")):
        sheet.note(f"{where} needs lookup, a table from the column's values to the field's")
    if found.get("from", "key") not in NOTICED:
        sheet.note(f"{where}.from is one of {', '.join(NOTICED)}")
    columns = (found["column"],) if "column" in found else tuple(map(str, found.get("columns", ())))
    return Rule(
        columns,
        "columns" in found,
        form,
        found.get("format", ""),
        found.get("lookup", {}),
        found.get("constant"),
        found.get("from", ""),
    )
