"""`hub status`: how the running hub is, what stands still and why, and what to do about it."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hub.settings import Settings


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say how the running hub is; exit code 1 when it is not ready or none runs."""
    from hub.commands.operator import ask, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is None:
        none = f"No hub runs on {settings.data_dir}. `hub doctor` looks at it without one; `hub serve` starts it."
        elsewhere = _elsewhere(settings)
        print(json.dumps({"running": False, "processes": elsewhere}) if as_json else none)
        if not as_json:
            _processes(elsewhere)
        raise typer.Exit(1)
    with client:
        found = ask(client, "GET", "/status")
    if as_json:
        print(json.dumps({"running": True, **found}))
    else:
        draw(found)
    if found["troubles"]:
        raise typer.Exit(1)


def _elsewhere(settings: "Settings") -> list[dict[str, Any]]:
    """Read from the store which processes of this hub run elsewhere, where there may be any."""
    from hub.core.errors import HubError
    from hub.operations.doctor import looking_into
    from hub.operations.running import running_parts

    if not settings.on_postgres:
        return []
    try:
        with looking_into(settings) as tx:
            return running_parts(tx) if tx.has_table("worker") else []
    except HubError:  # `hub doctor` says what is wrong with it
        return []


def _processes(found: list[dict[str, Any]]) -> None:
    """Name the processes that make up the hub, one a line."""
    for one in found:
        silent = f"; NOTHING HEARD of it for {_long(one['silent_s'])}" if one["silent_s"] else ""
        print(f"Process: {one['name']} runs {', '.join(one['parts'])}, up for {_long(one['up_s'])}{silent}")


def draw(found: dict[str, Any]) -> None:
    """Write the page: what to do first, then how it is. The most pressing thing stands at the top."""
    from rich.console import Console

    console = Console(highlight=False)
    console.soft_wrap = not console.is_terminal  # whole lines for grep; words, not letters, are wrapped for people
    _head(console, found)
    if found["standstill"]:
        hanging(console, "[bold red]PAUSED[/]  ", 8, found["standstill"]["said"])
    for one in found["troubles"]:
        _problem(console, "bold red", "NOT READY", one)
    if found.get("store") == "away":
        return  # all the rest stands in it
    for one in (*found["alarms"], *found["problems"]):
        _problem(console, "yellow", "LOOK AT", one)
    if not (found["troubles"] or found["alarms"] or found["problems"]):
        console.print("[green]Nothing needs anybody.[/]")
    restart = found["restart"]
    console.print(f"Safe to restart: {'yes' if restart['safe'] else 'NO'}")
    for one in restart["because"]:
        _problem(console, "bold red", "because", one)
    _processes(found["processes"])
    _paused(console, found)
    _queues(console, found)
    _waiting(console, found)
    _between(console, found)
    if found["wrapping_rotation"]:
        console.print(_rotating(found["wrapping_rotation"]), markup=False)
    disk = found["disk"]
    console.print(
        f"Disk: {disk['free_bytes'] / 1e9:.1f} of {disk['total_bytes'] / 1e9:.1f} GB free;"
        f" log of writes {found['wal_bytes'] / 1e6:.1f} MB"
    )
    approved = f"catalogue {found['catalogue'][:16]}, policy {found['revision'][:23]}"
    console.print(f"In force: {approved if found['revision'] else 'nothing is approved'}", markup=False)


def _head(console: "Console", found: dict[str, Any]) -> None:
    state = "[bold red]not ready[/]" if found["troubles"] else "[green]ready[/]"
    stopped = "; [bold red]everything is stopped[/]" if found["releases_stopped"] else ""
    console.print(f"Hub {state}, {found['mode']}, process {found['pid']}, up for {_long(found['uptime_s'])}{stopped}")


def _problem(console: "Console", style: str, word: str, one: dict[str, str]) -> None:
    hanging(console, f"[{style}]{word}[/]  ", len(word) + 2, one["what"], one["remedy"])


def hanging(console: "Console", mark: str, width: int, *lines: str) -> None:
    """Write a mark and, `width` columns in, the lines beside it; a terminal gets them wrapped between words."""
    from textwrap import wrap

    room = max(console.width - width, 24)
    for number, line in enumerate(lines):
        parts = [line] if console.soft_wrap else wrap(line, room, break_long_words=False, break_on_hyphens=False)
        for at, part in enumerate(parts):
            console.print(f"{'':<{width}}" if number or at else mark, end="")
            console.print(part, markup=False)


def _paused(console: "Console", found: dict[str, Any]) -> None:
    unsigned = [one for one in found["paused"] if one["what"].endswith(" is unsigned")]
    if unsigned:  # before a first signing that is all of them; `hub agreement list` names each
        which = f"{len(unsigned)} agreements are" if len(unsigned) > 1 else f"{unsigned[0]['what'].split()[1]} is"
        console.print(f"Unsigned: {which} not in force yet; see `hub agreement list`", markup=False)
    for one in found["paused"]:
        if one in unsigned:
            continue
        since = _moment(one["since_us"])
        why = f" ({one['why']})" if one["why"] else ""
        console.print(f"Paused: {one['what']} since {since}{why}", markup=False)


def _queues(console: "Console", found: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    if not found["recipients"]:
        console.print("Deliveries: none waits")
        return
    table = Table("deliveries for", "ready", "held", "unacknowledged", "oldest of these", box=box.SIMPLE)
    for one in found["recipients"]:
        oldest = _long(one["oldest_s"]) if one["opened"] else ""
        table.add_row(one["agency"], str(one["ready"]), str(one["held"]), str(one["opened"]), oldest)
    console.print(table)


def _waiting(console: "Console", found: dict[str, Any]) -> None:
    if {"web", "gate", "files"} & set(found["parts"]):
        console.print(f"Intake: {found['backlog']} events accepted and not decided")
    else:  # this process has no bus
        console.print("Intake: ask where web or gate runs")
    for key, words in (("waiting_for_a_link", "waiting for a link"), ("halted", "halted by an event not decidable")):
        for one in found[key]:
            where = f"{one['publisher']} / {one['dataset']}"
            events = f"{one['events']} event{'s' * (one['events'] != 1)}"
            persons = f"{one['chains']} person{'s' * (one['chains'] != 1)}"
            said = f"{events} of {persons} {words}, the oldest for {_long(one['oldest_s'])}"
            console.print(f"Waiting: {where}: {said}", markup=False)


def _between(console: "Console", found: dict[str, Any]) -> None:
    """Say how backfills, asks and webhooks stand; what there is none of has no line."""
    for one in found["backfills"]:
        persons = f"{one['done']} of {one['persons']} persons" if one["persons"] else f"{one['done']} persons"
        doing = "ending" if one["state"] == "ending" else "open"
        since = f"{doing} since {_moment(one['since_us'])}, until {_moment(one['until_us'])}"
        line = f"Backfill: {one['subscription']} from {one['provider']} to {one['recipient']}: {persons} done, {since}"
        console.print(line, markup=False)
    for one in found["asks"]:
        asks = f"{one['open']} open ask{'s' * (one['open'] != 1)}, the oldest for {_long(one['oldest_s'])}"
        overdue = f", {one['overdue']} overdue without an answer" if one["overdue"] else ""
        console.print(f"Asked: {one['provider']} has {asks}{overdue}", markup=False)
    for one in found["webhooks"]:
        console.print(f"Webhook: {one['agency']} {_webhook(one)}", markup=False)


def _webhook(one: dict[str, Any]) -> str:
    """Say how an endpoint fares."""
    since, why = f"since {_moment(one['since_us'])}", f" ({one['reason']})" if one["reason"] else ""
    if one["state"] == "failing":
        again = f"tried again at {_moment(one['next_us'])}"
        return f"is failing {since}{why}, {one['failures']} times in a row; {again}"
    return f"is {one['state']} {since}{why}"


def _rotating(one: dict[str, Any]) -> str:
    """Say how far a rotation of the wrapping key is."""
    doing = {"wrap": f"round {one['round']}, at {one['at']}", "log": "the former key is gone; the log of writes is cut"}
    done = f"{one['renewed']} rows sealed anew; {doing[one['stage']]}"
    return f"Wrapping key: rotated since {_moment(one['since_us'])}; {done}"


def _long(seconds: int) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _moment(at_us: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC") if at_us else "an unknown moment"
