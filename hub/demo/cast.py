"""Who plays in the demo, what they said, and what happens to them: `deploy/demo/*.yaml` as values."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from hub.core.errors import HubError, Kind

REGISTER = "population-register"  # links everybody's ids; its own id names a person at the demo's sign-in
P2 = 2  # how well the register knows them: UK GPG 45, medium
_HERE = Path(__file__).resolve().parents[2] / "deploy" / "demo"
_PLACE = re.compile(r"\{([a-z0-9_-]+)(\.born)?\}")
_DAYS = {"today": 0, "in_5_years": 5 * 365, "a_year_ago": -365}  # places that stand for a day, so far from the demo's


@dataclass(frozen=True, slots=True)
class Person:
    handle: str
    name: str
    born: date
    ids: Mapping[str, str]  # agency -> its own id

    @property
    def first_name(self) -> str:
        return self.name.split()[0]


@dataclass(frozen=True, slots=True)
class Choice:
    """What `who` said, on behalf of `on` (often the same person), to an agency's purpose."""

    who: str
    on: str
    to: str
    purpose: str
    says: str  # yes | no | nothing | object
    for_s: int  # 0: as long as it can be


@dataclass(frozen=True, slots=True)
class Happening:
    """One event as its publisher writes it. Texts in `data` may hold places: "{nora}", "{ivy.born}", "{today}"."""

    name: str
    dataset: str
    about: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cast:
    """Everything in the three files."""

    people: Mapping[str, Person]
    choices: tuple[Choice, ...]
    happenings: Mapping[str, Happening]
    today: date

    def links(self) -> list[dict[str, Any]]:
        """Return what the register says at POST /v1/links: every agency's id of every person it knows."""
        return [
            {
                "agency": agency,
                "local_id": local_id,
                "mine": person.ids[REGISTER],
                "level": P2,
                "born": person.born.isoformat(),
            }
            for person in self.people.values()
            if REGISTER in person.ids
            for agency, local_id in person.ids.items()
        ]

    def agencies(self) -> set[str]:
        """Name every agency that has an id of somebody, or asked somebody."""
        return {agency for person in self.people.values() for agency in person.ids} | {one.to for one in self.choices}

    def data_of(self, happening: Happening, publisher: str, *, child: str = "") -> dict[str, Any]:
        """Fill the places in, as this publisher names people. `child` stands for the test person chosen."""
        filled = self._filled(happening.data, publisher, child)
        assert isinstance(filled, dict)
        return filled

    def _filled(self, value: Any, publisher: str, child: str) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(one, publisher, child) for name, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one, publisher, child) for one in value]
        place = _PLACE.fullmatch(value) if isinstance(value, str) else None
        if place is None:
            return value
        if place[1] in _DAYS:
            return (self.today + timedelta(days=_DAYS[place[1]])).isoformat()
        person = self.people[child if place[1] == "child" else place[1]]
        return person.born.isoformat() if place[2] else person.ids[publisher]


def read_cast(today: date, directory: Path = _HERE) -> Cast:
    """Read the files. Raises HubError(STARTUP) when they are not there, or name somebody who is not in them."""
    people = {
        handle: Person(handle, said["name"], _born(said["born"], today), said["ids"])
        for handle, said in _read(directory / "people.yaml").items()
    }
    choices = tuple(
        Choice(
            said["who"], said.get("for", said["who"]), said["to"], said["purpose"], said["says"], said.get("for_s", 0)
        )
        for said in _read(directory / "choices.yaml")
    )
    happenings = {
        name: Happening(name, said["dataset"], said["about"], said["data"])
        for name, said in _read(directory / "events.yaml").items()
    }
    _check(people, [one.who for one in choices] + [one.on for one in choices])
    _check({*people, "child"}, [one.about for one in happenings.values()])
    return Cast(people, choices, happenings, today)


def _born(said: Any, today: date) -> date:
    if isinstance(said, date):
        return said
    if "days_ago" in said:
        return today - timedelta(days=said["days_ago"])
    year = today.year - said["years_ago"]
    return today.replace(year=year, day=28) if (today.month, today.day) == (2, 29) else today.replace(year=year)


def _check(known: Iterable[str], named: Iterable[str]) -> None:
    strangers = sorted(set(named) - set(known))
    if strangers:
        raise HubError(
            Kind.STARTUP,
            f"the demo's files name somebody who is not in people.yaml: {', '.join(strangers)}",
            remedy="Add them, or correct the name.",
            code="demo-world",
        )


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise HubError(
            Kind.STARTUP,
            "the demo's world is not here",
            where=path.name,
            remedy="Run the demo from a checkout of the repository: its people are in deploy/demo.",
            code="demo-world",
        ) from cause
