"""What is told of a statement that PostgreSQL did not take: never a value that was in it."""

import psycopg

from hub.core.errors import HubError, Kind


def told(error: psycopg.Error) -> Exception:
    """Return what to raise instead: a request's own fault as HubError(INVALID), else the same defect without values.

    SQLite takes a text with U+0000, so nothing before the store minds it; it can only have come from outside.
    """
    if isinstance(error, psycopg.errors.CharacterNotInRepertoire):
        what = "a text with U+0000 can neither be stored nor looked for; nothing was changed"
        return HubError(Kind.INVALID, what, remedy="Send it without that character.")
    # else PostgreSQL quotes a failing row, a key, an unreadable text
    said = error.diag.message_primary if error.sqlstate and not error.sqlstate.startswith("22") else None
    return type(error)(f"{error.sqlstate or ''} {said or type(error).__name__}".strip())
