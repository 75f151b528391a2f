"""Whom one can sign in as at the demo: its people, those first whom a question waits for, and children by guardians."""

from datetime import date
from pathlib import Path

from hub.demo.cast import read_cast
from hub.demo.sign_in_list import list_people
from hub.settings import Settings
from hub.web.portal.people import Somebody, demo_people


def test_the_demos_people_can_be_signed_in_as(tmp_path: Path) -> None:
    """Darya first, because she was asked; Nora for Ivy; nobody whom the register does not know."""
    cast = read_cast(date(2026, 3, 1))
    count = list_people(cast, tmp_path)
    people = demo_people(Settings(mode="demo", data_dir=tmp_path))
    assert len(people) == count > 10
    assert people[0].name == "Darya Lesnogorskaya"
    assert [one.name for one in people if one.asked] == ["Darya Lesnogorskaya"]
    ids = ("population-register:PR-10-4471", "population-register:PR-26-0107")
    nora = Somebody(ids[0], "Nora Fernhollow", ids[1], "Ivy Fernhollow", False)
    assert nora in people
    assert all(one.person.startswith("population-register:PR-") for one in people)
    assert len({(one.person, one.on) for one in people}) == count


def test_without_a_demo_there_is_no_list(tmp_path: Path) -> None:
    """The page then has a field to type an id into."""
    assert demo_people(Settings(mode="development", data_dir=tmp_path)) == ()
