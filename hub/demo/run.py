"""Run the demo from its start to its end: hub, people, stories, totals, and what to open afterwards."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from hub import catalogue_files
from hub.demo.cast import read_cast
from hub.demo.country import Country
from hub.demo.errands import counter, early_help, licence
from hub.demo.host import PASSWORD, PLACE, address_of, clear, hub_process
from hub.demo.pages import Pages
from hub.demo.sign_in_list import list_people
from hub.demo.stories import begin, birth, move
from hub.engines import CATALOGUE
from hub.ports import Clock
from hub.settings import DEMO_MARK, Settings

US = 1_000_000
Play = Callable[[Country, Pages], None]
"""What is played once the country stands."""
Stay = Callable[["subprocess.Popen[bytes]"], None]
"""Called when all is told, with the hub's process; the hub stops when it returns."""


def stories(country: Country, pages: Pages) -> None:
    """Tell all five, in the order of the scenarios' numbers but for the move, which needs the least explaining."""
    birth(country, pages)
    move(country, pages)
    licence(country, pages)
    early_help(country, pages)
    counter(country, pages)


def open_country(address: str, data_dir: Path, clock: Clock) -> Country:
    """Open the country of a demo that runs at this address on this data directory."""
    today = datetime.fromtimestamp(clock() // US, UTC).date()
    return Country(address, data_dir, catalogue=catalogue_files.load(CATALOGUE), cast=read_cast(today), clock=clock)


@contextmanager
def over_real_engines(settings: Settings, address: str, console: Console) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the hub over PostgreSQL, Kafka and OPA of its own until the block ends. Raises HubError(STARTUP)."""
    from hub.demo import engines  # here: it loads the clients of engines that most demos do not use

    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (settings.data_dir / DEMO_MARK).touch(mode=0o600)  # before they lay anything there: the next demo may clear it away
    console.print("\n  Starting PostgreSQL, Kafka and OPA ...")
    with engines.held(settings.data_dir / PLACE) as held:
        more = engines.demo_settings(held, settings, catalogue_files.load(CATALOGUE))
        console.print("\n  Starting the hub ...")
        with hub_process(
            settings, address, more=more,
            meanwhile=lambda waits: engines.give_policy(held, settings, address, waits=waits),
        ) as process:  # fmt: skip
            yield process


@contextmanager
def over_embedded_engines(settings: Settings, address: str, console: Console) -> Iterator["subprocess.Popen[bytes]"]:
    console.print("\n  Starting the hub ...")
    with hub_process(settings, address) as process:
        yield process


def demo(
    settings: Settings,
    *,
    play: Play | None,
    console: Console,
    clock: Clock,
    stay: Stay | None,
    over: Callable[[Settings, str, Console], AbstractContextManager["subprocess.Popen[bytes]"]] = over_embedded_engines,
) -> dict[str, Any]:
    """Start a hub, play, count; then call `stay` where it is given, and stop the hub. Returns what was counted.

    Without `play` it goes on with what the last demo left, and tells nothing.
    """
    began_s = time.perf_counter()
    if play is not None:
        clear(settings.data_dir)
    address = address_of(settings)
    with (
        over(settings, address, console) as process,
        open_country(address, settings.data_dir, clock) as country,
    ):
        ready_s = time.perf_counter() - began_s
        pages = Pages(console, country.catalogue)
        counted: dict[str, Any] = {}
        if play is not None:
            pages.chapter(
                "The exchange hub, in an invented country",
                f"A hub has started in {ready_s:.1f} seconds; every person and every number below is made up.\n"
                "Agencies report what happens in people's lives. For every report, every office and every person the "
                "hub decides anew: may this office know, and how little is enough?",
            )
            linked = begin(country, clock)
            list_people(country.cast, settings.data_dir)
            pages.say(
                f"The Population Register has said which office knows whom under which number: {linked} numbers of "
                f"{len(country.cast.people)} people. Offices have asked, people have answered."
            )
            play(country, pages)
            counted = country.tally.report(country.own_fields(), seconds=time.perf_counter() - began_s)
            pages.totals(counted)
        if stay is not None:
            pages.next_steps(_next_steps(address))
            stay(process)
    return counted


def _next_steps(address: str) -> dict[str, str]:
    return {
        f"{address}/readyz": "is the hub at work?",
        f"{address}/metrics": "what it measures",
        f"{address}/my": f"citizens' pages: be darya, who is asked something, or nora. Password {PASSWORD}",
        f"hub-agency init lindum --hub {address} --demo": "be Lindum Municipality",
        "hub-agency doctor": "can Lindum work with the hub?",
        "hub demo publish S1 --as TEST-GRANTED": "let another child be born",
        "hub-agency pull": "get what Lindum may have",
        "hub why --last": "every reason, in words",
    }
