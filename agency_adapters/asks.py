"""Answer what other agencies ask: look each person up, publish what is held, or say that there is nothing."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency_adapters.client import KNOWN_KINDS, HubClient
from agency_adapters.errors import AgencyError, HubProblem
from agency_adapters.results import Delivery
from agency_adapters.seen import Seen

ASK = "ask"
GONE = frozenset({404, 409})  # somebody else closed it, or it was withdrawn: nobody waits any more


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of this agency: about whom, by its own id, for which fields of which of its datasets."""

    ask: str
    subject: str
    dataset: str
    fields: tuple[str, ...]
    purpose: str
    asker: str  # "" where the person asks
    asked: str  # RFC 3339
    deadline: str


Lookup = Callable[[Question], Mapping[str, Any] | None]
"""Return the dataset's `data` of this person, as it would be published; None where there is nothing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one question: answered, no_answer, or gone, for nobody waited any more."""

    question: Question
    outcome: str


def answer_asks(
    client: HubClient, seen: Seen, lookup: Lookup, *, limit: int | None = None, wait_s: int = 0
) -> Iterator[Answered | Delivery]:
    """Answer questions as they come; whatever else is in the feed is yielded as it is, for the caller to handle.

    1. the hub's question   2. `lookup`   3. publish its answer under an id that follows from the ask, or say that there
    is none   4. only then is the question acknowledged: after a crash it comes again, and its answer is the same event.
    Raises `AgencyError` where the hub refuses the answer: then the question is not acknowledged either.
    """
    for delivery in client.deliveries(seen, limit=limit, wait_s=wait_s, kinds=KNOWN_KINDS | {ASK}):
        if delivery.kind != ASK:
            yield delivery
            continue
        question = question_of(delivery)
        data = lookup(question)
        outcome = _decline(client, question) if data is None else _publish(client, question, data)
        yield Answered(question, outcome)


def question_of(delivery: Delivery) -> Question:
    """Read a question. Raises `AgencyError` where it lacks what it is answered by."""
    said, data = delivery.document, delivery.document.get("data")
    if not isinstance(data, dict) or not isinstance(said.get("ask"), str):
        raise AgencyError("a question has no ask or no data", remedy="Report it to the hub's operator.")
    return Question(
        said["ask"],
        delivery.subject,
        str(data.get("dataset", "")),
        tuple(str(name) for name in data.get("fields", ())),
        str(data.get("purpose", "")),
        str(data.get("asker", "")),
        str(said.get("time", "")),
        str(data.get("deadline", "")),
    )


def _decline(client: HubClient, question: Question) -> str:
    try:
        client.no_answer(question.ask)
    except HubProblem as problem:
        if problem.problem.status not in GONE:
            raise
        return "gone"
    return "no_answer"


def _publish(client: HubClient, question: Question, data: Mapping[str, Any]) -> str:
    event = {
        "specversion": "1.0",
        "id": f"answer-{question.ask}",
        "source": f"urn:agency:{client.channel.settings.agency}",
        "type": question.dataset,
        "subject": question.subject,
        "time": question.asked,  # so that the same answer again is the same event, and no conflict
        "datacontenttype": "application/json",
        "answers": question.ask,
        "data": dict(data),
    }
    result = client.publish([event])
    if result.refused:
        problem = result.refused[0].problem
        where = ", ".join(str(item.get("where", "")) for item in problem.items) or problem.where
        raise AgencyError(f"the hub refused an answer: {problem.what} ({where})", remedy=problem.remedy)
    return "answered"


def read_answers(file: Path) -> Lookup:
    """Read what there is to answer with: one JSON object a line, {"dataset", "subject", "data"}. The last one counts.

    Raises `AgencyError` with the line that is none.
    """
    held: dict[tuple[str, str], Mapping[str, Any]] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AgencyError(f"{file} cannot be read as UTF-8", remedy="Name a file of JSON lines.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
        except ValueError:
            one = None
        if not isinstance(one, dict) or not isinstance(one.get("data"), dict):
            remedy = 'Write one object a line: {"dataset": "...", "subject": "...", "data": {...}}.'
            raise AgencyError(f"{file.name}, line {number}: not an answer", remedy=remedy)
        held[str(one.get("dataset", "")), str(one.get("subject", ""))] = one["data"]
    return lambda question: held.get((question.dataset, question.subject))
