"""The one clock of the client; everything else takes it as an argument."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""UTC now, in microseconds since 1970."""


def system_clock() -> int:
    """Read the machine's clock."""
    return time.time_ns() // 1000  # noqa: TID251 - the one place; the client may not import the hub's clock
