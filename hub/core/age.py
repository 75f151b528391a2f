"""A person's age in the legal time zone, as purposes limit it."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hub.core.agreement import Purpose

US = 1_000_000


def local_date(now_us: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(now_us // US, tz=UTC).astimezone(zone).date()


def next_midnight_us(now_us: int, zone: ZoneInfo) -> int:
    """Return when the local date changes next: until then every age stays what it is."""
    tomorrow = local_date(now_us, zone) + timedelta(days=1)
    return int(datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone).timestamp()) * US


def years(born: date, today: date) -> int:
    """Return whole years. Someone born on 29 February completes a year on 1 March of a common year."""
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def age_state(purpose: Purpose, role: str, born: date | None, today: date) -> str:
    """Return "ok", "outside" or "unknown" for one person in one role. Half-open: from <= age < below."""
    if role not in purpose.age_roles:
        return "ok"
    if born is None:
        return "unknown"
    age = years(born, today)
    below = purpose.age_below_years or 1_000
    return "ok" if purpose.age_from_years <= age < below and born <= today else "outside"
