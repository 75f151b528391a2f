"""`hub doctor`: see what is wrong with a hub, whether it runs or not, and say what to do. Changes nothing."""

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.operations.findings import Finding
    from hub.policy.engine import Engine
    from hub.ports import Clock
    from hub.settings import Settings
    from hub.store.catalogue import Approved

COLOURS = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per finding.")] = False,
) -> None:
    """Look at settings, keys, engines, catalogue, disk and clock; exit code 1 where anything failed."""
    from hub.clock import system_clock

    found = list(examine(system_clock))
    if as_json:
        for one in found:
            print(json.dumps(one._asdict()))
    else:
        _draw(found)
    if any(one.level == "FAIL" for one in found):
        raise typer.Exit(1)


def examine(clock: "Clock") -> "Iterable[Finding]":
    """Take every step that can be taken. What stands in the way of one is its finding; never raises HubError."""
    from hub.core.errors import HubError
    from hub.operations.findings import fail
    from hub.settings import DEMO_MARK, load

    try:
        settings = load()
        if "mode" not in settings.model_fields_set and (settings.data_dir / DEMO_MARK).exists():
            settings = load(mode="demo")
    except HubError as error:
        yield from (fail("settings", f"{item.where}: {item.what}", item.remedy) for item in error.items)
        return
    yield from looked_at(settings, clock)


def looked_at(settings: "Settings", clock: "Clock") -> "Iterable[Finding]":
    """Take every step after the settings could be read."""
    from hub.operations import doctor as steps
    from hub.operations.findings import fail, passed
    from hub.operations.newest import newest
    from hub.settings import refuse_unsafe

    def safe() -> "list[Finding]":
        items = refuse_unsafe(settings)
        unsafe = [fail("settings", f"{item.where}: {item.what}", item.remedy) for item in items]
        return unsafe or [passed("settings", f"readable, and safe for {settings.mode}")]

    yield from _may("settings", safe)
    yield from _may("records", lambda: steps.authority(settings))
    yield from _may("data_dir", lambda: steps.folder(settings))
    key, root = steps.key_file(settings)
    yield key
    approved: list[Approved] = []

    def store() -> "list[Finding]":
        found, there = steps.store(settings, root, clock)
        approved.extend([there] if there else [])
        return found

    yield from _may("store", store)
    yield from _may("marks", lambda: newest(settings, root))
    yield from _may("local store", lambda: [steps.edge(settings)])
    yield from _bus(settings, approved[0] if approved else None)
    yield from _policy(settings, approved[0] if approved else None)
    yield from _may("hub", lambda: list(_hub(settings)))


def _may(check: str, step: "Callable[[], list[Finding]]") -> "list[Finding]":
    """Take a step that this user may not be allowed to take."""
    from hub.operations.findings import fail

    try:
        return step()
    except OSError as error:
        what = f"this user may not look at it ({error.strerror})"
        return [fail(check, what, "Run this as the hub's own user, or see who owns the data directory.")]


def _bus(settings: "Settings", approved: "Approved | None") -> "Iterable[Finding]":
    """Look at the brokers, and at the topics there with the account of the gate."""
    from hub.core.errors import HubError
    from hub.operations.findings import fail, passed, warn

    if settings.bus == "embedded":
        return
    away = list(_away(settings))
    yield from away
    if len(away) == len(settings.kafka_bootstrap) or approved is None:
        return  # nobody to ask, or nothing to ask for: the catalogue says which topics there should be
    from hub.bus.kafka_access import access_of
    from hub.bus.kafka_plan import wanted_of
    from hub.bus.kafka_topics import plan_now

    try:
        plan = plan_now(access_of(settings), wanted_of(settings, approved.catalogue))
    except HubError as error:
        remedy = (
            "Look at the brokers, and at the hub's account there; `hub topics plan` says what it has to be granted."
        )
        yield fail("topics", error.what, error.remedy if error.code == "kafka-password" else remedy)
        return
    for one in plan.findings:
        of = f"{one.topic}: {one.what}" if one.topic else one.what
        yield (
            fail("topics", f"{of}: nothing of it is decided", one.remedy)
            if one.bars
            else warn("topics", of, one.remedy)
        )
    steps = len(plan.grants) + len(plan.create) + len(plan.configure)
    if steps:
        what = f"{steps} steps of the plan are not done: {len(plan.create)} topics are not there"
        yield fail("topics", what, "Run `hub topics plan`, review it, and apply it.")
    elif not plan.findings:
        yield passed("topics", "all there, as planned, and nobody else may use them")


def _away(settings: "Settings") -> "Iterable[Finding]":
    """Name the brokers that do not answer, and why. One of them is enough to begin with; then it is worth a look."""
    from hub.operations.findings import fail, warn
    from hub.operations.reaching import unreachable

    named = [one.rpartition(":") for one in settings.kafka_bootstrap]
    said = {f"{host}:{port}": unreachable(host.strip("[]"), int(port)) for host, _, port in named}
    level = fail if all(said.values()) else warn
    for broker, why in said.items():
        if why:
            yield level("brokers", f"{broker}: {why}", "Start it, or correct HUB_KAFKA_BOOTSTRAP. Nothing is lost.")


def _policy(settings: "Settings", approved: "Approved | None") -> "Iterable[Finding]":
    """Load the compiled policy, over the approved catalogue where there is one; where a server decides, ask it."""
    from hub.core.catalogue import from_document
    from hub.core.errors import HubError
    from hub.engines import engine
    from hub.operations.findings import fail, passed
    from hub.store.catalogue import NOTHING

    try:
        policy = engine(settings, approved.catalogue if approved else from_document(NOTHING))
    except HubError as error:
        yield fail("policy", error.what, error.remedy or "Install this version of the hub anew.")
        return
    revision = policy.revision()
    server = _probed(policy, settings.opa_url) if settings.policy == "server" else ()
    policy.close()
    if approved and approved.revision and approved.revision != revision:
        yield fail("policy", "it is not the one that was approved: nothing is decided", "Run `hub catalogue apply`.")
    else:
        yield passed(
            "policy", "loads" + (", and is the one that was approved" if approved and approved.revision else "")
        )
    yield from server


def _probed(policy: "Engine", url: str) -> "tuple[Finding, ...]":
    """Ask a policy server for nothing: unreachable and why, undefined, and another revision are told apart."""
    from urllib.parse import urlsplit

    from hub.core.errors import HubError
    from hub.operations.findings import fail, passed
    from hub.operations.reaching import unreachable

    try:
        policy.probe()
    except HubError as error:
        at = urlsplit(url)
        why = unreachable(at.hostname or "", at.port or (443 if at.scheme == "https" else 80))
        return (fail("policy server", f"{error.what.rstrip('.')}{': ' if why else ''}{why}", error.remedy),)
    return (passed("policy server", "answers, under the hub's own revision"),)


def _hub(settings: "Settings") -> "Iterable[Finding]":
    """Ask the running hub, where one runs."""
    import stat

    import httpx

    from hub.commands.operator import ask, running
    from hub.core.errors import HubError
    from hub.operations import doctor as steps
    from hub.operations.findings import fail, passed, warn

    client, held = running(settings), steps.held(settings.store_path)
    if client is None and held:
        yield fail(
            "hub", "a process holds the store and does not answer at the socket", "See its log; end it, start it."
        )
        return
    if client is None:
        yield warn("hub", "none runs here", "Start it with `hub serve`; nothing is lost meanwhile.")
        yield from _others(settings)
        return
    mode = stat.S_IMODE(settings.admin_path.stat().st_mode)
    if mode & 0o077:
        yield fail("socket", f"others may steer the hub (mode {mode:o})", f"chmod 600 {settings.admin_path}")
    else:
        yield passed("socket", "the hub's own user's alone")
    try:
        with client:
            said: dict[str, Any] = ask(client, "GET", "/status")
    except HubError as error:  # it has not started yet, or its store is away: it says which
        yield fail("hub", error.what, error.items[0].remedy if error.items else error.remedy or "See its log.")
        return
    except (httpx.HTTPError, ValueError) as error:
        yield fail("hub", f"it does not say how it is ({type(error).__name__})", "See its log; restart it.")
        return
    yield from (fail("hub", one["what"], one["remedy"]) for one in said["troubles"])
    yield from (warn("hub", one["what"], one["remedy"]) for one in (*said["alarms"], *said["problems"]))
    if not said["troubles"]:
        yield passed("hub", "runs and is ready")


def _others(settings: "Settings") -> "Iterable[Finding]":
    """Look in the store who runs elsewhere and who has fallen silent; a running hub says it itself."""
    from hub.core.errors import HubError
    from hub.operations import doctor as steps
    from hub.operations.findings import passed, warn
    from hub.operations.running import missed, missing_parts, running_parts

    if not settings.on_postgres:
        return
    try:
        with steps.looking_into(settings) as tx:
            running = running_parts(tx) if tx.has_table("worker") else []
    except HubError:  # `store` has said so
        return
    for one in running:
        if one["silent_s"]:
            what = f"{one['name']} ({', '.join(one['parts'])}) has been silent for {one['silent_s']} s"
            yield warn("processes", what, "It hangs or was killed: see its log, and start another.")
    if running:
        absent = missing_parts(running, settings)
        yield from (warn("processes", item.what, item.remedy) for item in missed(absent))
        if not absent:
            yield passed("processes", "every part is run by one that was heard of")


def _draw(found: "list[Finding]") -> None:
    from rich.console import Console

    from hub.commands.status import hanging

    console = Console(highlight=False)
    console.soft_wrap = not console.is_terminal
    for one in found:
        lines = [one.what, one.remedy] if one.remedy else [one.what]
        hanging(console, f"[{COLOURS[one.level]}]{one.level}[/]  {one.check:<12} ", 19, *lines)
    worst = [level for level in ("FAIL", "WARN") if any(one.level == level for one in found)]
    counts = ", ".join(f"{sum(one.level == level for one in found)} {level}" for level in worst)
    console.print(counts or "All well.")
