"""Draft a mapping: a table's columns matched with a dataset's fields by name, title and type. To be read by a person.

Whatever could not be matched stands there as a comment with TODO. Some rows are looked at, to find how dates are
written and which codes there are; no value of theirs is written down but such codes.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any

import sqlalchemy as sa

from agency_adapters.sql.database import primary_key, split_name, table_columns, told
from agency_adapters.sql.rows import Dataset, form_of

LIKE_ENOUGH = 0.62  # of 1: `child_no` is `child_id`, `hospital` is not `postal`
LOOKED_AT_ROWS = 50
CODES_MOST, CODE_CHARS = 8, 12
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%Y%m%d", "%d-%m-%Y", "%Y/%m/%d")
CHANGED = re.compile(r"updat|modif|chang|altered|last_?mod|mtime", re.IGNORECASE)
HAPPENED = re.compile(r"happen|regist|issued|created|enter|insert|_at$|date|time", re.IGNORECASE)
ALIKE = {
    "number": "id", "no": "id", "nr": "id", "num": "id", "birth": "dob", "born": "dob", "birthdate": "dob",
    "gender": "sex", "mother": "parent", "father": "parent", "ids": "id",
}  # fmt: skip


def draft(engine: sa.Engine, table: str, dataset: Dataset, *, reference: str) -> str:
    """Write the mapping as TOML. `reference` is where the database's URL is."""
    columns = table_columns(engine, table)
    samples = _samples(engine, table, list(columns))
    matched = match(list(columns), dataset)
    keys = primary_key(engine, table)
    changed = next((one for one in columns if CHANGED.search(one)), "")
    named = {column for found in matched.values() for column in found}
    taken = {*named, changed, *keys}
    happened = next((one for one in columns if HAPPENED.search(one) and one not in taken), "") or changed
    subject = next((matched[one][0] for one in sorted(dataset.subject_fields) if one in matched), "")
    lines = [
        f"# Drafted from the names in {table}. Mend what has a TODO; then: hub-agency sql publish FILE --dry-run",
        f"dataset = {_toml(dataset.name)}",
        f"database = {_toml(reference)}",
        f'mode = "{"watermark" if changed else "snapshot"}"',
        f"table = {_toml(table)}",
        _either("key", (keys[0] if len(keys) == 1 else keys) or "", "the columns that tell every two rows apart"),
        _either("subject", subject, "the column with your own id of the person"),
        _either("time", happened, "the column that says when it happened; without it, when it was noticed")
        if happened
        else "# time: when a row was noticed, for no column says when it happened",
        *([f"changed = {_toml(changed)}"] if changed else ['deletions = "ignore"']),
        "",
        "[fields]",
        *_fields(dataset, matched, samples),
        "",
        *[f"# TODO column {name}: no field of {dataset.name} looks like it" for name in columns
          if name not in {*named, changed, happened, *keys}],
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def match(columns: Sequence[str], dataset: Dataset) -> dict[str, list[str]]:
    """Match fields with columns, the likest first, each column once. Only a field that is a list gets several."""
    many = {name for name, schema in dataset.properties.items() if schema.get("type") == "array"}
    pairs = sorted(
        ((_likeness(column, field, dataset), field, column) for field in dataset.properties for column in columns),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    found: dict[str, list[str]] = {}
    for likeness, field, column in pairs:
        free = field not in found or field in many
        if likeness >= LIKE_ENOUGH and free and not any(column in columns for columns in found.values()):
            found.setdefault(field, []).append(column)
    return found


def _likeness(column: str, field: str, dataset: Dataset) -> float:
    names = [field, *dataset.titles.get(field, {}).values()]
    return max(SequenceMatcher(None, _plain(column), _plain(name)).ratio() for name in names)


def _plain(name: str) -> str:
    """Bring names of one thing closer: snake and camel case alike, `no` and `number` like `id`."""
    parts = re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    parts = [part for part in parts if part not in ("the", "of", "a")]
    return "".join(ALIKE.get(part, part) for part in parts)


def _samples(engine: sa.Engine, table: str, columns: Sequence[str]) -> dict[str, list[Any]]:
    schema, name = split_name(table)
    source = sa.table(name, *map(sa.column, columns), schema=schema)
    with told(f"read {table}"), engine.connect() as connection:
        rows = connection.execute(sa.select(*source.c).limit(LOOKED_AT_ROWS)).all()
    return {one: [row[at] for row in rows if row[at] not in (None, "")] for at, one in enumerate(columns)}


def _fields(dataset: Dataset, matched: Mapping[str, list[str]], samples: Mapping[str, list[Any]]) -> Iterator[str]:
    for name, schema in dataset.properties.items():
        needed = "  # required" if name in dataset.required else ""
        if name not in matched:
            yield f"# TODO {name} ({_words(schema)}): no column looks like it{needed.replace('  #', ';')}"
            continue
        column = matched[name][0]
        if schema.get("type") == "array":
            yield f"{name} = {{columns = {_toml(matched[name])}}}{needed}"
        elif codes := schema.get("enum"):
            yield _lookup(name, column, codes, samples[column]) + needed
        elif form_of(schema) == "date" and (pattern := date_format(samples[column])):
            yield f'{name} = {{column = {_toml(column)}, as = "date", format = "{pattern}"}}{needed}'
        else:
            yield f"{name} = {_toml(column)}{needed}"


def _lookup(name: str, column: str, codes: Sequence[Any], values: Sequence[Any]) -> str:
    there = sorted({str(value) for value in values})
    if set(there) <= set(map(str, codes)) or len(there) > CODES_MOST or max(map(len, there)) > CODE_CHARS:
        return f"{name} = {_toml(column)}"
    pairs = []
    for code in there:
        near = [one for one in codes if str(one).lower().startswith(code.lower())]
        pairs.append(f"{_toml(code)} = {_toml(near[0]) if len(near) == 1 else _toml('TODO')}")
    told_codes = ", ".join(map(str, codes))
    return f'{name} = {{column = {_toml(column)}, as = "lookup", lookup = {{{", ".join(pairs)}}}}}  # to: {told_codes}'


def date_format(values: Sequence[Any]) -> str:
    """Return how these dates are written; "" where it is ISO 8601, or not text."""
    texts = [value for value in values if isinstance(value, str)]
    return max(("", *DATE_FORMATS), key=lambda one: sum(_reads(text, one) for text in texts))  # ISO 8601 where even


def _reads(text: str, pattern: str) -> bool:
    with suppress(ValueError):
        _ = datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)  # noqa: DTZ007 - only whether it reads
        return True
    return False


def _either(name: str, value: Any, todo: str) -> str:
    return f"{name} = {_toml(value)}" if value else f'# TODO {name} = "..."  # {todo}'


def _words(schema: Mapping[str, Any]) -> str:
    codes = schema.get("enum")
    return "one of " + ", ".join(map(str, codes)) if codes else form_of(schema).replace("json", "list")


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string or list of them is TOML as well
