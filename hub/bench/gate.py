"""The gate: from events on the bus to committed decisions and deliveries, with a profile by phase."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from hub.bench.measure import Figure, Result, Say, Sizes, TimedStore, cpu_of_threads, rows_on_disk
from hub.bench.synthetic import RECIPIENTS, Synthetic
from hub.bench.whole import filled, fresh
from hub.core.errors import HubError
from hub.exchange.gate import Gate
from hub.store.engine import Store
from hub.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from hub.bench.engines import Engines

TRIES = 10  # a machine that stands still for half a second, and PostgreSQL gives the gate's transaction up
GOAL_EVENTS_PER_S, GOAL_REAL_EVENTS_PER_S = 8_000, 5_000


def measure(sizes: Sizes, directory: Path, say: Say, *, store: Callable[[Path], Store] = SqliteStore) -> Result:
    """Measure over SQLite, or over the store that `store` opens with its schema."""
    say(f"making {sizes.people} people")
    with fresh(directory / "gate", sizes, store=store) as made:
        result = _measured(made, sizes, say, GOAL_EVENTS_PER_S)
    if store is not SqliteStore:
        return result
    return replace(result, notes={**result.notes, "writer_cpu_us_per_event": _statements(sizes, directory, say)})


def measure_real(sizes: Sizes, directory: Path, say: Say, engines: "Engines") -> Result:
    """Measure over PostgreSQL, Kafka and OPA: what they take as well, and what each statement is waited for."""
    from hub.bench.statements import Noting

    del directory
    say(f"making {sizes.people} people")
    with engines.room() as room, filled(room, sizes) as made:
        before = engines.cpu_s()
        result = _measured(made, sizes, say, GOAL_REAL_EVENTS_PER_S)
        spent = engines.cpu_s()
        done = sizes.events * sizes.rounds + _warm(sizes)
        say("statements")
        noting = Noting(made.world.store)
        noted = replace(made, world=replace(made.world, store=noting))
        noted.publish(sizes.events, seed=sizes.seed + 1_000)
        decide_all(Gate(noted.world), sizes.events)
        notes = {
            "engines_cpu_us_per_event_published_and_decided": {
                name: round((spent[name] - before[name]) / done * 1e6, 1) for name in spent
            },
            "statements_wall_us_per_event": noting.told(sizes.events),
            "database_bytes": room.bytes(),
        }
    return replace(result, notes={**result.notes, **notes})


def _warm(sizes: Sizes) -> int:
    return max(1, sizes.events // 4)


def _measured(made: Synthetic, sizes: Sizes, say: Say, goal: int) -> Result:
    made.warm()
    gate = Gate(made.world)
    seeds = count(sizes.seed + 1)
    drain(made, gate, _warm(sizes), seed=next(seeds))  # caches, verdicts and the interpreter warm up
    rates, cpu = [], dict[str, float]()
    kept = made.world.store
    commits = kept.commits
    gate.phases = dict.fromkeys(gate.phases, 0.0)
    for at in range(sizes.rounds):
        say(f"round {at + 1} of {sizes.rounds}")
        rates.append(drain(made, gate, sizes.events, seed=next(seeds), cpu=cpu))
    done = sizes.events * sizes.rounds
    figures = (
        Figure("gate", "events/s", tuple(rates), goal),
        Figure("gate, decisions", "decisions/s", tuple(rate * RECIPIENTS for rate in rates), goal * RECIPIENTS),
    )
    notes = {
        "synchronous": getattr(kept, "synchronous", ""),
        "commits": kept.commits - commits,
        "rows": rows_on_disk(kept),
        "wall_us_per_event": {phase: round(spent / done * 1e6, 1) for phase, spent in gate.phases.items()},
        "cpu_us_per_event": {name: round(spent / done * 1e6, 1) for name, spent in cpu.items()},
    }
    return Result("gate", figures, notes)


def drain(made: Synthetic, gate: Gate, events: int, *, seed: int, cpu: dict[str, float] | None = None) -> float:
    """Publish, then decide all of it. Returns events per second of the deciding alone."""
    made.publish(events, seed=seed)
    with cpu_of_threads({} if cpu is None else cpu):
        began = time.perf_counter()
        decide_all(gate, events)
        return events / (time.perf_counter() - began)


def decide_all(gate: Gate, events: int) -> None:
    """Decide so many. What an engine had no time for is decided again, as by the worker; seldom, or it raises."""
    done, tries = 0, TRIES
    while done < events:
        try:
            gate.step(0.1)
        except HubError:
            tries -= 1
            if not tries:
                raise
        for one in gate.done:
            done += one.counts.events
            assert one.counts.repeats + one.counts.parked + one.counts.unreadable == 0  # every event is new and linked


def _statements(sizes: Sizes, directory: Path, say: Say) -> dict[str, float]:
    """Run once more with every statement of the writer timed; that costs a little, so its rate is not a figure."""
    say("writer's statements")
    with fresh(directory / "gate-statements", sizes, store=TimedStore) as made:
        store = made.world.store
        assert isinstance(store, TimedStore)
        made.warm()
        gate = Gate(made.world)
        drain(made, gate, sizes.events // 4, seed=sizes.seed + 1)
        made.publish(sizes.events, seed=sizes.seed + 2)
        store.statements.clear()  # published before, so that only the gate's own transactions are timed
        decide_all(gate, sizes.events)
        return {
            name: round(spent / sizes.events * 1e6, 1)
            for name, spent in sorted(store.statements.items(), key=lambda item: -item[1])
        }
