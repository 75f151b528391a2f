"""The parts of a hub: what a process of it may do alone (`hub serve --only`). None said is all, as on one machine.

| part      | does                                                            | on the bus | decides |
|-----------|-----------------------------------------------------------------|------------|---------|
| web       | what agencies call but for pulling, and the citizens' portal    | publishes  | yes     |
| gate      | takes events off the bus, decides, lets go what stands behind   | reads      | yes     |
| handout   | pulls and acknowledgements                                      | -          | yes     |
| webhooks  | proves endpoints and posts to them: what calls agencies         | -          | yes     |
| files     | the file drop, out and in                                       | publishes  | yes     |
| retention | lets go what is over; persons are erased here                   | -          | -       |
"""

from enum import StrEnum


class Part(StrEnum):
    """One part. A closed set: compose file, chart and network policies name these."""

    WEB = "web"
    GATE = "gate"
    HANDOUT = "handout"
    WEBHOOKS = "webhooks"
    FILES = "files"
    RETENTION = "retention"


ALL = frozenset(Part)
SERVE = frozenset([Part.WEB, Part.HANDOUT])  # have a door of their own
ON_THE_BUS = frozenset([Part.WEB, Part.GATE, Part.FILES])
DECIDE = ALL - {Part.RETENTION}  # ask the policy


def shown(parts: frozenset[Part]) -> str:
    """Name parts as one types them, in a fixed order."""
    return ",".join(part for part in Part if part in parts)


def read(text: str) -> frozenset[Part]:
    """Read what `shown` wrote; what this version does not know is left out."""
    return frozenset(part for part in Part if part in text.split(","))
