"""`hub deadletters`: events whose decision met a defect. No payload is shown, and nobody's id."""

from typing import Annotated, Any

import typer

from hub.core.errors import HubError, Kind

app = typer.Typer(no_args_is_help=True, help="Events whose decision met a defect: list, try again, discard.")
Number = Annotated[int, typer.Argument(help="As `hub deadletters list` shows it.")]


@app.command("list")
def list_letters() -> None:
    """List what stands still, oldest first."""
    found = _do("GET", "", None)["dead_letters"]
    for one in found:
        print(
            f"{one['number']:>6}  {one['state']:<8} {one['class']:<7} since {one['since']}, until {one['deadline']}"
            f"  {one['publisher']} {one['dataset']}  tried {one['attempts']}, {one['behind']} wait behind"
        )
    if not found:
        print("No dead letters.")


@app.command()
def show(number: Number) -> None:
    """Say all that is known of one."""
    for name, value in _do("GET", f"/{number}", None).items():
        print(f"{name:<10} {value}")


@app.command()
def retry(
    number: Annotated[int | None, typer.Argument(help="As `hub deadletters list` shows it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every one there is.")] = False,
) -> None:
    """Let the hub decide it again, in its turn. One that fails again is a dead letter again."""
    if (number is None) != everything:
        raise HubError(
            Kind.INVALID,
            "one dead letter is tried again, or all",
            remedy="Name a number, or say --all.",
            code="dead-letter-unknown",
        )
    for one in _do("POST", "/retry", {"number": number})["retried"]:
        waits = f", after {one['ahead']} that wait before it" if one["ahead"] else ""
        print(f"{one['number']} is decided again{waits}.")


@app.command()
def discard(
    number: Number,
    reason: Annotated[str, typer.Option(help="duplicate, wrong-data, publisher-will-resend, defect-known.")],
) -> None:
    """End it undecided. Its publisher is told, and what waits behind it goes on."""
    done = _do("POST", "/discard", {"number": number, "reason": reason})
    print(f"{number} is discarded, {done['publisher']} is told; {done['behind']} that waited behind it go on.")


def _do(method: str, path: str, given: dict[str, Any] | None) -> Any:
    """Ask the running hub, or open the store where none runs."""
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            return ask(client, method, f"/dead-letters{path}", given)
    from hub.exchange import dead_letters

    with opened(settings) as hub:
        if path == "/retry":
            return {"retried": dead_letters.retry(hub.world, (given or {})["number"])}
        if path == "/discard":
            return dead_letters.discard(hub.world, **(given or {}))
        if path:
            return dead_letters.shown(hub.world, int(path[1:]))
        return {"dead_letters": dead_letters.listed(hub.world)}
