"""Kill a hub under load and look at what it left: once for `make test`, a thousand times for `make torture`."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from hub.clock import system_clock
from hub.exchange.gate import Undecided
from hub.exchange.intake import event_hash
from tests.kill_runner import LIMITS
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, ROOT, Hub, opened

AT_RANDOM = "at random"
PHASES = (
    "gate.polled", "gate.asks", "gate.prepared", "gate.begun", "gate.decided", "gate.before_commit", "gate.committed",
    "handout.begun", "handout.decided", "handout.before_commit", "handout.committed",
    "withdraw.begun", "withdraw.recorded", "withdraw.before_commit", "withdraw.committed",
    "store.before_commit", AT_RANDOM,
)  # fmt: skip
RARE = {"gate.asks": 1, **dict.fromkeys(("withdraw.begun", "withdraw.recorded", "withdraw.before_commit"), 8)}
START_S, REACH_S = 20.0, 4.0


@dataclass
class Promised:
    """What the killed processes had promised before they died."""

    published: set[str] = field(default_factory=set)
    handed: dict[int, list[str]] = field(default_factory=dict)  # number -> ids, first the first
    acknowledged: set[int] = field(default_factory=set)
    withdrawn: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict)  # (person, stretch) -> numbers
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
        elif what == "W":
            person, stretch, *numbers = map(int, words)
            self.withdrawn[person, stretch] = frozenset(numbers)


def kill_once(directory: Path, promised: Promised, *, run: int, seed: int, phase: str) -> bool:
    """Start a hub, let it die in `phase`, and take what it promised. False where it never came to that phase."""
    rng = random.Random(f"{seed}/{run}")
    armed = "" if phase == AT_RANDOM else f"{phase}=kill:{rng.randrange(1, RARE.get(phase, 25) + 1)}"
    command = [sys.executable, str(ROOT / "tests" / "kill_runner.py"), str(directory), str(run), str(seed), armed]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
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
    """What the workers do after a restart, until nothing is left to decide."""
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
                        " JOIN delivery d ON d.id = h.delivery")  # fmt: skip
        stored = {number: (public.lower(), acked, ended) for number, public, acked, ended in rows}
        for number, ids in promised.handed.items():
            if number not in stored:
                found.append(f"the bytes of number {number} left, and no opening is known")
            elif stored[number][0] not in ids and not stored[number][2]:
                found.append(f"number {number} left under another id than is known")
        found += [f"the acknowledgement of {one} is lost" for one in promised.acknowledged if not stored[one][1]]
        for (person, stretch), numbers in promised.withdrawn.items():
            handed = hub.rows("SELECT number FROM handout_person WHERE person = ? AND stretch = ?", (person, stretch))
            if {number for (number,) in handed} != numbers:
                found.append(f"a receipt names {sorted(numbers)}; opened under its stretch were {sorted(handed)}")
    return found
