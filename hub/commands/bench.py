"""`hub bench`: measure what the hub costs on this machine, on the code as shipped."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # a hub that starts does not load what only measurements need
    from collections.abc import Callable

    from rich.console import Console

    from hub.bench.measure import Result, Say, Sizes

    Run = Callable[[str, Sizes, Path, Say], Result]

NAMES = ("gate", "handout", "files", "publish", "latency", "usual", "withdraw", "webhooks", "scale", "sql", "asks")
REAL_NAMES = (
    "gate", "relay", "usual", "two-gates", "withdraw", "scale", "flood", "recover", "handout", "publish", "latency",
)  # fmt: skip
SCRATCH = Path("var/bench")  # on the disk that the data would lie on, not on one in memory


class Engines(StrEnum):
    """What is measured."""

    EMBEDDED = "embedded"
    REAL = "real"


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Which: {', '.join(NAMES)}; of real engines {', '.join(REAL_NAMES)}. Without any: all."),
    ] = None,
    engines: Annotated[
        Engines, typer.Option(help="real: over PostgreSQL, Kafka and OPA, started for it and ended with it.")
    ] = Engines.EMBEDDED,
    quick: Annotated[bool, typer.Option(help="Tiny sizes: says that everything works, not how fast.")] = False,
    people: Annotated[int, typer.Option(help="Synthetic people; each gave 3 of 5 consents. Default: 100,000.")] = 0,
    events: Annotated[int, typer.Option(help="Events per round; of the whole flood. Default: 20,000.")] = 0,
    rounds: Annotated[int, typer.Option(help="Rounds; figures are their medians. Default: 5.")] = 0,
    consents: Annotated[
        str, typer.Option(help="Of `scale`: comma-separated. Default: 10000,100000,1000000; real also 10000000.")
    ] = "",
    seed: Annotated[int, typer.Option(help="What everything synthetic follows from.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, the SVG beside it. Default: var/bench/TIME.json.")
    ] = None,
    source: Annotated[bool, typer.Option(help="Print the usual design that the gate is compared with.")] = False,
) -> None:
    """Measure, show the figures beside their goals, and keep them as JSON and SVG."""
    from dataclasses import asdict

    from rich.console import Console

    from hub.bench.measure import machine
    from hub.bench.report import write

    if source:
        typer.echo(_source(engines))
        return
    known = NAMES if engines is Engines.EMBEDDED else REAL_NAMES
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    sizes = _sizes(engines, quick=quick, people=people, events=events, rounds=rounds, consents=consents, seed=seed)
    began = _now()
    facts = {"at": began, "machine": machine(), "sizes": asdict(sizes), "engines": engines.value}
    console = Console()
    with _embedded() if engines is Engines.EMBEDDED else _real(console, facts) as run:
        results = [_one(console, name, sizes, run) for name in names or known]
    json_file = out or SCRATCH / f"{began.replace(':', '')}.json"
    picture = write(results, facts, json_file=json_file)
    _show(console, results)
    console.print(f"{json_file}\n{picture}", highlight=False, soft_wrap=True)


def _sizes(
    engines: Engines, *, quick: bool, people: int, events: int, rounds: int, consents: str, seed: int
) -> "Sizes":
    from dataclasses import replace

    from hub.bench.measure import REAL_CONSENTS, Sizes

    base = Sizes.quick() if quick else Sizes()
    if engines is Engines.REAL and not quick:
        base = replace(base, consents=REAL_CONSENTS)
    try:
        many = tuple(int(one) for one in consents.split(",")) if consents else base.consents
    except ValueError as cause:
        raise typer.BadParameter("not whole numbers", param_hint="--consents") from cause
    return replace(
        base,
        people=people or base.people,
        events=events or base.events,
        rounds=rounds or base.rounds,
        consents=many,
        seed=seed or base.seed,
    )


@contextmanager
def _embedded() -> "Iterator[Run]":
    from hub.bench.registry import BENCHMARKS

    yield lambda name, sizes, directory, say: BENCHMARKS[name](sizes, directory, say)


@contextmanager
def _real(console: "Console", facts: dict[str, Any]) -> "Iterator[Run]":
    """Start the engines for all that is measured, and note their versions among the facts."""
    from tempfile import TemporaryDirectory

    from hub.bench.engines import real_engines
    from hub.bench.registry_real import BENCHMARKS

    SCRATCH.mkdir(parents=True, exist_ok=True)
    console.print("Starting PostgreSQL, Kafka and OPA ...")
    with TemporaryDirectory(prefix="engines-", dir=SCRATCH) as directory, real_engines(Path(directory)) as started:
        facts["versions"] = started.versions()
        yield lambda name, sizes, directory, say: BENCHMARKS[name](sizes, directory, say, started)


def _one(console: "Console", name: str, sizes: "Sizes", run: "Run") -> "Result":
    import tempfile

    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    SCRATCH.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=SCRATCH) as directory,
        Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress,
    ):
        task = progress.add_task(name)

        def say(text: str) -> None:
            progress.update(task, description=f"{name}: {text}")

        return run(name, sizes, Path(directory), say)


def _show(console: "Console", results: "list[Result]") -> None:
    from rich.table import Table

    from hub.bench.report import line_of

    table = Table("figure", "median", "goal", "")
    for result in results:
        for figure in result.figures:
            table.add_row(*line_of(figure))
    console.print(table)
    for result in results:
        for name, value in result.notes.items():
            text = ", ".join(f"{one} {found}" for one, found in value.items()) if isinstance(value, dict) else value
            console.print(f"{result.name}: {name.replace('_', ' ')}: {text}", highlight=False)


def _source(engines: Engines) -> str:
    import inspect

    from hub.bench import usual, usual_real

    return inspect.getsource(usual if engines is Engines.EMBEDDED else usual_real)


def _now() -> str:
    from datetime import UTC, datetime

    from hub.clock import system_clock

    return datetime.fromtimestamp(system_clock() // 1_000_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
