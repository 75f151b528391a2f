"""The words in which any mapping says where a field comes from: the same for folders, files and databases.

    child_id = "child_no"                                          # a column, in the form that is usual there
    dob = {column = "born", as = "date", format = "%d.%m.%Y"}
    sex = {column = "sex", as = "lookup", lookup = {F = "female", M = "male"}}
    parent_ids = {columns = ["mother_no", "father_no"]}            # a list; empty ones are left out
    multiple_birth = {constant = false}

Every mistake in a mapping is told at once.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agency_adapters.errors import AgencyError

FORMS = ("str", "int", "number", "bool", "date", "datetime", "lookup", "json")
NOTICED = ("key", "subject", "noticed")  # what is still known of a row that is gone
_FORMER = {"text": "str", "integer": "int", "boolean": "bool"}  # forms that folders had before there was one vocabulary


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


_RULE = {
    "column": str, "columns": list, "as": str, "format": str, "lookup": dict, "constant": object, "from": str,
}  # fmt: skip


class Sheet:
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


def read_toml(path: Path, *, remedy: str) -> dict[str, Any]:
    """Read a mapping's file. Raises `AgencyError` where it is none; `remedy` is for one that cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AgencyError(f"{path.name} is not TOML: {error}", remedy="Mend that place in the mapping.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise AgencyError(f"the mapping {path} cannot be read", remedy=remedy) from error


def refuse(name: str, findings: Sequence[str]) -> None:
    """Raise one `AgencyError` for all findings; nothing where there are none."""
    if findings:
        listed = "".join(f"\n  - {finding}" for finding in findings)
        raise AgencyError(f"{name}: nothing was published, for{listed}\n", remedy=f"Mend {name} and run it again.")


def rule_of(sheet: Sheet, where: str, said: Any) -> Rule:
    if isinstance(said, str):
        return Rule((said,))
    if not isinstance(said, dict):
        sheet.note(f'{where} is a column\'s name, or {{column = "...", as = "..."}}, or {{constant = ...}}')
        return Rule()
    if "type" in said:
        form = str(said["type"])
        sheet.note(f'{where}: what was type = "{form}" is written as = "{_FORMER.get(form, form)}" now')
        said = {key: value for key, value in said.items() if key != "type"}
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


def did_you_mean(word: str, known: "list[str]") -> str:
    """Suggest the nearest known word; else list them."""
    near = get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(known)) or 'none'}."
