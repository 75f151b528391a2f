"""One consent from its question to now: its steps, its receipts, and what its recipient said to its end."""

from dataclasses import dataclass

from hub.citizens.desk import CitizenDesk, events_of, key_of, own_consent, record_of
from hub.identity.keys import keyed
from hub.identity.principal import Principal
from hub.store.consents import receipts_kept
from hub.store.overdue import due_under


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a record: what was done (consent.states.Action), when, and in which capacity."""

    action: str
    at_us: int
    capacity: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt that can be fetched again. `kind` is the act as addresses call it."""

    receipt: str
    kind: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Told:
    """Of a withdrawn consent: whether its recipient has confirmed that it knows, and else until when it is to."""

    due_us: int | None  # None: it has


@dataclass(frozen=True, slots=True)
class Timeline:
    steps: tuple[Step, ...]
    receipts: tuple[Kept, ...]
    told: Told | None  # None: it was not withdrawn, so there is nothing to tell


def timeline(desk: CitizenDesk, principal: Principal, consent: str) -> Timeline:
    """Return what happened to a consent of one's own, oldest first. Raises NotTheirs."""
    key = key_of(desk, principal.person)
    with desk.store.read() as tx:
        row = own_consent(tx, consent, principal.person)
        record_of(tx, key, row)  # believed only as a whole chain
        said = [one.said for one in events_of(tx, key, row)]
        steps = tuple(Step(one.action, one.at_us, one.by.capacity.value) for one in said)
        receipts = tuple(Kept(*one) for one in receipts_kept(tx, row.number))
        stop = keyed(desk.keys.delivery, "stop", row.public)  # as hub/citizens/withdraw.py names it
        told = Told(due_under(tx, stop)) if any(one.action == "withdraw" for one in steps) else None
    return Timeline(steps, receipts, told)
