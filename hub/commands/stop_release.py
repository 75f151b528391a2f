"""`hub stop-release`: stop hand-outs: all, one agency's, one agreement's. A file does it, and stays until resumed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.core.errors import HubError

if TYPE_CHECKING:
    from hub.settings import Settings
    from hub.stop_flag import Scope, Stop, Stops

SAID = {
    "absent": "No hub answers; the file stops any that runs or starts on this data directory.",
    "silent": "The hub did not answer in time. The file is in force; what it had begun before may still leave.",
    "unrecorded": "The store could not record it; the next start of the hub does. It is in force.",
    "recorded": "",
}


def stop_release(
    everything: Annotated[bool, typer.Option("--all", help="Everything; so it is where nothing is named.")] = False,
    agency: Annotated[str, typer.Option(help="Nothing to this agency, and nothing that comes from it.")] = "",
    agreement: Annotated[str, typer.Option(help="Nothing under this agreement.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Let go on what was stopped under the same name.")] = False,
    reason: Annotated[str, typer.Option(help="For whoever reads `hub status` next; never name a person in it.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="Say what is stopped, and change nothing.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Where the settings cannot be read: the hub's folder.")] = None,
) -> None:
    """Stop releases. When this returns no hand-out under it commits any more; publishing goes on and nothing is lost.

    It needs no hub, no store and no key: the flag file in the data directory is enough.
    """
    from hub.clock import system_clock
    from hub.settings import load
    from hub.stop_flag import STOP_FLAG, Stop, read_stops
    from hub.stop_flag import resume as resume_one
    from hub.stop_flag import stop as stop_one

    scope, code = _named(everything, agency, agreement)
    try:
        given: dict[str, Any] = {"data_dir": data_dir} if data_dir else {}
        settings = load(**given)  # however unsafe: to stop is never less safe
    except HubError:
        if data_dir is None:
            raise
        settings = None
    flag = (data_dir or (settings.flag_dir if settings else Path())) / STOP_FLAG
    if listed:
        _tell(read_stops(flag))
        return
    line = Stop(scope, code, system_clock(), reason)
    stops = resume_one(flag, scope, code) if resume else stop_one(flag, line)  # first of all: it counts without a hub
    beside = _ask_the_hub(settings, line, stop=not resume)
    if SAID[beside] and not (resume and beside == "absent"):
        print(SAID[beside])
    _tell(stops)


def _named(everything: bool, agency: str, agreement: str) -> "tuple[Scope, str]":
    if (everything, bool(agency), bool(agreement)).count(True) > 1:
        raise typer.BadParameter("name one: --all, --agency or --agreement")
    if agency:
        return "agency", agency
    return ("agreement", agreement) if agreement else ("all", "")


def _ask_the_hub(settings: "Settings | None", line: "Stop", *, stop: bool) -> str:
    """Wait for the running hub's barrier. Returns a key of `SAID`. Raises HubError with what the hub refused."""
    import httpx

    from hub.commands.operator import ask, running

    client = running(settings) if settings else None
    if client is None:
        return "absent"
    sent = {"stop": stop, "scope": line.scope, "code": line.code, "reason": line.reason}
    with client:
        try:
            done = ask(client, "POST", "/stop-release", sent)
        except httpx.TransportError:
            return "silent"
    return "recorded" if done["recorded"] else "unrecorded"


def _tell(stops: "Stops") -> None:
    from datetime import UTC, datetime

    if stops.unreadable:
        print(f"Everything is stopped: {stops.unreadable}. `hub stop-release --resume --all` takes the file away.")
    for one in stops.lines:
        since = datetime.fromtimestamp(one.since_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        what = "All releases are stopped" if one.scope == "all" else f"Releases of {one.scope} {one.code} are stopped"
        named = "--all" if one.scope == "all" else f"--{one.scope} {one.code}"
        why = f" ({one.reason})" if one.reason else ""
        print(f"{what} since {since}{why}. `hub stop-release --resume {named}` lets them go on.")
    if not stops:
        print("Releases go on.")
