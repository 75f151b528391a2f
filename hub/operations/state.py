"""How a running hub is, for an operator: what stands still and why, what waits, what ends soon, and what to do.

Counts, ages, codes of the catalogue; nothing about a person. Each problem has one remedy.
"""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from hub.core.agreement import Catalogue
from hub.exchange.intake import POISON
from hub.identity.wrapping import progress
from hub.metrics import Metrics
from hub.operations.between import look, measure_between, problems_between
from hub.operations.key_list import TOKEN_ROTATED_DAYS, token_key_age_days
from hub.operations.restart import obstacles
from hub.operations.stopping import document
from hub.settings import Settings
from hub.stop_flag import Stops
from hub.store.engine import Store, Tx
from hub.store.operations import (
    Stuck,
    counted_from,
    ending_keys,
    held_oldest,
    last_heard,
    opened_oldest,
    outlet,
    roots,
    standing,
    waiting_by,
)
from hub.store.waiting import oldest

US = 1_000_000
DAY_US = 86_400 * US
UNACKNOWLEDGED_S = 3_600  # a recipient that works acknowledges within seconds; after an hour somebody should call
BACKLOG = 10_000  # some seconds of the gate's work
ENDING_DAYS = 30
DISK_BYTES = 1 << 30
DISK_SHARE = 0.05
CLOCK_MOVED_S = 2
HALTED = "Only these persons' events of this dataset stand still. See `hub deadletters list`; retry or discard."
UNACKNOWLEDGED = "Call the agency: its adapter may be down. Nothing is lost; `hub-agency doctor` on its side says why."
SILENT = "Call the agency: its export may have stopped. At the hub there is nothing to do."


class Silent(NamedTuple):
    """A dataset whose publisher declared a rhythm and was not heard within it. `heard_us` is 0 where never."""

    agency: str
    dataset: str
    rhythm_days: int
    heard_us: int
    silent_days: int


class Around(NamedTuple):
    """What the store does not know of: measured by whoever asks."""

    backlog: int
    wal_bytes: int
    root: bytes
    stops: Stops
    clock_moved_s: float  # how far the clock was moved since the start, beside the time that passed


def silent_datasets(tx: Tx, catalogue: Catalogue, now_us: int) -> list[Silent]:
    """Find the publishers that are silent beyond their declared rhythm."""
    heard, since = last_heard(tx), counted_from(tx)
    found = []
    for dataset in catalogue.datasets.values():
        heard_us = heard.get(dataset.number, 0)
        days = (now_us - (heard_us or since.get(dataset.name, now_us))) / DAY_US
        if dataset.rhythm_days and days > dataset.rhythm_days:
            found.append(Silent(dataset.provider, dataset.name, dataset.rhythm_days, heard_us, int(days)))
    return sorted(found)


def status(settings: Settings, store: Store, catalogue: Catalogue, around: Around, now_us: int) -> dict[str, Any]:
    """Read all that `hub status` shows beyond what the process itself knows, on one snapshot."""
    found = {"mode": settings.mode, **_look(store, catalogue, around, now_us)}
    found["disk"] = _disk(settings.data_dir)
    obstructed = obstacles(settings, store)
    found["restart"] = {"safe": not obstructed, "because": obstructed}
    found["problems"] = problems(found, around, settings.wal_restart_bytes, now_us)
    return found


def measure(
    metrics: Metrics, settings: Settings, store: Store, catalogue: Catalogue, stops: Stops, now_us: int
) -> None:
    """Bring the gauges about what stands still, ends, fills up, is silent or goes between agencies up to date."""
    with store.read() as tx:
        silent = silent_datasets(tx, catalogue, now_us)
        halted = waiting_by(tx, poison=POISON, halted=True)
        held, held_since_us = held_oldest(tx)
        opened_us = {one.code: opened_oldest(tx, one.number) for one in catalogue.agencies.values()}
        ending = [one.whose for one in ending_keys(tx, before_us=now_us + ENDING_DAYS * DAY_US)]
        token_days = token_key_age_days(tx, now_us)
        measure_between(metrics, tx, catalogue, now_us)
    for code in catalogue.agencies:
        metrics.silent_datasets.labels(code).set(sum(one.agency == code for one in silent))
        metrics.oldest_unacknowledged_s.labels(code).set(_age_s(opened_us[code], now_us))
        metrics.keys_ending.labels(code).set(ending.count(code))
    metrics.halted_chains.set(sum(one.chains for one in halted))
    metrics.oldest_halted_s.set(_age_s(min((one.since_us for one in halted), default=0), now_us))
    metrics.held_deliveries.set(held)
    metrics.oldest_held_s.set(_age_s(held_since_us, now_us))
    metrics.token_key_age_s.set(token_days * 86_400)
    disk = _disk(settings.data_dir)
    metrics.disk_free_bytes.set(disk["free_bytes"])
    metrics.disk_total_bytes.set(disk["total_bytes"])
    metrics.releases_stopped.set(len(stops.lines) + bool(stops.unreadable))


def _look(store: Store, catalogue: Catalogue, around: Around, now_us: int) -> dict[str, Any]:
    with store.read() as tx:
        agreements, agencies = standing(tx)
        recipients = {one.code: outlet(tx, one.number) for one in catalogue.agencies.values()}
        waiting, since_us = oldest(tx)
        return {
            "releases_stopped": around.stops.everything,
            "catalogue": catalogue.digest if catalogue.agencies else "",
            "agencies": len(catalogue.agencies),
            "subscriptions": len(catalogue.subscriptions),
            "backlog": around.backlog,
            "waiting": waiting,
            "oldest_waiting_s": _age_s(since_us, now_us),
            "wal_bytes": around.wal_bytes,
            "clock_moved_s": round(around.clock_moved_s, 1),
            "stopped": document(around.stops),
            "codes": {"agencies": sorted(catalogue.agencies), "agreements": sorted(catalogue.agreements)},
            "paused": _paused(catalogue, around.stops, agreements, agencies),
            "recipients": [
                {"agency": code, **one._asdict(), "oldest_s": _age_s(one.oldest_us, now_us)}
                for code, one in sorted(recipients.items())
                if any(one)
            ],
            "waiting_for_a_link": _stuck(catalogue, waiting_by(tx, poison=POISON, halted=False), now_us),
            "halted": _stuck(catalogue, waiting_by(tx, poison=POISON, halted=True), now_us),
            **look(tx, catalogue, now_us),
            "silent": [one._asdict() for one in silent_datasets(tx, catalogue, now_us)],
            "keys_ending": [one._asdict() for one in ending_keys(tx, before_us=now_us + ENDING_DAYS * DAY_US)],
            "token_key_days": token_key_age_days(tx, now_us),
            "wrapping_rotation": progress(tx),
            "root_rotation_pending": any(name != around.root for name, _ in roots(tx)),
        }


def problems(found: dict[str, Any], around: Around, wal_restart_bytes: int, now_us: int) -> list[dict[str, str]]:
    """Say what a person should do something about, the most pressing first; each with one remedy."""
    said = [
        (f"{one['what']} since {_day(one['since_us'])}", one["remedy"]) for one in found["paused"] if one["by_operator"]
    ]
    for one in found["halted"]:
        what = (
            f"{_persons(one['chains'])} events of {one['publisher']} / {one['dataset']} are halted by one not decidable"
        )
        said.append((f"{what}, the oldest for {_long(one['oldest_s'])}", HALTED))
    for one in found["recipients"]:
        if one["opened"] and one["oldest_s"] > UNACKNOWLEDGED_S:
            what = f"{one['agency']} has not acknowledged {one['opened']} deliveries"
            said.append((f"{what}, the oldest for {_long(one['oldest_s'])}", UNACKNOWLEDGED))
    if around.backlog > BACKLOG:
        said.append(
            (f"{around.backlog} events are accepted and not decided", "See `hub_gate_batch_seconds`, the disk.")
        )
    for one in found["silent"]:
        what = f"{one['agency']} is silent about {one['dataset']} for {one['silent_days']} days"
        said.append((f"{what}; it declared {one['rhythm_days']} at most", SILENT))
    return [
        {"what": what, "remedy": remedy}
        for what, remedy in (
            *said, *problems_between(found, now_us), *_of_the_house(found, wal_restart_bytes, now_us)
        )
    ]  # fmt: skip


def _of_the_house(found: dict[str, Any], wal_restart_bytes: int, now_us: int) -> list[tuple[str, str]]:
    """What is the operator's own: disk, log of writes, clock, keys."""
    said = []
    disk = found["disk"]
    if disk["free_bytes"] < max(DISK_BYTES, DISK_SHARE * disk["total_bytes"]):
        free = f"{disk['free_bytes'] / 1e9:.1f} GB are free on the disk of the data directory"
        said.append((free, "Make room now: on a full disk publishing ends. `hub retention run` lets go what is over."))
    if found["wal_bytes"] > 2 * wal_restart_bytes:
        said.append(
            ("the log of writes grows without end: a reader holds a snapshot", "Restart the hub when it suits.")
        )
    if abs(found["clock_moved_s"]) > CLOCK_MOVED_S:
        moved = f"the clock was moved by {found['clock_moved_s']} s while the hub ran"
        said.append((moved, "See that NTP runs and slews; deadlines and orders of the last hours may be off."))
    for one in found["keys_ending"]:
        ended = "has ended" if one["until_us"] <= now_us else f"ends on {_day(one['until_us'])}"
        whose = one["whose"] if one["of"] == "agency" else f"the officers of {one['whose']}"
        said.append(
            (f"the last key of {whose} {ended}", f"Ask {one['whose']} for the next public key and register it.")
        )
    if found["token_key_days"] > TOKEN_ROTATED_DAYS:
        said.append((f"the token key is {found['token_key_days']} days old", "Run `hub keys rotate token`."))
    if found["wrapping_rotation"] and found["wrapping_rotation"]["damaged"]:
        damaged = f"{found['wrapping_rotation']['damaged']} sealed rows open under neither wrapping key"
        said.append((damaged, "The rotation waits, for the former key may be needed: see deploy/README.md, Keys."))
    if found["root_rotation_pending"]:
        said.append(("a rotation of the root key is half done", "Restart with the new file in HUB_KEY_FILE."))
    return said


def _paused(
    catalogue: Catalogue, stops: Stops, agreements: list[tuple[int, str, int]], agencies: list[tuple[int, int]]
) -> list[dict[str, Any]]:
    codes = {one.number: one.code for one in catalogue.agreements.values()}
    names = {one.number: one.code for one in catalogue.agencies.values()}
    found: list[dict[str, Any]] = []
    if stops.unreadable:
        found.append(_pause("everything is stopped", 0, stops.unreadable, "hub stop-release --resume --all"))
    for one in stops.lines:
        what = "everything is stopped" if one.scope == "all" else f"{one.scope} {one.code} is stopped"
        named = "--all" if one.scope == "all" else f"--{one.scope} {one.code}"
        found.append(_pause(what, one.since_us, one.reason, f"hub stop-release --resume {named}"))
    for number, phase, since_us in agreements:
        if number in codes:
            what = f"agreement {codes[number]} is {phase}"
            found.append(_pause(what, since_us, f"by its parties: {phase}", "its officers decide"))
    for number, since_us in agencies:
        if number in names:
            what = f"agency {names[number]} is suspended"
            found.append(_pause(what, since_us, "by the operator or a regulator", "whoever suspended it resumes it"))
    return found


def _persons(count: int) -> str:
    return "1 person's" if count == 1 else f"{count} persons'"


def _pause(what: str, since_us: int, why: str, remedy: str) -> dict[str, Any]:
    return {
        "what": what,
        "since_us": since_us,
        "why": why,
        "remedy": f"When the reason is gone: {remedy}.",
        "by_operator": remedy.startswith("hub stop-release"),
    }


def _stuck(catalogue: Catalogue, rows: list[Stuck], now_us: int) -> list[dict[str, Any]]:
    agencies = {one.number: one.code for one in catalogue.agencies.values()}
    datasets = {one.number: one.name for one in catalogue.datasets.values()}
    return [
        {
            "publisher": agencies.get(one.publisher, "no longer in the catalogue"),
            "dataset": datasets.get(one.dataset, "no longer in the catalogue"),
            "events": one.events,
            "chains": one.chains,
            "oldest_s": _age_s(one.since_us, now_us),
        }
        for one in rows
    ]


def _disk(data_dir: Path) -> dict[str, int]:
    usage = shutil.disk_usage(data_dir)
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def _age_s(since_us: int, now_us: int) -> int:
    return max(0, (now_us - since_us) // US) if since_us else 0


def _day(at_us: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_us / US, UTC).strftime("%Y-%m-%d %H:%M UTC") if at_us else "an unknown moment"


def _long(seconds: int) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
