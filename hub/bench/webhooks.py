"""Webhooks to five receivers of which one hangs: a backlog as fast as it goes, then the usual day's wait.

The receivers are a process of their own, on the loopback, without TLS; one of them proves itself and never answers
again. A rate is what the four others got, over the time from the first to the last of it. The same backlog is posted
with four connections to each receiver and, by another hub, with one: what waiting for one answer at a time costs.
The wait is counted from the moment an event was due to be published until its delivery is in the receiver's hands.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from hub.bench.gate import drain
from hub.bench.measure import Figure, Result, Say, Sizes, percentile
from hub.bench.served import SERVED_WITH, Served, child, served, together
from hub.bench.synthetic import PUBLISHER, RECIPIENTS, Synthetic, recipient
from hub.exchange.gate import Gate

GOAL_PER_S, GOAL_P99_S = 500, 1.0
HANGING = 1
CONNECTIONS = (4, 1)  # to each receiver: as shipped, and one at a time
EVENTS_PER_S, BATCH_EVENTS, LINES = 250, 10, 2  # 60 % go to each recipient: 600 a second to the four
WARM_SHARE = 0.2
DRAIN_S = 2.0
LOOK_S = 0.2
LEAST_S = 0.001
STARTED_WITHIN_S = 10.0
STOP_FLAG = "stop-release"  # in the hub's data directory: while it is there nothing is handed out
MEDIA_TYPE = "application/json"


def measure(sizes: Sizes, directory: Path, say: Say) -> Result:
    rates: dict[int, tuple[float, ...]] = {}
    cpu_us: dict[str, float] = {}
    middle: list[float] = []
    worst: list[float] = []
    with child("hub.bench.receivers", str(RECIPIENTS), str(HANGING), env={}) as receivers:
        ports = _heard(receivers)
        for connections in CONNECTIONS:
            settings = {**SERVED_WITH, "HUB_WEBHOOK_CONNECTIONS_MAX": str(connections)}
            made = sizes.events * (2 if connections == CONNECTIONS[0] else 1)

            def prepare(world: Synthetic, made: int = made) -> None:
                say(f"deciding {made} events beforehand")
                drain(world, Gate(world.world), made, seed=sizes.seed + 1)

            say(f"making {sizes.people} people")
            with served(directory / str(connections), sizes, prepare=prepare, settings=settings) as hub:
                before_s = hub.cpu_s()
                stop_flag = directory / str(connections) / "hub" / STOP_FLAG
                stop_flag.touch()  # nothing leaves before all are registered
                for at, port in enumerate(ports):
                    _register(hub, recipient(at), port)
                say(f"a backlog, {connections} connections each")
                found, sent = _backlog(receivers, sizes, stop_flag)
                rates[connections] = tuple(found)
                cpu_us[f"{connections} connections"] = round((hub.cpu_s() - before_s) / max(sent, 1) * 1e6, 1)
                if connections == CONNECTIONS[0]:
                    for at in range(sizes.rounds):
                        say(f"{EVENTS_PER_S} events a second, round {at + 1} of {sizes.rounds}")
                        latencies = _steady(hub, receivers, sizes, at)
                        middle.append(percentile(latencies, 0.5))
                        worst.append(percentile(latencies, 0.99))
    figures = (
        Figure("webhooks, backlog to four of five, one hangs", "deliveries/s", rates[CONNECTIONS[0]], GOAL_PER_S),
        Figure("webhooks, the same, one connection each", "deliveries/s", rates[CONNECTIONS[1]]),
        Figure("webhooks, publish to received, p99", "s", tuple(worst), GOAL_P99_S, lower_is_better=True),
        Figure("webhooks, publish to received, p50", "s", tuple(middle), lower_is_better=True),
    )
    return Result("webhooks", figures, {"hub_cpu_us_per_delivery": cpu_us, "events_per_s": EVENTS_PER_S})


def _register(hub: Served, agency: str, port: int) -> None:
    """Have a receiver registered and proven, over the public API."""
    answer = httpx.put(
        f"{hub.address}/v1/webhook",
        json={"url": f"http://127.0.0.1:{port}/"},
        headers={"authorization": f"Bearer {hub.token(agency)}"},
        timeout=60.0,
    )
    if answer.json().get("state") != "active":
        raise RuntimeError(f"a receiver was not proven: {answer.text[:500]}")


def _backlog(receivers: "subprocess.Popen[bytes]", sizes: Sizes, stop_flag: Path) -> tuple[list[float], int]:
    """Let everything go, and look `rounds` times how fast it comes; then wait until nothing comes any more."""
    rates, sent, until_s = list[float](), 0, time.monotonic() + STARTED_WITHIN_S
    _ask(receivers)
    stop_flag.unlink()
    while True:
        time.sleep(sizes.seconds / sizes.rounds / 4 if len(rates) < sizes.rounds else LOOK_S)
        found = [one for one in _ask(receivers)[:-HANGING] if one["done"]]
        if not found and (sent or time.monotonic() > until_s):
            return rates, sent
        done = sum(one["done"] for one in found)
        sent += done
        if found and len(rates) < sizes.rounds:
            took_s = max(one["last"] for one in found) - min(one["first"] for one in found)
            rates.append(done / max(took_s, LEAST_S))


def _steady(hub: Served, receivers: "subprocess.Popen[bytes]", sizes: Sizes, at: int) -> list[float]:
    """Publish at a rate; returns the waits of what was not due in the first part of the time."""
    seconds = sizes.seconds / 2
    task: dict[str, Any] = {
        "role": "publish", "address": hub.address, "token": hub.token(PUBLISHER), "batch": BATCH_EVENTS, "lines": LINES,
        "events": int(EVENTS_PER_S * seconds), "per_s": EVENTS_PER_S, "people": sizes.people,
        "seed": sizes.seed + 2 + at, "seconds": seconds,
    }  # fmt: skip
    _ask(receivers)
    together([task])
    time.sleep(DRAIN_S)
    found = [
        latency for one in _ask(receivers)[:-HANGING] for latency in one["latencies_s"][int(WARM_SHARE * one["done"]) :]
    ]
    if not found:
        raise RuntimeError("no delivery arrived")
    return found


def _ask(receivers: "subprocess.Popen[bytes]") -> list[dict[str, Any]]:
    assert receivers.stdin is not None
    receivers.stdin.write(b"tell\n")
    receivers.stdin.flush()
    heard: list[dict[str, Any]] = _heard(receivers)
    return heard


def _heard(receivers: "subprocess.Popen[bytes]") -> Any:
    assert receivers.stdout is not None
    return json.loads(receivers.stdout.readline())
