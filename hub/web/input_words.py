"""Say in words what pydantic found wrong in a request, without its own messages: some of them repeat the input."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hub.core.errors import Item

PLAIN_NAME = re.compile(r"[a-z_]{1,40}")
ITEMS = 100
WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must be of length {min_length} or more",
    "string_too_long": "must be of length {max_length} or less",
    "string_pattern_mismatch": "must be of the pattern {pattern}",
    "too_short": "must hold {min_length} or more elements",
    "too_long": "must hold {max_length} or fewer elements",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
}
KINDS = (  # the beginning of pydantic's error type, and what it wanted
    ("string", "must be text"),
    ("int", "must be a whole number"),
    ("float", "must be a number"),
    ("decimal", "must be a number"),
    ("bool", "must be true or false"),
    ("datetime", "must be a time such as 2026-01-31T09:30:00Z (RFC 3339)"),
    ("date", "must be YYYY-MM-DD"),
    ("list", "must be a list"),
    ("tuple", "must be a list"),
    ("dict", "must be an object"),
    ("model", "must be an object"),
    ("uuid", "must be a UUID"),
)


def input_items(errors: Sequence[Mapping[str, Any]]) -> tuple[Item, ...]:
    """Word each of pydantic's errors (`type`, `loc`, `ctx`): where as a JSON pointer in the body, or `?name`."""
    return tuple(Item(_words(error), _where(error["loc"])) for error in errors[:ITEMS])


def _words(error: Mapping[str, Any]) -> str:
    kind, context = str(error["type"]), error.get("ctx", {})
    if kind in WORDS:
        try:
            return WORDS[kind].format_map(context)  # only limits that the declared type itself sets
        except KeyError:
            return "is not of the form wanted here"
    return next((words for beginning, words in KINDS if kind.startswith(beginning)), "is not of the form wanted here")


def _where(location: Sequence[str | int]) -> str:
    """Write pydantic's location. Names that the request chose are shown only where they look like a programmer's."""
    if not location:
        return ""
    part, *steps = location
    shown = [str(step) if isinstance(step, int) or PLAIN_NAME.fullmatch(step) else "*" for step in steps]
    if part == "body":
        return "".join(f"/{step}" for step in shown)
    return ("?" if part == "query" else f"{part} ") + ".".join(shown)
