"""A column's value into the field's, by the form that a mapping's rule has. What does not fit is told without it."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID

from agency_adapters.rules import Rule

Row = Mapping[str, Any]
_TRUE, _FALSE = frozenset({"1", "true", "t", "yes", "y"}), frozenset({"0", "false", "f", "no", "n"})


def field_reader(name: str, rule: Rule, form: str, zone: tzinfo, *, required: bool) -> Callable[[Row], Any]:
    """Make what reads one field of a row; None: it is left out. Raises ValueError, without the value."""
    if rule.known:
        return lambda row: row[rule.known]
    if not rule.columns:
        return lambda _row: rule.constant

    def one(row: Row, column: str) -> Any:
        value = row[column]
        if value is None or (isinstance(value, str) and not value.strip()):  # old databases write '' for nothing
            return None
        try:
            return value_of(value, form, rule, zone)
        except (ValueError, ArithmeticError, OverflowError):
            raise ValueError(f"{name}: what is in column {column} is no {form}") from None

    def field(row: Row) -> Any:
        if rule.many:
            value: Any = [found for column in rule.columns if (found := one(row, column)) is not None] or None
        else:
            value = one(row, rule.columns[0])
        if value is None and required:
            raise ValueError(f"{name}: column {', '.join(rule.columns)} is empty, and the field is required")
        return value

    return field


def value_of(value: Any, form: str, rule: Rule, zone: tzinfo) -> Any:
    """Turn a column's value into the field's. Raises ValueError and kin where it is none."""
    match form:
        case "str":
            return text_of(value)
        case "int":
            return _whole(value)
        case "number":
            return _number(value)
        case "bool":
            return _truth(value)
        case "date":
            return _day(value, rule.format)
        case "datetime":
            return instant(datetime.strptime(value, rule.format) if rule.format else value, zone)  # noqa: DTZ007 - the mapping's zone follows
        case "lookup":
            return rule.lookup[_known(text_of(value), rule.lookup)]
        case _:
            return json.loads(value) if isinstance(value, str | bytes) else value


def text_of(value: Any) -> str:
    """Write a value as text; CHAR columns come padded. Raises ValueError for what is none."""
    if isinstance(value, str):
        return value.rstrip(" ")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, int | Decimal | float | UUID):
        raise ValueError
    return str(int(value)) if not isinstance(value, UUID) and value == int(value) else str(value)


def instant(value: Any, zone: tzinfo) -> str:
    """Write a date or time as RFC 3339 in UTC; without an offset it is meant in `zone`. Raises ValueError."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        value = datetime.fromtimestamp(float(value), UTC)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=zone)
    if not isinstance(value, datetime):
        raise ValueError
    aware = value if value.tzinfo else value.replace(tzinfo=zone)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _known(code: str, lookup: Mapping[str, Any]) -> str:
    if code not in lookup:
        raise ValueError
    return code


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueError
    whole = int(value)
    if not isinstance(value, str) and whole != value:
        raise ValueError
    return whole


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise ValueError
    number = Decimal(str(value).strip())
    if not number.is_finite():
        raise ValueError
    return int(number) if number == int(number) else float(number)


def _truth(value: Any) -> bool:
    word = str(int(value) if isinstance(value, bool) else value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _day(value: Any, pattern: str) -> str:
    if pattern:
        return datetime.strptime(text_of(value), pattern).date().isoformat()  # noqa: DTZ007 - a day has no zone
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    if not isinstance(value, date):
        raise ValueError
    return (value.date() if isinstance(value, datetime) else value).isoformat()
