"""An event as the exchange sees it, and the persons it is about.

CloudEvents 1.0: `type` is the dataset's name, `subject` the publisher's own id of the person, `source` the publisher.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DerivedField:
    """A field computed by one of a closed set of pure functions, so that its base field can stay withheld."""

    name: str
    base: str
    function: str  # month | year | band | exists | count
    bounds: tuple[float, ...] = ()  # of `band`: ascending lower limits
    titles: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One published event, checked against its dataset's schema. Ids in it are the publisher's own."""

    publisher: str
    source: str
    id: str
    type: str
    version: int
    subject: str
    time_us: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mention:
    """One person an event is about: in which role, and under which local id of the publisher."""

    role: str
    local_id: str
