"""A measuring client as a process of its own: `python -m hub.bench.client`, told what to do on standard input.

One line of JSON says the role and its task; it makes ready, prints "ready", waits for a line, does it, and prints what
it found as one line of JSON. Every role ends by itself: at a count, or at a number of seconds.
Instants are of the machine's monotonic clock, which is the same in every process of it.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock
from types import MappingProxyType
from typing import Any

import orjson

from hub.bench.ask_roles import answering, asking
from hub.bench.line import Line, bearer
from hub.bench.sql_client import outbox, plain
from hub.bench.synthetic import DATASET, PUBLISHER, QUIET_DATASET, QUIET_PUBLISHER, contents
from hub.clock import system_clock

US = 1_000_000
BATCH, SINGLE = "application/cloudevents-batch+json", "application/cloudevents+json"
POOL_EVENTS = 20_000  # made before the start; sent again under new ids where more are wanted
ID, MOMENT = (
    b"id-placeholder",
    b"2026-01-01T00:00:00.000000Z",
)  # replaced in the finished bytes: costs the client little
PAGE, LONGEST_WAIT_S = 500, 20
GIVEN_UP_S = 45.0  # after its time one that insists hears why it was refused

Task = Mapping[str, Any]
Found = dict[str, Any]


def publish(task: Task) -> Callable[[], Found]:
    """Send events: `batch` at once over `lines` connections, until `events` are sent or `seconds` are over.

    With `per_s` they are sent at that rate; an event's time is then the moment it was due, so that a publisher that
    falls behind is counted as waiting. A `quiet` one publishes the quiet dataset. One that insists sends again what was
    refused, until the end.
    """
    size, lines, events = task["batch"], task["lines"], task["events"]
    bodies = _bodies(size, min(events, POOL_EVENTS), task["people"], task["seed"], quiet=task.get("quiet", False))
    numbers, lock = count(), Lock()
    kind = BATCH if size > 1 else SINGLE

    def one_line(began: float) -> int:
        until, sent = began + task["seconds"], 0
        line = _line(task, until, bearer(task["token"]))
        while time.monotonic() < until:
            with lock:
                at = next(numbers)
            if at * size >= events:
                break
            now_us = system_clock()
            if task.get("per_s"):
                due = began + at * size / task["per_s"]
                left_s = due - time.monotonic()
                if left_s > 0:
                    time.sleep(left_s)
                now_us = system_clock() - int(max(0.0, time.monotonic() - due) * US)
            body = bodies[at % len(bodies)].replace(ID, f"{task['seed']}-{at}".encode())
            line.ask("POST", "/v1/events", body.replace(MOMENT, _moment(now_us)), kind)
            sent += size
        line.close()
        return sent

    def go() -> Found:
        began = time.monotonic()
        with ThreadPoolExecutor(lines) as pool:
            sent = sum(pool.map(one_line, [began] * lines))
        return {"began": began, "ended": time.monotonic(), "done": sent}

    return go


def _line(task: Task, until: float, headers: dict[str, str]) -> Line:
    insists_until_s = until + GIVEN_UP_S if task.get("insists") else 0.0
    return Line(task["address"], headers, insists_until_s=insists_until_s)


def _bodies(size: int, events: int, people: int, seed: int, *, quiet: bool = False) -> list[bytes]:
    """Make finished requests; their ids and times are placeholders of the same length as what comes there."""
    publisher, dataset = (QUIET_PUBLISHER, QUIET_DATASET) if quiet else (PUBLISHER, DATASET)
    drawn = contents(max(events, size), people, seed=seed)
    made = [
        {
            "specversion": "1.0",
            "id": ID.decode() + (f"-{at % size}" if size > 1 else ""),
            "source": f"urn:agency:{publisher}",
            "type": dataset,
            "subject": name,
            "time": MOMENT.decode(),
            "datacontenttype": "application/json",
            "data": data,
        }
        for at, (name, data) in enumerate(drawn)
    ]
    if size == 1:
        return [orjson.dumps(one) for one in made]
    return [orjson.dumps(made[first : first + size]) for first in range(0, len(made) - size + 1, size)]


def _moment(now_us: int) -> bytes:
    when = datetime.fromtimestamp(now_us // US, tz=UTC) + timedelta(microseconds=now_us % US)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


def take(task: Task) -> Callable[[], Found]:
    """Pull and acknowledge as each of `recipients`, one connection each: `deliveries` each, or for `seconds`.

    With `stamped_after_us` the time from an event's moment to its acknowledged delivery is kept, of events later than
    that (microseconds of the wall clock, relative to the start). One that insists asks again what was refused, and
    keeps when its pages came.
    """
    wanted = task["deliveries"]

    def one_recipient(given: tuple[str, float]) -> tuple[int, list[float], list[float]]:
        token, began = given
        taken, pages = 0, list[float]()
        until, latencies = began + task["seconds"], list[float]()
        line = _line(task, until, bearer(token))
        first_us = system_clock() + int(task.get("stamped_after_s", 0) * US)
        while taken < wanted and (left_s := until - time.monotonic()) > 0:
            wait_s = min(LONGEST_WAIT_S, int(left_s)) if task["wait"] else 0
            got = line.ask("GET", f"/v1/deliveries?limit={min(PAGE, wanted - taken)}&wait_s={wait_s}")
            page = orjson.loads(got.body)["deliveries"]
            if not page:
                continue
            pages.append(time.monotonic())
            body = {"acknowledgements": [{"number": one["number"], "id": one["id"]} for one in page]}
            line.ask("POST", "/v1/deliveries/acknowledgements", orjson.dumps(body))
            taken += len(page)
            if "stamped_after_s" in task:
                now_us = system_clock()
                moments = [_microseconds(one["time"]) for one in page]
                latencies += [(now_us - moment) / US for moment in moments if moment >= first_us]
        line.close()
        return taken, pages, latencies

    def go() -> Found:
        began = time.monotonic()
        with ThreadPoolExecutor(len(task["recipients"])) as pool:
            found = list(pool.map(one_recipient, [(token, began) for token in task["recipients"]]))
        return {
            "began": began,
            "ended": time.monotonic(),
            "done": sum(one[0] for one in found),
            "pages": sum(len(one[1]) for one in found),
            "pages_at": sorted(at for one in found for at in one[1]) if task.get("insists") else [],
            "latencies_s": [value for one in found for value in one[2]],
        }

    return go


def _microseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * US)


def withdraw(task: Task) -> Callable[[], Found]:
    """Withdraw each of `consents` (id, cookie, csrf), `per_s` a second over `lines` connections, from `after_s` on."""
    consents: Sequence[tuple[str, str, str]] = task["consents"]
    numbers, lock = count(), Lock()

    def one_line(began: float) -> list[float]:
        until, took = began + task["seconds"], list[float]()
        line = _line(task, until, {})
        while True:
            with lock:
                at = next(numbers)
            due = began + task["after_s"] + at / task["per_s"]
            if at >= len(consents) or due > until:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            consent, cookie, csrf = consents[at]
            line.headers = {"cookie": f"hub_session={cookie}", "x-csrf-token": csrf}
            asked = time.perf_counter()
            line.ask("POST", f"/v1/me/consents/{consent}/withdraw", b"")
            took.append(time.perf_counter() - asked)
        line.close()
        return took

    def go() -> Found:
        began = time.monotonic()
        with ThreadPoolExecutor(task["lines"]) as pool:
            took = [value for found in pool.map(one_line, [began] * task["lines"]) for value in found]
        return {"began": began, "ended": time.monotonic(), "done": len(took), "latencies_s": took}

    return go


def gate(task: Task) -> Callable[[], Found]:
    """See `hub.bench.gate_role`."""
    from hub.bench.gate_role import deciding  # here: it loads the whole hub, which no other role needs

    return deciding(task)


ROLES: Mapping[str, Callable[[Task], Callable[[], Found]]] = MappingProxyType(
    {
        "publish": publish,
        "take": take,
        "withdraw": withdraw,
        "outbox": outbox,
        "plain": plain,
        "ask": asking,
        "answer": answering,
        "gate": gate,
    }
)


def main() -> None:
    """Read the task, make ready, wait for the word, do it, tell."""
    task = json.loads(sys.stdin.readline())
    go = ROLES[task["role"]](task)
    _tell("ready")
    if not sys.stdin.readline():
        return  # whoever started this is gone
    before = time.process_time()
    found = go()
    _tell(json.dumps({**found, "cpu_s": time.process_time() - before}))


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
