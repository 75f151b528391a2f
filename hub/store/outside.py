"""What is written down outside the store, because a restored older copy of it would have forgotten it.

A transaction reaches it as `tx.outside`: before its commit it reserves the numbers it gives out and notes what it takes
back. The composition root says who keeps these (`hub/identity/marks.py`); a store alone keeps none.
"""

from typing import NamedTuple, Protocol

CHOICES = ("withdrawn", "refused", "paused", "narrowed", "lessened", "objected")  # a person's own; `name`: its number
# lessened: another consent took its place that allows less, or for a shorter time
LINKS = ("unlinked", "disputed", "lowered")  # `name`: the keyed hash it is found by, hexadecimal
KEYS = ("agency-key", "officer-key")  # ended; `name` is AGENCY/KID
HALTS = ("agency", "agreement")  # suspended or ended; `name` is the number
WAYS = ("webhook", "sealing-key")  # an agency's own was changed or removed; `name` is its code
CATALOGUE = "catalogue"  # another one was approved; `name` is its digest
PERSONAL = frozenset((*CHOICES, *LINKS))  # their names are kept as a keyed hash only


class Act(NamedTuple):
    """Something taken back, ended or stopped. `recipient`, `purpose`: a choice's.

    Never what allows something again: it is noted before its commit, and may then not come to it.
    """

    kind: str
    name: str
    at_us: int
    recipient: int = 0
    purpose: int = 0


class Outside(Protocol):
    """Where these are kept. Thread-safe; both return when it is durable, and raise HubError(UNAVAILABLE) else."""

    def reserve(self, name: str, upto: int) -> None:
        """Count the numbers of this name up to `upto` as given out. Cheap: they are taken in large blocks."""

    def note(self, act: Act) -> None:
        """Keep an act. One that is kept and did not commit is done after a restore: that refuses too much at most."""

    def trusts(self, origin: str) -> bool:
        """Say whether the store is the one that was written to all along: `origin` is what `Tx.origin` returns."""


class Nowhere:
    """Keeps nothing: a copy, a rehearsal, a store without a hub."""

    def reserve(self, name: str, upto: int) -> None:
        """Keep no number."""

    def note(self, act: Act) -> None:
        """Keep no act."""

    def trusts(self, origin: str) -> bool:  # noqa: ARG002 - nobody wrote down where it came from
        """Trust any."""
        return True


NOWHERE = Nowhere()
