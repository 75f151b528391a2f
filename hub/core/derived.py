"""The closed set of functions that a derived field may be computed by, so that its base field can stay withheld.

Each takes the base field's value (None where the event has none) and the bounds of its definition, and answers None
where nothing can be said: then the derived field is absent. None of them ever raises; a bad value is not our error to
report here, the publisher's schema check is.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from math import isfinite
from types import MappingProxyType
from typing import Any

Bounds = tuple[float, ...]
DATE_CHARS = len("2026-11-02")
Derive = Callable[[object, Bounds], object]


def month(value: object, _bounds: Bounds = ()) -> str | None:
    """Give the month of an ISO date or date-time, `"2026-11-02"` -> `"2026-11"`, in the text's own time zone."""
    return value[:7] if isinstance(value, str) and _is_iso(value) else None


def year(value: object, _bounds: Bounds = ()) -> int | None:
    """Give the year of an ISO date or date-time, `"2026-11-02"` -> `2026`, in the text's own time zone."""
    return int(value[:4]) if isinstance(value, str) and _is_iso(value) else None


def band(value: object, bounds: Bounds = ()) -> str | None:
    """Give the half-open band of a number: with bounds 10 and 20 one of `"<10"`, `"10-20"` (20 not in it), `">=20"`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not bounds:
        return None
    if isinstance(value, float) and not isfinite(value):
        return None
    reached = sum(1 for bound in bounds if value >= bound)
    if reached == 0:
        return f"<{bounds[0]:.15g}"
    if reached == len(bounds):
        return f">={bounds[-1]:.15g}"
    return f"{bounds[reached - 1]:.15g}-{bounds[reached]:.15g}"


def exists(value: object, _bounds: Bounds = ()) -> bool:
    """Say whether there is a value: False where the field is absent, null or empty. Zero and false are values."""
    return value is not None and value not in ("", [], {})


def count(value: object, _bounds: Bounds = ()) -> int | None:
    """Count the elements of an array."""
    return len(value) if isinstance(value, list | tuple) else None


FUNCTIONS: Mapping[str, Derive] = MappingProxyType(
    {"month": month, "year": year, "band": band, "exists": exists, "count": count}
)


def schema_of(function: str) -> dict[str, Any]:
    """Say in JSON Schema what the values of a derived field look like, for those who receive it."""
    schemas: dict[str, dict[str, Any]] = {
        "month": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
        "year": {"type": "integer"},
        "band": {"type": "string"},
        "exists": {"type": "boolean"},
        "count": {"type": "integer", "minimum": 0},
    }
    return schemas[function]


def _is_iso(text: str) -> bool:
    """Tell YYYY-MM-DD, alone or followed by T and a time; the basic and week forms of ISO 8601 are not ours."""
    if len(text) < DATE_CHARS or text[4] != "-" or text[7] != "-" or not text.isascii():
        return False
    try:
        if len(text) == DATE_CHARS:
            date.fromisoformat(text)
        elif text[DATE_CHARS] == "T":
            datetime.fromisoformat(text)
        else:
            return False
    except ValueError:
        return False
    return True
