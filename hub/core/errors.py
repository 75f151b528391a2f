"""The one error family of the hub: a closed set of kinds, mapped to RFC 9457 problems in `hub/web/problems.py` only.

`what` says what is wrong, `where` points at it (JSON pointer, file:line, or a name), `remedy` says what to do.
None of the three ever holds a personal value: ids that the hub or the caller issued, and names from the catalogue only.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Why a request cannot be served. The value is the last part of the problem's `type` and never changes."""

    MALFORMED = "malformed"  # 400: not JSON, not a CloudEvent, not this form at all
    INVALID = "invalid"  # 422: well-formed, but its content is refused; `items` lists every error
    UNAUTHENTICATED = "unauthenticated"  # 401
    FORBIDDEN = "forbidden"  # 403: known, but lacks the scope or right
    NOT_FOUND = "not-found"  # 404: absent, or not the caller's own
    CONFLICT = "conflict"  # 409
    GONE = "gone"  # 410
    TOO_LARGE = "too-large"  # 413
    TOO_MANY = "too-many"  # 429, with retry_after_s
    UNAVAILABLE = "unavailable"  # 503: an engine is down; nothing was lost
    STARTUP = "startup"  # refuses to start: settings, catalogue, compiled policy


@dataclass(frozen=True, slots=True)
class Item:
    """One of several errors in one request."""

    what: str
    where: str = ""
    remedy: str = ""


class HubError(Exception):
    """An outcome the caller cannot decide. Raised where it is found, shaped for the protocol at the edge only."""

    def __init__(
        self,
        kind: Kind,
        what: str,
        *,
        where: str = "",
        remedy: str = "",
        code: str = "",
        items: tuple[Item, ...] = (),
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(what)
        self.kind, self.what, self.where, self.remedy = kind, what, where, remedy
        self.code = code or kind.value  # stable, finer than the kind: "assertion-expired"
        self.items, self.retry_after_s = items, retry_after_s
