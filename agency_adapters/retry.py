"""When to try again: capped exponential pauses with full jitter, so that many agencies do not return in step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often and how long. Full jitter after "Exponential Backoff And Jitter", AWS Architecture Blog, 2015."""

    attempts: int = 7  # about half a minute in the mean: longer than a hub's restart, shorter than a person's patience
    first_s: float = 0.25
    cap_s: float = 30.0

    def pauses_s(self, uniform: Callable[[float, float], float]) -> Iterator[float]:
        """Yield the pause before each attempt; the first is 0. `uniform` draws between two numbers."""
        yield 0.0
        for attempt in range(self.attempts - 1):
            yield uniform(0.0, min(self.cap_s, self.first_s * 2**attempt))
