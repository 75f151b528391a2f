"""Leave the list of whom one can sign in as: the citizens' pages show it where nobody has to prove who they are."""

from pathlib import Path

import orjson

from hub.demo.cast import REGISTER, Cast, Person
from hub.settings import DEMO_PEOPLE


def list_people(cast: Cast, data_dir: Path) -> int:
    """Write the file for everybody the register knows, and for whom they act; returns how many entries it has.

    First those whom a question waits for, then the others, each by the order of the cast.
    """
    asked = {(one.who, one.on) for one in cast.choices if one.says == "nothing"}
    pairs = [(one.who, one.on) for one in cast.choices]
    pairs += [(handle, handle) for handle, person in cast.people.items() if REGISTER in person.ids]
    known = [pair for pair in dict.fromkeys(pairs) if all(REGISTER in cast.people[one].ids for one in pair)]
    known.sort(key=lambda pair: pair not in asked)
    entries = [_entry(cast.people[who], cast.people[on], (who, on) in asked) for who, on in known]
    (data_dir / DEMO_PEOPLE).write_bytes(orjson.dumps(entries))
    return len(entries)


def _entry(who: Person, on: Person, asked: bool) -> dict[str, str | bool]:
    """Shape one as `hub.web.portal.people.Somebody` reads it."""
    acts = on is not who
    return {
        "person": f"{REGISTER}:{who.ids[REGISTER]}",
        "name": who.name,
        "on": f"{REGISTER}:{on.ids[REGISTER]}" if acts else "",
        "other": on.name if acts else "",
        "asked": asked,
    }
