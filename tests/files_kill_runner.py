"""One hub with file drop, to be killed: publishes, writes batches and takes acknowledgements until it dies.

    python tests/files_kill_runner.py DIRECTORY RUN FAILPOINTS

`P event` goes to standard output once an event is durable. The same directory may be used again: two days on.
"""

import os
import sys
from pathlib import Path

from hub.failpoints import arm_from
from tests.file_world import Files
from tests.protocol_world import NOW_US, Hub, ManualClock

DAYS_US = 2 * 86_400_000_000
EVENTS, PEOPLE = 4, 3


def start(directory: Path, run: int) -> Files:
    """Open what is there, as it is two days after the run before."""
    hub = Hub(directory / "hub", clock=ManualClock(NOW_US + run * DAYS_US), synchronous="FULL")
    for number in range(PEOPLE):
        person = hub.link(f"K-{number}")
        if not hub.rows("SELECT 1 FROM consent WHERE person = ?", (person,)):
            hub.grant(person)
    files = Files(hub, directory / "drop")
    files.recover()
    files.keep_house()
    return files


def main() -> None:
    directory, run, failpoints = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    files = start(directory, run)
    arm_from(failpoints)
    for batch in range(3):
        for number in range(EVENTS):
            files.hub.publish(f"{run}-{batch}-{number}", f"K-{number % PEOPLE}")
            os.write(1, f"P {run}-{batch}-{number}\n".encode())
        files.hub.decide()
        written = files.write().batch
        if written and batch == 0:
            (files.ack / f"{written}.ack").write_text("all\n")
        files.acknowledged()


if __name__ == "__main__":
    main()
