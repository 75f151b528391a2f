"""`hub bench`: measure what the hub costs on this machine, on the code as shipped."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # a hub that starts does not load what only measurements need
    from rich.console import Console

    from hub.bench.measure import Result, Sizes

NAMES = ("gate", "handout", "files", "publish", "latency", "usual", "withdraw", "webhooks", "scale", "sql", "asks")


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Which: {', '.join(NAMES)}. All, where none is named.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes: says that everything works, not how fast.")] = False,
    people: Annotated[int, typer.Option(help="Synthetic people; each gave 3 of 5 consents. Default: 100,000.")] = 0,
    events: Annotated[int, typer.Option(help="Events per round. Default: 20,000.")] = 0,
    rounds: Annotated[int, typer.Option(help="Rounds; figures are their medians. Default: 5.")] = 0,
    seed: Annotated[int, typer.Option(help="What everything synthetic follows from.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, the SVG beside it. Default: var/bench/TIME.json.")
    ] = None,
    source: Annotated[bool, typer.Option(help="Print the usual design that the gate is compared with.")] = False,
) -> None:
    """Measure, show the figures beside their goals, and keep them as JSON and SVG."""
    from dataclasses import asdict, replace

    from rich.console import Console

    from hub.bench.measure import Sizes, machine
    from hub.bench.report import write

    if source:
        typer.echo(_source())
        return
    unknown = sorted(set(names or ()) - set(NAMES))
    if unknown:
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; there are {', '.join(NAMES)}")
    base = Sizes.quick() if quick else Sizes()
    sizes = replace(
        base,
        people=people or base.people,
        events=events or base.events,
        rounds=rounds or base.rounds,
        seed=seed or base.seed,
    )
    began = _now()
    facts = {"at": began, "machine": machine(), "sizes": asdict(sizes)}
    console = Console()
    results = [_one(console, name, sizes) for name in names or NAMES]
    json_file = out or Path("var/bench") / f"{began.replace(':', '')}.json"
    picture = write(results, facts, json_file=json_file)
    _show(console, results)
    console.print(f"{json_file}\n{picture}", highlight=False, soft_wrap=True)


def _one(console: "Console", name: str, sizes: "Sizes") -> "Result":
    import tempfile

    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from hub.bench.registry import BENCHMARKS

    scratch = Path("var/bench")  # on the disk that the data would lie on, not on one in memory
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=scratch) as directory,
        Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress,
    ):
        task = progress.add_task(name)

        def say(text: str) -> None:
            progress.update(task, description=f"{name}: {text}")

        return BENCHMARKS[name](sizes, Path(directory), say)


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


def _source() -> str:
    import inspect

    from hub.bench import usual

    return inspect.getsource(usual)


def _now() -> str:
    from datetime import UTC, datetime

    from hub.clock import system_clock

    return datetime.fromtimestamp(system_clock() // 1_000_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
