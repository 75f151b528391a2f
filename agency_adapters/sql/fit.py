"""Hold a mapping to the database's columns and to the hub's datasets, before anything is read or sent."""

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from agency_adapters.rules import Rule, did_you_mean, refuse
from agency_adapters.sql.database import query_columns, table_columns
from agency_adapters.sql.mapping import Plan
from agency_adapters.sql.rows import Dataset, form_of

OUTBOX_NEEDS = ("state",)
OUTBOX_DATA = ("data",)
FITS = {  # the schema's form -> what a rule may make
    "str": {"str", "lookup"}, "date": {"date", "lookup"}, "datetime": {"datetime", "lookup"},
    "int": {"int", "lookup"}, "number": {"int", "number", "lookup"}, "bool": {"bool", "lookup"},
}  # fmt: skip


def fit(plan: Plan, engine: sa.Engine, datasets: Mapping[str, Dataset]) -> Mapping[str, str]:
    """Return the columns of the plan's table or query. Raises `AgencyError` with all that does not fit."""
    columns = table_columns(engine, plan.table) if plan.table else query_columns(engine, plan.query)
    findings = [*_missing(plan, columns), *_fields(plan, datasets)]
    refuse(f"mapping {plan.name}", findings)
    return columns


def _missing(plan: Plan, columns: Mapping[str, str]) -> Iterator[str]:
    needed = list(plan.columns)
    if plan.mode == "outbox":
        needed += OUTBOX_NEEDS + (() if plan.rules else OUTBOX_DATA + (() if plan.dataset else ("dataset",)))
    where = f"table {plan.table}" if plan.table else "the query"
    for column in needed:
        if column not in columns:
            yield f"{where} has no column {column}. {did_you_mean(column, list(columns))}"


def _fields(plan: Plan, datasets: Mapping[str, Dataset]) -> Iterator[str]:
    unknown = [name for name in plan.publishes() if name not in datasets]
    for name in unknown:
        yield f"{name} is no dataset that this agency publishes. {did_you_mean(name, list(datasets))}"
    if plan.rules and plan.dataset in datasets:
        yield from _rules("fields", plan.rules, datasets[plan.dataset])
    if plan.deletions and plan.deletions.dataset in datasets:
        yield from _rules("deletions.fields", plan.deletions.rules, datasets[plan.deletions.dataset])


def _rules(where: str, rules: Mapping[str, Rule], dataset: Dataset) -> Iterator[str]:
    for name in sorted(dataset.required - rules.keys()):
        yield f"{where}.{name} is missing: {dataset.name} requires it"
    for name, rule in rules.items():
        if name not in dataset.properties:
            yield f"{dataset.name} has no field {name}. {did_you_mean(name, list(dataset.properties))}"
            continue
        schema = dataset.properties[name]
        if rule.many and schema.get("type") != "array":
            yield f"{where}.{name} is one value in {dataset.name}; columns makes a list. Use column"
            continue
        wanted = form_of(schema.get("items", {}) if rule.many else schema)
        if rule.form and wanted in FITS and rule.form not in FITS[wanted]:
            yield f"{where}.{name} is a {wanted} in {dataset.name}, not a {rule.form}"
        if not rule.columns and not rule.known and not _is(rule.constant, wanted):
            yield f"{where}.{name} is a {wanted} in {dataset.name}; the constant is none"


def _is(value: object, wanted: str) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "str": (str,), "date": (str,), "datetime": (str,), "int": (int,), "number": (int, float), "bool": (bool,),
    }  # fmt: skip
    if wanted not in kinds:
        return True
    return isinstance(value, kinds[wanted]) and (wanted == "bool") == isinstance(value, bool)
