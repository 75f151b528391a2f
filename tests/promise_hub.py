"""One hub for the promises' own tests: linked, consenting, and with one event decided where a test asks for it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.core.question import Question, Verdict
from hub.exchange.gate import Gate
from hub.exchange.verdicts import Verdicts
from hub.failpoints import arm, disarm
from hub.ports import Policy
from tests.protocol_world import Hub

REDELIVER_S = 61.0


class Crash(Exception):
    """The process ends here."""


def crashing(hub: Hub, point: str, act: Callable[[], Any]) -> Hub:
    """Let `act` end at a failpoint, as a process would; returns the hub that comes after it on the same files."""

    def crash() -> None:
        raise Crash

    arm(point, crash)
    try:
        with pytest.raises(Crash):
            act()
    finally:
        disarm()
    return restarted(hub)


def restarted(hub: Hub) -> Hub:
    hub.close()
    return Hub(Path(hub.directory), clock=hub.clock, catalogue=hub.catalogue)


def with_policy(hub: Hub, policy: Policy) -> Hub:
    """Let another engine answer from now on."""
    hub.verdicts = Verdicts(policy)
    hub.verdicts.revision()
    hub.world = replace(hub.world, verdicts=hub.verdicts)
    hub.gate = Gate(hub.world)
    return hub


class Generous:
    """A policy that permits more than anybody agreed to."""

    def __init__(self, policy: Policy, fields: frozenset[str]) -> None:
        self._policy, self._fields = policy, fields

    def revision(self) -> str:
        return self._policy.revision()

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        return [verdict._replace(fields=verdict.fields | self._fields) for verdict in self._policy.ask(questions)]


def reasons_of_all(hub: Hub) -> set[str]:
    """Read every reason that any decision so far was committed to."""
    bodies = [json.loads(body) for (body,) in hub.rows("SELECT body FROM interned WHERE body LIKE '%\"reasons\"%'")]
    return {reason for body in bodies for reason in (*body["reasons"], *body.get("overall", ()))}
