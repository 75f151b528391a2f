"""How a running hub is: what keeps it from its work, what keeps releases from going on, its status and its gauges."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

from hub.core.errors import HubError, Item, Kind
from hub.exchange.bell import Bell
from hub.exchange.clock_check import REMEDY as SET_THE_CLOCK
from hub.exchange.clock_check import ClockCheck
from hub.exchange.dead_letters import letters_status, measure_letters
from hub.metrics import Metrics
from hub.operations import state
from hub.operations.running import missed, missing_parts, running_parts
from hub.operations.standstill import Reason, Watch
from hub.operations.steered import Steered, standstill_of, status_of, without_store
from hub.parts import DECIDE, Part
from hub.ports import Policy
from hub.stop_flag import read_stops
from hub.store.quarantine import REMEDY, WHY, quarantine
from hub.store.waiting import oldest

US = 1_000_000


class InForce(Protocol):
    """What is decided under. `revision`: of the policy that was approved."""

    @property
    def revision(self) -> str: ...
    @property
    def policy(self) -> Policy: ...


class Working(Protocol):
    """One of the hub's threads."""

    def trouble(self) -> str:
        """Say in words what keeps it from its work; "" when nothing does."""


class Asking(Protocol):
    """What asks the policy server now and then whether it is there."""

    def troubles(self) -> tuple[Item, ...]: ...


class Threads(Protocol):
    """The hub's own threads."""

    @property
    def here(self) -> Sequence[Working]: ...
    @property
    def gate(self) -> Working: ...
    @property
    def policy_watch(self) -> Asking: ...
    @property
    def standstill(self) -> Watch: ...
    @property
    def several(self) -> bool: ...


class Watched(Steered, Protocol):
    """A hub, as far as one asks how it is."""

    @property
    def timely(self) -> ClockCheck: ...
    @property
    def in_force(self) -> InForce: ...
    @property
    def threads(self) -> Threads: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def bell(self) -> Bell: ...
    @property
    def stopping(self) -> bool: ...


def troubles(hub: Watched) -> tuple[Item, ...]:
    """Say in words why the hub does not do its work; empty when it does."""
    items = [Item(said, remedy="Its log says more.") for worker in hub.threads.here if (said := worker.trouble())]
    items += _engines(hub)
    if hub.stopping:
        items.append(Item("the hub is stopping"))
    return tuple(items)


def paused(hub: Watched) -> list[Reason]:
    """Say what keeps releases from going on, what lies deepest first."""
    stops = read_stops(hub.stop_flag)
    found = []
    if stops.everything:
        since_us = min((one.since_us for one in stops.lines if one.scope == "all"), default=0)
        found.append(Reason("stopped by the operator", since_us))
    gate = hub.threads.gate.trouble() if Part.GATE in hub.settings.parts else ""
    said = [*[one.what for one in _engines(hub)], *([gate] if gate else [])]
    words = [one.removeprefix("nothing is decided: ") for one in said]
    return found + [Reason(one[:1].lower() + one[1:]) for one in words]


def _engines(hub: Watched) -> list[Item]:
    """Say what is wrong with that on which the hub stands, what lies deepest first."""
    items = []
    if said := hub.store.trouble():
        items.append(Item(said, remedy="Check the disk and the store's file; restart when both are back."))
    else:
        items += _quarantine(hub)
    if said := hub.timely.trouble():
        items.append(Item(said, remedy=SET_THE_CLOCK))
    unapproved = _unapproved(hub.in_force)
    items += hub.bus.troubles()
    items += unapproved
    if hub.settings.policy == "server" and hub.settings.parts & DECIDE and not unapproved:
        items += hub.threads.policy_watch.troubles()
    return items


def _quarantine(hub: Watched) -> list[Item]:
    """Say that the store was restored and nothing is released."""
    try:
        with hub.store.read() as tx:
            held = quarantine(tx)
    except HubError:  # the store's own trouble says more
        return []
    return [Item(f"{WHY[held.why]}; nothing is released", remedy=REMEDY)] if held else []


def _unapproved(in_force: InForce) -> list[Item]:
    said = ""
    if not in_force.revision:
        said = "no catalogue is approved"
    elif in_force.revision != in_force.policy.revision():
        said = "the policy is not the one that was approved; nothing is decided"
    return [Item(said, remedy="Run `hub catalogue apply`.")] if said else []


def status(hub: Watched) -> dict[str, Any]:
    """Say how the hub is, for an operator. While its store is away: what is known without it."""
    several = hub.threads.several
    said: dict[str, Any] = {
        "pid": os.getpid(),
        "parts": [str(part) for part in Part if part in hub.settings.parts],
        "troubles": [_shown(item) for item in troubles(hub)],
        "revision": hub.in_force.revision,
        "long_polls": hub.bell.listeners(),
        "standstill": standstill_of(hub, hub.threads.standstill.look()),
    }
    try:
        with hub.store.read() as tx:
            letters = letters_status(tx, hub.clock(), hub.settings.dead_letter_alarm_hours)
            running = running_parts(tx) if several else []
        absent = missing_parts(running, hub.settings) if several else ()
        said["troubles"] += [_shown(item) for item in missed(absent)]
        return {**said, "processes": running, **status_of(hub), **letters}
    except HubError as error:
        if error.kind is not Kind.UNAVAILABLE:
            raise
        return {**said, **without_store(hub)}


def _shown(item: Item) -> dict[str, str]:
    return {"what": item.what, "remedy": item.remedy}


def measure(hub: Watched) -> None:
    """Bring the gauges up to date."""
    metrics, now_us = hub.metrics, hub.clock()
    with hub.store.read() as tx:
        waiting, since_us = oldest(tx)
        measure_letters(metrics, tx, now_us)
        absent = missing_parts(running_parts(tx), hub.settings) if hub.threads.several else ()
    metrics.waiting_events.set(waiting)
    metrics.oldest_waiting_s.set((now_us - since_us) / US if waiting else 0)
    metrics.intake_backlog.set(hub.bus.backlog())
    metrics.wal_bytes.set(hub.store.wal_bytes())
    metrics.long_polls.set(hub.bell.listeners())
    metrics.troubles.set(len(troubles(hub)))
    for part in Part:
        metrics.parts_missing.labels(part).set(part in absent)
    state.measure(metrics, hub.settings, hub.store, hub.approved(), read_stops(hub.stop_flag), now_us)
