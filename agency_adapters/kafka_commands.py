"""`hub-agency kafka`: a bridge to the agency's own cluster. kafka-python is loaded when a command needs it."""

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from agency_adapters.bridge.config import Bridge, read_config
from agency_adapters.client import LONGEST_WAIT_S, HubClient
from agency_adapters.errors import AgencyError, HubProblem, HubUnreachable
from agency_adapters.folder import read_map
from agency_adapters.profile import directory_of, read_profile
from agency_adapters.results import PublishStopped
from agency_adapters.sealing import read_seal_keys
from agency_adapters.terminal import line, tell

if TYPE_CHECKING:
    from agency_adapters.bridge.records import Publisher
    from agency_adapters.profile import Profile

EXIT_PROBLEM = 1
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0  # between two tries while the hub or the cluster is away
DOUBLED_MOST = 10
PASSING = frozenset({401, 429})  # and 5xx: later it may work

app = typer.Typer(
    no_args_is_help=True,
    help="Bridge to an agency's own Kafka: deliveries out, its records in.",
    pretty_exceptions_enable=False,
)
Config = Annotated[Path, typer.Argument(help="TOML: servers, [security], [feed], [publish].")]
ProfileName = Annotated[str | None, typer.Option("--profile", help="Which profile; else the only or the last one.")]
Once = Annotated[bool, typer.Option("--once", help="Take what is there now, then end; else go on until stopped.")]


@app.command()
def feed(config: Config, profile: ProfileName = None, once: Once = False) -> None:
    """Produce deliveries to the agency's topics; the hub hears of them once the cluster has them."""
    bridge = _bridge(config)
    if bridge.feed is None:
        raise AgencyError(f"{config.name} has no [feed]", remedy="Say there which topic deliveries go to.")
    from agency_adapters.bridge.feed import Feeder

    directory = directory_of(os.environ)
    found, key = read_profile(directory, profile)
    with HubClient(found.settings, key, seal_keys=read_seal_keys(directory, found.name)) as client:
        feeder = Feeder(client, bridge.access, bridge.feed, tell=_tell_kind)
        try:
            _go_on(lambda: feeder.round(wait_s=0 if once else LONGEST_WAIT_S), once=once)
        finally:
            feeder.close()


@app.command()
def publish(config: Config, profile: ProfileName = None, once: Once = False) -> None:
    """Publish the records of the agency's topics; their offsets are committed once the hub has accepted them."""
    bridge = _bridge(config)
    if bridge.publish is None:
        raise AgencyError(f"{config.name} has no [publish]", remedy="Say there which topics are published.")
    from agency_adapters.bridge.intake import Intake

    found, key = read_profile(directory_of(os.environ), profile)
    settings = dataclasses.replace(found.settings, batch_events=bridge.publish.batch_records)
    with HubClient(settings, key) as client:
        intake = Intake(client, bridge.access, bridge.publish, publisher_of(bridge, found), tell=tell)
        try:
            counts = _go_on(intake.to_the_end if once else lambda: intake.round(wait_s=1.0), once=once)
        finally:
            intake.close()
    if counts.get("refused"):
        raise typer.Exit(EXIT_PROBLEM)


def publisher_of(bridge: Bridge, profile: "Profile") -> "Publisher":
    """Say who publishes, and by which mapping. Raises `AgencyError` for a mapping that cannot be read."""
    from agency_adapters.bridge.records import Publisher

    mapping = bridge.publish.map if bridge.publish else None
    return Publisher(profile.agency, profile.event_key, read_map(mapping, key_needed=False) if mapping else None)


def _bridge(config: Path) -> Bridge:
    try:
        import kafka  # noqa: F401 - only whether it is there
    except ModuleNotFoundError:
        remedy = "Install the extra: pip install 'exchange-hub-agency[kafka]'."
        raise AgencyError("kafka-python is not installed", remedy=remedy) from None
    return read_config(config)


def _go_on(round_: Callable[[], Mapping[str, int]], *, once: bool) -> Mapping[str, int]:
    """Do a round; without `once`, one after the other until stopped. What may pass is told, and tried again."""
    if once:
        counts = round_()
        line(counts)
        return counts
    signal.signal(signal.SIGTERM, _leave)
    failures = 0
    try:
        while True:
            try:
                counts = round_()
                failures = 0
                if any(counts.values()):
                    line(counts)
            except AgencyError as error:
                if not may_pass(error):
                    raise
                failures += 1
                tell(f"{error.what}. {error.remedy} It is tried again.")
                time.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, DOUBLED_MOST)))
    except KeyboardInterrupt:
        raise typer.Exit from None


def may_pass(error: AgencyError) -> bool:
    """Tell whether the same may work later: the hub or the cluster is away, or its operator can mend it."""
    from agency_adapters.bridge.cluster import ClusterRefused
    from agency_adapters.bridge.tokens import TokenRefused

    cause = error.cause if isinstance(error, PublishStopped) else error
    if isinstance(cause, HubProblem):
        return cause.problem.status in PASSING or cause.problem.status >= 500
    return isinstance(cause, HubUnreachable | ClusterRefused | TokenRefused)


def _tell_kind(kind: str) -> None:
    tell(f"Not acknowledged: a delivery of kind {kind!r}, which feed.kinds does not name.")


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
