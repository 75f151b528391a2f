"""Kill a hub under load and look at what it left: once for `make test`, a thousand times for `make torture`."""

import io
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hub.clock import system_clock
from hub.exchange.erase import erase_again
from hub.exchange.erase_rest import finish_erasures
from hub.exchange.gate import Undecided
from hub.exchange.intake import event_hash
from hub.logs import open_log
from hub.store.aims import AskState
from tests.asks_world import BY_LAW
from tests.kill_runner import LIMITS
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, ROOT, Hub, opened
from tests.stores import for_child, on_postgres

AT_RANDOM = "at random"
PHASES = (
    "gate.polled", "gate.asks", "gate.prepared", "gate.begun", "gate.decided", "gate.before_commit", "gate.committed",
    "handout.begun", "handout.decided", "handout.before_commit", "handout.committed",
    "withdraw.begun", "withdraw.recorded", "withdraw.before_commit", "withdraw.committed",
    "erase.begun", "erase.recorded", "erase.committed", "erase.told",
    "asking.begun", "asking.before_commit", "asking.committed",
    "store.before_commit", AT_RANDOM,
)  # fmt: skip
RARE = {
    "gate.asks": 1,
    **dict.fromkeys(("withdraw.begun", "withdraw.recorded", "withdraw.before_commit"), 8),
    **{phase: 4 for phase in PHASES if phase.startswith("asking.")},
    **{phase: 2 for phase in PHASES if phase.startswith("erase.")},  # one may wait seconds for readers of the log
}
OFTEN, OFTEN_ON_POSTGRES = 25, 8  # how often a phase comes within REACH_S, on a machine that is busy besides
START_S, REACH_S = 20.0, 4.0


@dataclass
class Promised:
    """What the killed processes had promised before they died."""

    published: set[str] = field(default_factory=set)
    handed: dict[int, list[str]] = field(default_factory=dict)  # number -> ids, first the first
    acknowledged: set[int] = field(default_factory=set)
    partly: list[tuple[int, frozenset[int]]] = field(default_factory=list)  # so many of these numbers were settled
    withdrawn: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict)  # (person, stretch) -> numbers
    erased: set[int] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)  # event -> ask
    wrong: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        what, *words = line.split()
        if what == "P":
            self.published.add(words[0])
        elif what == "H":
            ids = self.handed.setdefault(int(words[0]), [])
            if words[1] not in ids:
                ids.append(words[1])
            if len(ids) > 2:  # a stop may take a number over, once
                self.wrong.append(f"number {words[0]} came under three ids")
        elif what == "A":
            self.acknowledged.add(int(words[0]))
        elif what == "S":
            count, *some = map(int, words)
            self.partly.append((count, frozenset(some)))
        elif what == "W":
            person, stretch, *numbers = map(int, words)
            self.withdrawn[person, stretch] = frozenset(numbers)
        elif what == "E":
            self.erased.add(int(words[0]))
        elif what == "Q":
            self.asked.add(words[0])
        elif what == "V":
            self.answers[words[0]] = words[1]


def kill_once(directory: Path, promised: Promised, *, run: int, seed: int, phase: str) -> bool:
    """Start a hub, let it die in `phase`, and take what it promised. False where it never came to that phase."""
    rng = random.Random(f"{seed}/{run}")
    often = min(RARE.get(phase, OFTEN), OFTEN_ON_POSTGRES if on_postgres() else OFTEN)
    armed = "" if phase == AT_RANDOM else f"{phase}=kill:{rng.randrange(1, often + 1)}"
    command = [sys.executable, str(ROOT / "tests" / "kill_runner.py"), str(directory), str(run), str(seed), armed]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **for_child(directory / "hub.sqlite")}
    started = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert started.stdout is not None
    assert started.stderr is not None
    said, deadline_s, running = b"", time.monotonic() + START_S, False
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            started.kill()
        readable, _, _ = select.select([started.stdout], [], [], max(0.0, left_s))
        if readable:
            piece = os.read(started.stdout.fileno(), 65_536)
            if not piece:
                break
            said += piece
            if not running and b"R\n" in said:
                running = True
                deadline_s = time.monotonic() + (rng.uniform(0.05, 0.8) if phase == AT_RANDOM else REACH_S)
    code, words = started.wait(), started.stderr.read().decode()
    started.stdout.close()
    started.stderr.close()
    for line in said.decode().splitlines(keepends=True):
        if line.endswith("\n") and line.strip() != "R":
            promised.take(line)
    if code != -signal.SIGKILL:
        promised.wrong.append(f"run {run} ended by itself ({code}): {words[-500:]}")
    return phase == AT_RANDOM or time.monotonic() < deadline_s


def settled(hub: Hub) -> None:
    """What a start and the workers do, until nothing is left to decide or to tell."""
    erase_again(hub.eraser, open_log(clock=system_clock, level="error", stream=io.StringIO()))
    while finish_erasures(hub.world):
        pass
    while True:
        try:
            if not any(hub.decide()):
                return
        except Undecided:
            continue


def broken(directory: Path, promised: Promised) -> list[str]:
    """Open what the dead left, let the workers finish, and say every promise that was not kept."""
    with opened(directory, clock=system_clock, limits=LIMITS) as hub:
        found = [f"right after the crash: {fault}" for fault in faults(hub)]
        settled(hub)
        found += faults(hub) + promised.wrong
        seen = {bytes(event) for (event,) in hub.rows("SELECT event FROM event_seen")}
        source = f"urn:agency:{CONSENT.publisher}"
        lost = [one for one in promised.published if event_hash(hub.keys, CONSENT.publisher, source, one) not in seen]
        if lost:
            found.append(f"{len(lost)} published events are lost, {lost[0]} among them")
        rows = hub.rows("SELECT h.number, hex(d.public), h.acked_us IS NOT NULL, h.ended FROM handout h"
                        " JOIN delivery d ON d.id = h.delivery WHERE h.recipient = ?",
                        (hub.catalogue.agencies[CONSENT.recipient].number,))  # fmt: skip
        stored = {number: (public.lower(), acked, ended) for number, public, acked, ended in rows}
        for number, ids in promised.handed.items():
            if number not in stored:
                found.append(f"the bytes of number {number} left, and no opening is known")
            elif stored[number][0] not in ids and not stored[number][2]:
                found.append(f"number {number} left under another id than is known")
        found += [f"the acknowledgement of {one} is lost" for one in promised.acknowledged if not stored[one][1]]
        for count, some in promised.partly:
            acked = sum(stored[one][1] for one in some)
            if acked < count or any(not stored[one][1] and not stored[one][2] for one in some):
                found.append(f"of {sorted(some)} {count} were acknowledged, and stops took the others; stored: {acked}")
        for (person, stretch), numbers in promised.withdrawn.items():
            handed = hub.rows("SELECT number FROM handout_person WHERE person = ? AND stretch = ?", (person, stretch))
            if {number for (number,) in handed} != numbers:
                found.append(f"a receipt names {sorted(numbers)}; opened under its stretch were {sorted(handed)}")
        return found + list(_erased(hub, promised)) + list(_asked(hub, promised))


def _erased(hub: Hub, promised: Promised) -> Iterator[str]:
    """Who was erased stays so, got nothing out since, and every recipient was told of all that it has."""
    gone = {person for (person,) in hub.rows("SELECT id FROM person WHERE erased_us IS NOT NULL AND key IS NULL")}
    yield from (f"the erasure of {person} is lost" for person in (promised.erased | hub.ledger.erased.keys()) - gone)
    late = hub.rows("SELECT p.person, p.number FROM handout_person p JOIN erasure e ON e.person = p.person"
                    " WHERE p.audit > e.audit")  # fmt: skip
    yield from (f"number {number} left with a part of {person}, who was erased before" for person, number in late)
    told = hub.rows(
        "SELECT e.person, (SELECT count(DISTINCT number) FROM handout_person p WHERE p.person = e.person),"
        " (SELECT coalesce(sum(deliveries), 0) FROM erasure_told t WHERE t.person = e.person) FROM erasure e"
    )
    yield from (f"{person} was in {had} numbers; to be deleted are {said}" for person, had, said in told if had != said)


def _asked(hub: Hub, promised: Promised) -> Iterator[str]:
    """No ask is lost, each has one answer at most, and an answer that was taken has closed its ask."""
    states = {public.lower(): state for public, state in hub.rows("SELECT hex(public), state FROM ask")}
    yield from (f"the ask {ask} is lost" for ask in promised.asked - states.keys())
    twice = hub.rows("SELECT hex(m.of) FROM delivery_aim m JOIN delivery d ON d.id = m.delivery WHERE d.kind = 8"
                     " GROUP BY m.of HAVING count(*) > 1")  # fmt: skip
    yield from (f"the ask {ask} was answered twice" for (ask,) in twice)
    open_ = {ask for ask in promised.answers.values() if states.get(ask) == AskState.ASKED}
    yield from (f"the ask {ask} is open, and its answer was taken" for ask in open_)
    seen = {bytes(event) for (event,) in hub.rows("SELECT event FROM event_seen")}
    source = f"urn:agency:{BY_LAW.publisher}"
    for one in promised.answers:
        if event_hash(hub.keys, BY_LAW.publisher, source, one) not in seen:
            yield f"the answer {one} is lost"
