"""Say one statement in PostgreSQL's words. Pure; each text is translated once and remembered.

The house writes SQLite's SQL, and of that what this table names. Whatever else differs is written so that both read it.
| SQLite                                  | PostgreSQL                                                               |
|-----------------------------------------|--------------------------------------------------------------------------|
| `?`                                     | `$1`, `$2`, ...                                                          |
| `x IN (?,?,...)`, `x NOT IN (?,?,...)`  | `x = ANY($1)`, `x <> ALL($1)`: one array, so one text however many        |
| `json_group_array(...)`                 | `coalesce(json_agg(...), '[]')`                                          |
| `json_array(...)`                       | `json_build_array(...)`: null stays null                                 |
| `x'00ff'`                               | `'\\x00ff'::bytea`                                                       |
| ` INDEXED BY name`                      | nothing: the planner has statistics                                      |
`hex`, `instr` and `json_extract` are functions that the schema brings (`hub/store/migrate_postgres.py`).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

SINGLE = -1  # a parameter that stands for itself
_TOKEN = re.compile(
    r"x'(?P<hex>[0-9a-fA-F]*)'"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|\b(?P<not>NOT )?IN \((?P<marks>(?:\?(?:, ?\?)*)?)\)"
    r"|(?P<mark>\?)"
    r"|(?P<indexed> INDEXED BY \w+)"
    r"|\b(?P<group>json_group_array)\("
    r"|\b(?P<array>json_array)\("
    r"|(?P<open>\()"
    r"|(?P<close>\))"
)
_INTO = re.compile(r"(\w+)\(([\w, ]+)\)")


class Statement(NamedTuple):
    """PostgreSQL's text, and per parameter of it how many of SQLite's it takes as an array, or SINGLE."""

    text: str
    shape: tuple[int, ...]

    def values(self, given: Sequence[Any]) -> Sequence[Any]:
        """Lay SQLite's parameters out as PostgreSQL's. An array loses what `padded` repeated at its end."""
        if not self.shape or max(self.shape) == SINGLE:
            return given
        laid: list[Any] = []
        at = 0
        for size in self.shape:
            if size == SINGLE:
                laid.append(given[at])
                at += 1
            else:
                laid.append(_unpadded(given[at : at + size]))
                at += size
        return laid


@lru_cache(maxsize=4_096)
def translate(sql: str) -> Statement:
    """Translate one statement. What is not in the table above passes through as it is."""
    said: list[str] = []
    shape: list[int] = []
    closings: list[str] = []  # what ends each parenthesis that is open
    at = 0
    for found in _TOKEN.finditer(sql):
        said.append(sql[at : found.start()])
        at = found.end()
        kind = found.lastgroup
        if kind == "hex":
            said.append(f"'\\x{found['hex']}'::bytea")
        elif kind == "marks":
            shape.append(found["marks"].count("?"))
            said.append(f"{'<> ALL' if found['not'] else '= ANY'}(${len(shape)})")
        elif kind == "mark":
            shape.append(SINGLE)
            said.append(f"${len(shape)}")
        elif kind == "group":
            said.append("coalesce(json_agg(")
            closings.append("), '[]')")
        elif kind == "array":
            said.append("json_build_array(")
            closings.append(")")
        elif kind == "open":
            said.append("(")
            closings.append(")")
        elif kind == "close":
            said.append(closings.pop() if closings else ")")
        elif kind == "text":
            said.append(found["text"])
    said.append(sql[at:])
    return Statement("".join(said), tuple(shape))


@lru_cache(maxsize=512)
def table_and_columns(into: str) -> tuple[str, tuple[str, ...]]:
    """Take `table(column, ...)` apart."""
    found = _INTO.fullmatch(into)
    if found is None:
        raise AssertionError(f"not `table(column, ...)`: {into}")
    return found[1], tuple(name.strip() for name in found[2].split(","))


def _unpadded(keys: Sequence[Any]) -> list[Any]:
    end = len(keys)
    while end > 1 and keys[end - 1] == keys[end - 2]:
        end -= 1
    return list(keys[:end])
