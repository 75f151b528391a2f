"""An event as the exchange sees it, and the persons it is about.

CloudEvents 1.0: `type` is the dataset's name, `subject` the publisher's own id of the person, `source` the publisher.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class DerivedField:
    """A field computed by one of a closed set of pure functions, so that its base field can stay withheld."""

    name: str
    base: str
    function: str  # month | year | band | exists | count
    bounds: tuple[float, ...] = ()  # of `band`: ascending lower limits
    titles: Mapping[str, str] | None = None


class Aim(NamedTuple):
    """What an event is for, where it is not news for everybody who subscribes. Extension attributes of its envelope.

    corrects: `of` is the id of an earlier event of this publisher, dataset and person; answers: the id of an ask;
    backfill: the id of a backfill, and `last` says that this is the last event of its person.
    """

    kind: str  # corrects | answers | backfill
    of: str
    last: bool = False


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
    aim: Aim | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """One person an event is about: in which role, and under which local id of the publisher."""

    role: str
    local_id: str
