"""CSV that a spreadsheet opens without running anything in it (RFC 4180, each cell quoted).

A spreadsheet takes a cell that begins with = + - @ for a formula, and quoting does not change that. Such text gets an
apostrophe in front, and so does text that looks as if it had one already; `unescaped` takes exactly that away again.
Numbers are numbers, a sign is no danger in them.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

import orjson

SIGNS = frozenset("=+-@\N{MINUS SIGN}")
BREAKS = frozenset("\t\r\n")  # a cell that begins with one is split off it and read from what follows
HIDDEN = frozenset({"Cc", "Cf", "Zs"})  # categories of what does not show: skipped when a spreadsheet looks for a sign
MARK = "\ufeff".encode()  # tells spreadsheets that it is UTF-8; off where a program reads the file


def is_formula(text: str) -> bool:
    """Say whether a spreadsheet may take a text for a formula; full-width and small signs count as well."""
    if not text or text[0].isalnum():
        return False
    if text[0] in BREAKS:
        return True
    for character in text:
        if unicodedata.category(character) not in HIDDEN:
            return bool(SIGNS.intersection(unicodedata.normalize("NFKC", character)[:1]))
    return False


def escaped(text: str) -> str:
    """Put an apostrophe in front of what would be a formula, and of what `unescaped` would take one from."""
    return "'" + text if is_formula(text.lstrip("'")) else text


def unescaped(text: str) -> str:
    """Take away the apostrophe that `escaped` put there."""
    return text[1:] if text.startswith("'") and is_formula(text.lstrip("'")) else text


def cell(value: Any) -> str:
    """Write one value: text escaped, nothing as an empty cell, lists and objects as JSON text."""
    if isinstance(value, str):
        return escaped(value)
    return "" if value is None else orjson.dumps(value).decode()


def line(values: Sequence[Any]) -> bytes:
    """Write one row, every cell quoted."""
    quoted = [cell(value).replace('"', '""') for value in values]
    return ('"' + '","'.join(quoted) + '"\r\n').encode()
