"""The benchmarks by name: each a function of sizes, a directory of its own, and a way to say what it is doing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from hub.bench import asks, files, gate, handout, latency, publish, scale, sql, usual, webhooks, withdraw
from hub.bench.measure import Result, Say, Sizes

Benchmark = Callable[[Sizes, Path, Say], Result]
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        "gate": gate.measure,
        "handout": handout.measure,
        "files": files.measure,
        "publish": publish.measure,
        "latency": latency.measure,
        "usual": usual.measure,
        "withdraw": withdraw.measure,
        "webhooks": webhooks.measure,
        "scale": scale.measure,
        "sql": sql.measure,
        "asks": asks.measure,
    }
)
