"""Verdicts remembered under the present policy revision, so that a batch asks the engine only what is new."""

import threading

from hub.core.agreement import Subscription
from hub.core.decide import Standing, question
from hub.core.question import Question, Verdict
from hub.ports import Policy

Asked = tuple[int, str, str, int]
"""What tells one question from another: (subscription, asks, state, assurance)."""


class Verdicts:
    """Answers by what was `Asked`. Forgets everything when the revision changes. Thread-safe."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._known: dict[Asked, Verdict] = {}
        self._revision = ""

    def revision(self) -> str:
        """Ask the engine for its revision now; drop what was answered under another."""
        revision = self._policy.revision()
        with self._lock:
            if revision != self._revision:
                self._known, self._revision = {}, revision
        return revision

    def known(self, subscription: Subscription, standing: Standing) -> Verdict | None:
        return self._known.get((subscription.number, subscription.asks, standing.state, standing.assurance))

    def all_known(
        self, subscription: Subscription, standings: tuple[Standing, ...], missing: "Missing"
    ) -> tuple[Verdict | None, ...]:
        """Look up the verdicts on several standings; note in `missing` what nobody has answered yet."""
        verdicts = tuple([self.known(subscription, one) for one in standings])
        for one, verdict in zip(standings, verdicts, strict=True):
            if verdict is None:
                missing.add(subscription, one)
        return verdicts

    def ask(self, missing: "Missing") -> None:
        """Ask the engine in one call. Raises HubError(UNAVAILABLE): then nothing is known, and events wait."""
        verdicts = self._policy.ask(list(missing.values()))
        with self._lock:
            self._known.update(zip(missing, verdicts, strict=True))


class Missing(dict[Asked, Question]):
    """Questions that a preparation met and nobody has answered yet."""

    def add(self, subscription: Subscription, standing: Standing) -> None:
        self[subscription.number, subscription.asks, standing.state, standing.assurance] = question(
            subscription, standing
        )
