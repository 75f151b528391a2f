"""The benchmarks over real engines, by name. What they bring is loaded where they are run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from hub.bench import (
    flood,
    gate,
    handout,
    latency,
    publish,
    recover,
    relay,
    scale,
    two_gates,
    usual_real,
    withdraw,
)
from hub.bench.engines import Engines
from hub.bench.measure import Result, Say, Sizes

BENCHMARKS: Mapping[str, Callable[[Sizes, Path, Say, Engines], Result]] = MappingProxyType(
    {
        "gate": gate.measure_real,
        "relay": relay.measure,
        "usual": usual_real.measure,
        "two-gates": two_gates.measure,
        "withdraw": withdraw.measure_real,
        "scale": scale.measure,
        "flood": flood.measure,
        "recover": recover.measure,
        "handout": handout.measure,
        "publish": publish.measure,
        "latency": latency.measure,
    }
)
