"""What the hub believes of an engine's answer: exactly what was asked for, or nothing, and then events wait."""

from collections.abc import Callable, Sequence

from hub.core.errors import HubError, Kind
from hub.core.question import Question, Verdict

MOST_QUESTIONS = 500  # a call; some 80 kB of input, and 20 ms in process or 40 at a server: below every limit beneath
WAITS = "nothing was decided or lost; it is asked again"


def in_calls(ask: Callable[[Sequence[Question]], list[Verdict]], questions: Sequence[Question]) -> list[Verdict]:
    """Ask all, in order, `MOST_QUESTIONS` a call."""
    verdicts: list[Verdict] = []
    for first in range(0, len(questions), MOST_QUESTIONS):
        verdicts += ask(questions[first : first + MOST_QUESTIONS])
    return verdicts


def believed(answer: object, *, count: int, revision: str) -> list[Verdict]:
    """Read an engine's answer, and believe it only where it is exactly what was asked for.

    Raises: HubError(UNAVAILABLE) when it is of another revision or shape, or does not hold `count` verdicts (the
    policy gives none to a question it does not understand).
    """
    if not isinstance(answer, dict) or answer.keys() != {"revision", "verdicts"}:
        raise unavailable("The policy engine's answer is malformed.")
    if answer["revision"] != revision:
        raise unavailable("The policy engine answered under another revision.")
    verdicts = answer["verdicts"]
    if not isinstance(verdicts, list) or len(verdicts) != count:
        raise unavailable(f"The policy engine did not give {count} verdicts on {count} questions.")
    return [_verdict(verdict, revision) for verdict in verdicts]


def _verdict(verdict: object, revision: str) -> Verdict:
    if not isinstance(verdict, dict) or verdict.keys() != {"fields", "reasons"}:
        raise unavailable("A verdict of the policy engine is malformed.")
    return Verdict(revision, _names(verdict["fields"]), _names(verdict["reasons"]))


def _names(names: object) -> frozenset[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise unavailable("A verdict of the policy engine is malformed.")
    if len(distinct := frozenset(names)) != len(names):
        raise unavailable("A verdict of the policy engine names a thing twice.")
    return distinct


def unavailable(what: str, remedy: str = WAITS) -> HubError:
    """Make the one refusal of every engine: no answer that can be believed, so events wait."""
    return HubError(
        Kind.UNAVAILABLE,
        what,
        where="policy engine",
        remedy=remedy,
        code="policy-unavailable",
    )
