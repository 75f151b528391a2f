"""Kill a hub a thousand times, race withdrawals a hundred thousand times, and suspensions and stops ten thousand times.

    python deploy/torture.py            1,000 kills, 100,000 races, 10,000 stops; exit 1 when a promise was broken
    python deploy/torture.py --kills 50 --races 2000 --stops 500 --minutes 5
    python deploy/torture.py --bridge   instead kill a bridge to an agency's own Kafka, 100 times

It can be stopped and taken up again.

What is done stands in the progress file; the same command goes on from there. Each block has a store and a seed of its
own, made of `--seed` and its number, so that what one block found can be looked at alone.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tests' world is no package that is installed

from tests.killing import PHASES, Promised, broken, kill_once  # noqa: E402 - after the path is known
from tests.racing import SIDES, race  # noqa: E402 - after the path is known
from tests.racing_stops import STOPS_SIDES, race_stops  # noqa: E402 - after the path is known

KILLS_PER_BLOCK = 2 * len(PHASES)  # restarts on one store; each phase twice
RACES_PER_BLOCK = 1_000
LEAST_SHARE = 0.1  # of the races of a kind that each side wins


@dataclass
class Progress:
    """What was done so far, as it is written to the file."""

    seed: int
    blocks: Counter[str] = field(default_factory=Counter)  # "kill", "race", "stop"
    kills: Counter[str] = field(default_factory=Counter)  # by phase; also "not reached"
    races: Counter[str] = field(default_factory=Counter)  # by who was first
    stops: Counter[str] = field(default_factory=Counter)  # by who was first
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def killed(self) -> int:
        return sum(self.kills[phase] for phase in PHASES)

    def raced(self) -> int:
        return sum(self.races.values())

    def stopped(self) -> int:
        return sum(self.stops.values())

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(vars(self), indent=1) + "\n", encoding="utf-8")
        whole.replace(path)


def load(path: Path, seed: int) -> Progress:
    """Take up where the file says, or begin. Raises SystemExit where it belongs to another seed."""
    if not path.exists():
        return Progress(seed)
    said = json.loads(path.read_text(encoding="utf-8"))
    if said["seed"] != seed:
        raise SystemExit(f"{path} belongs to seed {said['seed']}; name it, or another file, or remove it")
    counters = {name: Counter(said.get(name, {})) for name in ("blocks", "kills", "races", "stops")}
    return Progress(seed, **counters, wrong=said["wrong"], seconds=said["seconds"])


def kill_block(progress: Progress, directory: Path, *, most: int) -> None:
    """Kill in one phase after the other, restarting on the same store, and look at it after each."""
    block, promised = progress.blocks["kill"], Promised()
    for at in range(min(KILLS_PER_BLOCK, most)):
        run, phase = block * KILLS_PER_BLOCK + at, PHASES[(block * KILLS_PER_BLOCK + at) % len(PHASES)]
        reached = kill_once(directory, promised, run=run, seed=progress.seed, phase=phase)
        progress.kills[phase if reached else "not reached"] += 1
        found = broken(directory, promised)
        if found:
            progress.wrong += [f"kill {run} in {phase}: {fault}" for fault in found]
            kept = Path(tempfile.mkdtemp(prefix=f"torture-kill-{run}-"))
            shutil.copytree(directory, kept, dirs_exist_ok=True)
            progress.wrong.append(f"kill {run}: the store is kept in {kept}")
            break
    progress.blocks["kill"] += 1


def race_block(progress: Progress, directory: Path, *, most: int) -> None:
    won, wrong = race(
        directory, rounds=min(RACES_PER_BLOCK, most), seed=progress.seed * 1_000_003 + progress.blocks["race"]
    )
    progress.races += won
    progress.wrong += wrong
    progress.blocks["race"] += 1


def stop_block(progress: Progress, directory: Path, *, most: int) -> None:
    seed = progress.seed * 1_000_033 + progress.blocks["stop"]
    won, wrong = race_stops(directory, rounds=min(RACES_PER_BLOCK, most), seed=seed)
    progress.stops += won
    progress.wrong += wrong
    progress.blocks["stop"] += 1


BLOCKS = {"kill": kill_block, "race": race_block, "stop": stop_block}


def shortfalls(progress: Progress, *, kills: int, races: int, stops: int) -> list[str]:
    """Say what was asked for and is not there: a phase in which nobody died, a side that hardly ever won."""
    found = []
    if kills >= len(PHASES) and progress.killed() >= kills:
        found += [f"nobody died in {phase}" for phase in PHASES if not progress.kills[phase]]
    if progress.raced() >= races > 0:
        least = LEAST_SHARE * progress.raced() / 2
        found += [f"{side}: {progress.races[side]} times only" for side in SIDES if progress.races[side] < least]
    if progress.stopped() >= stops > 0:
        least = LEAST_SHARE * progress.stopped() / 2
        found += [f"{side}: {progress.stops[side]} times only" for side in STOPS_SIDES if progress.stops[side] < least]
    return found


def run(progress: Progress, path: Path, *, kills: int, races: int, stops: int, until_s: float) -> None:
    """Block after block, the kinds in turn, until all are done or the time is over."""

    def left() -> dict[str, int]:
        return {
            "kill": kills - progress.killed(),
            "race": races - progress.raced(),
            "stop": stops - progress.stopped(),
        }

    while any(count > 0 for count in left().values()):
        for kind, block in BLOCKS.items():
            if (most := left()[kind]) <= 0:
                continue
            began_s = time.monotonic()
            if began_s > until_s:
                return
            with tempfile.TemporaryDirectory(prefix="torture-") as directory:
                block(progress, Path(directory), most=most)
            progress.seconds += time.monotonic() - began_s
            progress.save(path)
            print(
                f"{progress.seconds:7.0f} s  kills {progress.killed():5} of {kills}"
                f"  races {progress.raced():6} of {races}  stops {progress.stopped():5} of {stops}"
                f"  broken promises {len(progress.wrong)}",
                flush=True,
            )


def bridge(kills: int, seed: int) -> int:
    """Kill a bridge at one place after the other, both ways, on the same topics. Takes some three seconds a kill."""
    from deploy.engines import launch  # here: who kills hubs needs no broker
    from tests.bridge_killing import PLACES, finish, kill_once, loaded
    from tests.bridge_world import Cluster

    wrong: list[str] = []
    rng = random.Random(seed)  # noqa: S311 - chance that can be had again, nothing secret
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        broker = launch.kafka(Path(place) / "kafka")
        try:
            with loaded(Cluster(broker.address, "torture."), Path(place)) as load:
                for at in range(kills):
                    wrong += [f"kill {at}: {fault}" for fault in kill_once(load, PLACES[at % len(PLACES)], rng)]
                    print(
                        f"kills {at + 1:5} of {kills}  {PLACES[at % len(PLACES)]:32} broken promises {len(wrong)}",
                        flush=True,
                    )
                wrong += finish(load)
                print(f"\nseed {seed}: {load.delivered} deliveries, {load.written} records; broken: {len(wrong)}")
        finally:
            broker.stop()
    print("\n".join(wrong))
    return int(bool(wrong))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=24 * 60, help="stop after this; the same command goes on later"
    )
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--races", type=int, default=100_000)
    parser.add_argument("--stops", type=int, default=10_000)
    parser.add_argument("--progress", type=Path, default=ROOT / "var" / "torture.json")
    parser.add_argument("--bridge", type=int, nargs="?", const=100, default=0, metavar="KILLS")
    options = parser.parse_args()
    if options.bridge:
        return bridge(options.bridge, options.seed)
    progress = load(options.progress, options.seed)
    until_s = time.monotonic() + options.minutes * 60
    wanted = {"kills": options.kills, "races": options.races, "stops": options.stops}
    run(progress, options.progress, **wanted, until_s=until_s)
    print(f"\nseed {progress.seed}, {progress.seconds:.0f} s")
    for title, counts in (
        ("killed in", progress.kills),
        ("first in the race", progress.races),
        ("against a stop", progress.stops),
    ):
        for name, count in counts.items():
            print(f"{title:18} {name:32} {count:7}")
    done = not any(counted < least for counted, least in zip(
        (progress.killed(), progress.raced(), progress.stopped()), wanted.values(), strict=True
    ))  # fmt: skip
    faults = progress.wrong + shortfalls(progress, **wanted)
    print(f"{'done' if done else 'not done yet: the same command goes on'}; broken promises: {len(faults)}")
    for fault in faults:
        print(fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
