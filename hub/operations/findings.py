"""One line of `hub doctor`: passed, worth a look, or failed, each of the latter with one remedy."""

from typing import Literal, NamedTuple

Level = Literal["PASS", "WARN", "FAIL"]


class Finding(NamedTuple):
    """What was looked at and how it is. `remedy` is empty where it passed."""

    level: Level
    check: str
    what: str
    remedy: str = ""


def passed(check: str, what: str) -> Finding:
    return Finding("PASS", check, what)


def warn(check: str, what: str, remedy: str) -> Finding:
    return Finding("WARN", check, what, remedy)


def fail(check: str, what: str, remedy: str) -> Finding:
    return Finding("FAIL", check, what, remedy)
