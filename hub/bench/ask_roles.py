"""Two measuring clients for asks: who asks and waits for answers, and the provider that answers as questions come."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from threading import Lock
from typing import Any

import orjson

from hub.bench.line import Line, bearer
from hub.bench.synthetic import DATASET, PUBLISHER
from hub.clock import system_clock

Task = Mapping[str, Any]
Found = dict[str, Any]
BATCH = "application/cloudevents-batch+json"
PAGE, LONGEST_WAIT_S = 500, 5
US = 1_000_000


def asking(task: Task) -> Callable[[], Found]:
    """Ask about `subjects` in turn, `per_s` a second over `lines` connections, and take all that comes meanwhile.

    Counted from the moment a question was due to be sent until its answer has been read; those of the first `after_s`
    are not, and those that came to no answer within `seconds` are told.
    """
    subjects: Sequence[str] = task["subjects"]
    due_s: dict[str, float] = {}  # ask -> when it was due
    came_s: dict[str, float] = {}  # ask -> when its answer was read
    numbers, lock, refused = count(), Lock(), list[str]()

    def one_line(began: float) -> None:
        line = Line(task["address"], bearer(task["token"]))
        while True:
            with lock:
                at = next(numbers)
            due = began + at / task["per_s"]
            if due > began + task["asks_s"]:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            body = {"purpose": task["purpose"], "dataset": DATASET, "case": "bench"}
            body["subject"] = subjects[at % len(subjects)]
            put = orjson.loads(line.ask("POST", "/v1/asks", orjson.dumps(body)).body)
            with lock:
                due_s[put["id"]] = due
                refused.extend([put["id"]] if put["state"] != "asked" else [])
        line.close()

    def taking(began: float) -> int:
        line, taken = Line(task["address"], bearer(task["token"])), 0
        while (left_s := began + task["seconds"] - time.monotonic()) > 0:
            page = _pulled(line, left_s)
            now = time.monotonic()
            came_s.update({one["ask"]: now for one in page if "ask" in one})
            taken += len(page)
        line.close()
        return taken

    def go() -> Found:
        began = time.monotonic()
        with ThreadPoolExecutor(task["lines"] + 1) as pool:
            took = pool.submit(taking, began)
            list(pool.map(one_line, [began] * task["lines"]))
            taken = took.result()
        counted = {ask: due for ask, due in due_s.items() if due >= began + task["after_s"]}
        return {
            "began": began,
            "ended": time.monotonic(),
            "done": len(due_s),
            "taken": taken,
            "refused": len(refused),
            "unanswered": sum(ask not in came_s for ask in due_s),
            "latencies_s": [came_s[ask] - due for ask, due in counted.items() if ask in came_s],
        }

    return go


def answering(task: Task) -> Callable[[], Found]:
    """Answer every question as it comes, for `seconds`: publish, then acknowledge."""
    data: Mapping[str, Any] = task["data"]

    def event(question: Mapping[str, Any]) -> dict[str, Any]:
        subject = question["subject"]
        return {
            "specversion": "1.0",
            "id": f"answer-{question['ask']}",
            "source": f"urn:agency:{PUBLISHER}",
            "type": DATASET,
            "subject": subject,
            "time": datetime.fromtimestamp(system_clock() / US, tz=UTC).isoformat(),
            "answers": question["ask"],
            "data": {**data, "person_id": subject},
        }

    def go() -> Found:
        began, answered = time.monotonic(), 0
        line = Line(task["address"], bearer(task["token"]))
        while (left_s := began + task["seconds"] - time.monotonic()) > 0:

            def publish(page: Sequence[Mapping[str, Any]]) -> None:
                events = [event(one) for one in page if one["kind"] == "ask"]
                if events:
                    line.ask("POST", "/v1/events", orjson.dumps(events), BATCH)

            answered += len(_pulled(line, left_s, publish))
        line.close()
        return {"began": began, "ended": time.monotonic(), "done": answered}

    return go


def _pulled(
    line: Line, left_s: float, handle: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _page: None
) -> list[Mapping[str, Any]]:
    """Wait for a page, handle it, acknowledge it."""
    wait_s = min(LONGEST_WAIT_S, max(0, int(left_s)))
    page: list[Mapping[str, Any]] = orjson.loads(line.ask("GET", f"/v1/deliveries?limit={PAGE}&wait_s={wait_s}").body)[
        "deliveries"
    ]
    if page:
        handle(page)
        body = {"acknowledgements": [{"number": one["number"], "id": one["id"]} for one in page]}
        line.ask("POST", "/v1/deliveries/acknowledgements", orjson.dumps(body))
    return page
