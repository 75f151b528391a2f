"""The one error family of the client. Each says what is wrong and what to do, and holds no personal value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx


class AgencyError(Exception):
    """Something on this side stands in the way: a profile, a file, an answer that breaks the contract."""

    def __init__(self, what: str, *, remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


class HubUnreachable(AgencyError):
    """No answer came. `never_sent`: it failed before the request left, so repeating it is safe whatever it was."""

    def __init__(self, what: str, *, remedy: str, never_sent: bool) -> None:
        super().__init__(what, remedy=remedy)
        self.never_sent = never_sent


@dataclass(frozen=True, slots=True)
class Problem:
    """One RFC 9457 problem (or one RFC 6749 section 5.2 error) as the hub told it."""

    status: int
    code: str  # last part of `type`, or OAuth's `error`
    what: str
    where: str = ""
    remedy: str = ""
    items: tuple[Mapping[str, Any], ...] = ()
    retry_after_s: float = 0.0

    def __str__(self) -> str:
        """Give it as one line for a person at a terminal."""
        return f"{self.what.removesuffix('.')} (at {self.where})" if self.where else self.what


class HubProblem(AgencyError):
    """The hub refused the request and said why. `body` is the whole decoded answer, for callers that want its parts."""

    def __init__(self, problem: Problem, *, body: Mapping[str, Any]) -> None:
        super().__init__(str(problem), remedy=problem.remedy)
        self.problem, self.body = problem, body


def problem_of(document: Mapping[str, Any], *, status: int, retry_after_s: float = 0.0) -> Problem:
    """Read a problem document; whatever is missing in it gets a plain default. Total."""
    code = str(document.get("type") or document.get("error") or f"http-{status}").rsplit("/", 1)[-1]
    what = document.get("detail") or document.get("error_description") or document.get("title")
    items = document.get("items")
    told_s = document.get("retry_after_s")
    return Problem(
        status=int(document["status"]) if isinstance(document.get("status"), int) else status,
        code=code,
        what=str(what or f"the hub answered {status} without saying why"),
        where=str(document.get("where") or ""),
        remedy=str(document.get("remedy") or ""),
        items=tuple(item for item in items if isinstance(item, dict)) if isinstance(items, list) else (),
        retry_after_s=float(told_s) if isinstance(told_s, int | float) else retry_after_s,
    )


def problem_from(response: httpx.Response) -> HubProblem:
    """Make the exception for an answer of 300 and above. A body that is not a JSON object is not repeated."""
    body = json_object(response)
    after = response.headers.get("retry-after", "")
    problem = problem_of(body, status=response.status_code, retry_after_s=float(after) if after.isdecimal() else 0.0)
    if response.is_redirect:
        problem = Problem(response.status_code, "redirect", "the address redirects; it is not the hub's own")
    return HubProblem(problem, body=body)


def json_object(response: httpx.Response) -> Mapping[str, Any]:
    """Return the body as a JSON object, or an empty one where it is anything else."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def objects(body: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """Return the list of objects called `name`. Raises `AgencyError` when the answer has no such list."""
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise AgencyError(f"the hub's answer has no list {name!r}", remedy="Check that the address is a hub's.")
    return found
