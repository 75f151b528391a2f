"""Bring the three real engines up under var/engines and say how a hub is told of them; end exactly those again.

    python -m deploy.engines.up             start what does not run yet, wait until each answers, print the settings
    python -m deploy.engines.up --down      end what the directories under var/engines say was started there
    --opa-config FILE                       OPA's configuration: whence it gets the hub's bundle, and whom it believes

Data and ports stay from one time to the next, so pasted settings stay true; remove var/engines to begin anew.
"""

import argparse
import fcntl
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.engines import launch
from deploy.engines.process import Engine, EngineError

PLACE = launch.ROOT / "var" / "engines"


def up(place: Path, *, opa_config: Mapping[str, object] | None = None) -> list[Engine]:
    """Start what does not run yet. Where one cannot be had, the others that this call started are ended again."""
    starts: dict[str, Callable[[Path], Engine]] = {
        "postgresql": launch.postgres,
        "kafka": launch.kafka,
        "opa": lambda directory: launch.opa(directory, config=opa_config),
    }
    running, fresh = list[Engine](), list[Engine]()
    try:
        for name, start in starts.items():
            known = launch.at(place / name)
            if known and known.pid:
                print(f"{name} runs: {known.address} (pid {known.pid})")
                running.append(known)
                continue
            print(f"{name} starts", end="", flush=True)
            fresh.append(start(place / name))
            print(f": {fresh[-1].address} (pid {fresh[-1].pid})")
            running.append(fresh[-1])
    except BaseException:
        print()
        for engine in fresh:
            engine.stop()
        raise
    return running


def down(place: Path) -> list[Engine]:
    """End the engines that were started under `place` and still are those very processes. Returns them."""
    known = [launch.at(directory) for directory in (sorted(place.iterdir()) if place.is_dir() else ())]
    running = [engine for engine in known if engine and engine.pid]
    for engine in running:
        pid = engine.pid
        engine.stop()
        print(f"{engine.name} ended (pid {pid})")
    return running


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Keep a second call waiting until this one has done, or both would start the same."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def settings(engines: list[Engine]) -> dict[str, str]:
    """Return what a hub has to be told to use `engines`."""
    said = dict[str, str]()
    for engine in engines:
        if engine.name == "postgresql":
            said["HUB_STORE_DSN"] = engine.address
        elif engine.name == "kafka":
            said |= {"HUB_BUS": "kafka", "HUB_KAFKA_BOOTSTRAP": engine.address}
        else:
            said |= {"HUB_POLICY": "server", "HUB_OPA_URL": engine.address}
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description="Bring PostgreSQL, Kafka and OPA up on this machine, or end them.")
    parser.add_argument("--down", action="store_true", help="end them")
    parser.add_argument("--opa-config", type=Path, help="OPA's configuration, a JSON file")
    parser.add_argument("--place", type=Path, default=PLACE, help="where they keep their data")
    arguments = parser.parse_args()
    try:
        config = json.loads(arguments.opa_config.read_text()) if arguments.opa_config else None
        with alone(arguments.place):
            if arguments.down:
                if not down(arguments.place):
                    print("no engine runs")
                return 0
            engines = up(arguments.place, opa_config=config)
    except (EngineError, OSError, json.JSONDecodeError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(["", *(f"export {name}={value}" for name, value in settings(engines).items())]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
