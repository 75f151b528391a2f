"""Two gates against one: how many events a second of the machine's time decides, engines included.

Each gate is a process of its own. One world has one, another, a copy of it, has two; they take turns, and the events
of a turn are on the bus before it begins. CPU time is of the gates, PostgreSQL, Kafka and OPA together: the more often
gates wait for one another, redo what another did or wake each other up, the less is decided in a second of it.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any

from hub.bench.engines import PARTITIONS, Decided, Engines, Room, cpu_of_family, less
from hub.bench.gate_role import DECIDE, END, PAUSE
from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.served import child, hear, tell
from hub.bench.synthetic import Synthetic
from hub.bench.whole import filled, reopened
from hub.identity.keys import keyring, make_key_file, read_key_file

if TYPE_CHECKING:
    import subprocess

GOAL_SHARE = 0.9  # of the events that one gate decides per CPU second
WITHIN_S = 300.0
LOOK_S = 0.01


class GateProcess:
    """One that runs and does nothing until it is told."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def decide(self) -> None:
        tell(self._process, DECIDE)

    def pause(self) -> dict[str, Any]:
        """Have it see off what it began. Returns what it did so far: events `done`, and tries made `again`."""
        tell(self._process, PAUSE)
        said: dict[str, Any] = json.loads(hear(self._process))
        return said

    def cpu_s(self) -> float:
        return cpu_of_family(self._process.pid)


@contextmanager
def gate_process(room: Room, key_file: Path, sizes: Sizes) -> Iterator[GateProcess]:
    """Run a gate over a room whose world is made, until the block ends. It has opened everybody's key."""
    task = {
        "role": "gate", "room": asdict(room), "key_file": str(key_file), "people": sizes.people, "seed": sizes.seed,
    }  # fmt: skip
    with child("hub.bench.client", env={}) as process:
        tell(process, json.dumps(task))
        hear(process)
        tell(process, "go")
        yield GateProcess(process)
        tell(process, END)
        hear(process)


@dataclass(slots=True)
class Side:
    """A world, its gates, and what they took so far."""

    made: Synthetic  # publishes and never polls
    gates: list[GateProcess]
    decided: Decided
    rates: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def turn(self, engines: Engines, events: int, *, seed: int) -> None:
        """Publish, then decide all of it, and note what that took."""
        self.made.publish(events, seed=seed)
        wanted = self.decided.records() + events
        before = engines.cpu_s() | {"gates": self._cpu_s()}
        began = perf_counter()
        for gate in self.gates:
            gate.decide()
        until_s = monotonic() + WITHIN_S
        while self.decided.records() < wanted:
            if monotonic() > until_s:
                raise RuntimeError(f"the gates did not decide {events} events within {WITHIN_S:.0f} s")
            sleep(LOOK_S)
        seconds = perf_counter() - began
        for gate in self.gates:
            gate.pause()
        spent = less(engines.cpu_s() | {"gates": self._cpu_s()}, before)
        self.rates.append(events / seconds)
        self.per_cpu_s.append(events / sum(spent.values()))
        for name, cpu_s in spent.items():
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + cpu_s

    def _cpu_s(self) -> float:
        return sum(gate.cpu_s() for gate in self.gates)


def measure(sizes: Sizes, directory: Path, say: Say, engines: Engines) -> Result:
    say(f"making {sizes.people} people")
    directory.mkdir(parents=True, exist_ok=True)
    key_file = directory / "hub.key"
    make_key_file(key_file)
    seeds = count(sizes.seed + 1)
    with ExitStack() as stack:
        one, two = sides = _sides(stack, sizes, key_file, engines, say)
        for side in sides:
            side.turn(engines, max(200, sizes.events // 4), seed=next(seeds))  # caches and verdicts warm up
            side.rates, side.per_cpu_s, side.cpu_s = [], [], {}
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}")
            for side in sides if at % 2 else sides[::-1]:
                side.turn(engines, sizes.events, seed=next(seeds))
        shares = [both / alone for both, alone in zip(two.per_cpu_s, one.per_cpu_s, strict=True)]
        done = sizes.events * sizes.rounds
        return Result(
            "two-gates",
            (
                Figure("two gates to one, events per CPU second", "times", tuple(shares), GOAL_SHARE),
                Figure("one gate, engines included", "events/CPU s", tuple(one.per_cpu_s)),
                Figure("two gates, engines included", "events/CPU s", tuple(two.per_cpu_s)),
                Figure("one gate in its own process", "events/s", tuple(one.rates)),
                Figure("two gates in theirs", "events/s", tuple(two.rates)),
            ),
            {
                f"{name}_cpu_us_per_event": {who: round(spent / done * 1e6, 1) for who, spent in side.cpu_s.items()}
                for name, side in (("one_gate", one), ("two_gates", two))
            },
        )


def _sides(stack: ExitStack, sizes: Sizes, key_file: Path, engines: Engines, say: Say) -> list[Side]:
    """Make one world, copy it, and have one gate in the first and two in the other share the partitions."""
    keys = keyring(read_key_file(key_file))
    first = stack.enter_context(engines.room())
    with filled(first, sizes, keys=keys):
        pass
    second = stack.enter_context(engines.room(like=first))
    sides = []
    for room, gates in ((first, 1), (second, 2)):
        say(f"starting {gates} of the gates")
        made = stack.enter_context(reopened(room, sizes, keys))
        room.prepare(made.world.catalogue)
        running = []
        for at in range(gates):
            before = room.epochs()
            running.append(stack.enter_context(gate_process(room, key_file, sizes)))
            running[-1].decide()
            room.await_taken_over(before, least=PARTITIONS // (1 + at))
        for gate in running:
            gate.pause()
        sides.append(Side(made, running, stack.enter_context(room.decided())))
    return sides
