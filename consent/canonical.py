"""One way to turn a value into bytes: RFC 8785 canonical JSON, and SHA-256 over them."""

import hashlib
from collections.abc import Mapping

import rfc8785

from consent.errors import Code, ConsentError

# RFC 8785 inherits the safe integers of IEEE 754 doubles. In microseconds since 1970 that lasts until the year 2255.
MAX_INT = 2**53 - 1
MAX_TEXT_CHARS = 200  # codes, ids and session names; a longer one is a mistake

Json = str | int | bool | list["Json"] | Mapping[str, "Json"]


def canonical(value: Mapping[str, Json]) -> bytes:
    """Encode as RFC 8785 JSON. Raises `ConsentError(VALUE)` for what it cannot say (lone surrogates, huge integers)."""
    try:
        return rfc8785.dumps(value)
    except (ValueError, TypeError) as error:
        raise ConsentError(Code.VALUE, "a value has no canonical JSON form (RFC 8785)") from error


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def check_texts(*, shortest: int = 1, **texts: object) -> None:
    """Raise `ConsentError(VALUE)` naming the first that is no text of `shortest` to `MAX_TEXT_CHARS` characters."""
    for name, text in texts.items():
        if not isinstance(text, str) or not shortest <= len(text) <= MAX_TEXT_CHARS:
            raise ConsentError(Code.VALUE, f"{name} must be a text of {shortest} to {MAX_TEXT_CHARS} characters")


def check_ints(*, low: int, high: int = MAX_INT, **numbers: object) -> None:
    """Raise `ConsentError(VALUE)` naming the first number that is no integer of `low` to `high`, both included."""
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ConsentError(Code.VALUE, f"{name} must be an integer of {low} to {high}")
