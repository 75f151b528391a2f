"""Hold real engines up for whoever has our input open, and end them when it closes, however that one ends.

    python -m deploy.engines.hold PLACE postgresql kafka opa

Starts the named ones under PLACE and writes one line of JSON: per engine its address and pid; or `error`, `remedy`, and
whether it is `missing`: installed by nobody.
Then each line of input is a request, answered by such a line about the engine it names:

    {"start": "opa", "config": {...}}     end it if it runs, and start it, with this configuration
    {"kill": "postgresql"}                SIGKILL, its children too; `start` brings it back over the same data and port

For `hub demo --engines real` and `hub bench --engines real`, which cannot import this folder: a wheel has none of it.
"""

import fcntl
import io
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from deploy.engines import launch
from deploy.engines.process import Engine, EngineError
from deploy.engines.up import down

LOCK = "engines.lock"  # beside PLACE, held as long as this process lives: its name says so to whoever clears up there


class Told(Exception):
    """Somebody told this process to end."""


def start(place: Path, name: str, **more: Any) -> Engine:
    """Start one engine over its directory. Raises EngineError."""
    starts: Mapping[str, Callable[..., Engine]] = {
        "postgresql": launch.postgres,
        "kafka": launch.kafka,
        "opa": launch.opa,
    }
    known = launch.at(place / name)
    if known:
        known.stop()
    return starts[name](place / name, **more)


def answer(place: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what one line asks for. Raises EngineError."""
    if name := request.get("kill"):
        engine = launch.at(place / name)
        if engine is None:
            raise EngineError(f"{name} was never started here", "Start it first.")
        engine.kill()
        return {name: {"address": engine.address, "pid": 0}}
    more = {"config": request["config"]} if "config" in request else {}
    return said(start(place, request["start"], **more))


def said(engine: Engine) -> dict[str, Any]:
    return {engine.name: {"address": engine.address, "pid": engine.pid}}


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Refuse a second holder of the same place. Raises EngineError."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with place.with_name(LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            raise EngineError(f"Somebody holds engines under {place} already", "End that one first.") from cause
        yield


def hold(place: Path, names: list[str]) -> None:
    """Start, say where they are, do what is asked; end all of them when the input ends. Raises EngineError."""
    with alone(place):
        end(place)  # what a holder left behind that was killed itself
        try:
            tell({about: told for name in names for about, told in said(start(place, name)).items()})
            for line in sys.stdin:
                try:
                    tell(answer(place, json.loads(line)))
                except EngineError as error:
                    tell(refusal(error))
        finally:
            end(place)


def end(place: Path) -> None:
    with redirect_stdout(io.StringIO()):  # our output holds answers and nothing else
        down(place)


def refusal(error: EngineError) -> dict[str, Any]:
    return {"error": error.what, "remedy": error.remedy, "missing": error.missing}


def tell(document: Mapping[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def main() -> int:
    """Hold until the input ends, or a SIGTERM comes. Ctrl-C is for who holds the other end."""
    signal.signal(signal.SIGTERM, _told)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        hold(Path(sys.argv[1]).resolve(), sys.argv[2:])
    except EngineError as error:
        tell(refusal(error))
        return 1
    except (Told, BrokenPipeError):
        pass
    return 0


def _told(_number: int, _frame: object) -> None:
    raise Told


if __name__ == "__main__":
    sys.exit(main())
