"""The receiving adapters that wait to be reached, each a process of its own that a test can end where it likes.

    python -m tests.pushed_ways webhook DIRECTORY HUB         serves until it is killed; its address is the first line
    python -m tests.pushed_ways drop DIRECTORY HUB [TURN]     takes what is there; kills itself at the start of a turn

Both keep what arrived in `DIRECTORY/drop.ndjson`, and what they have handled in `DIRECTORY/drop.seen`.
"""

import json
import os
import signal
import sys
from itertools import count
from pathlib import Path

from agency_adapters.client import HubClient
from agency_adapters.results import Delivery
from agency_adapters.seen import Seen
from agency_adapters.ways_out_commands import hub_keys
from agency_adapters.webhook import Receiver
from agency_adapters.webhook_server import server
from tests.adapters_contract_ways import RECIPIENT, client_for
from tests.file_ways import DropReceives


def serve(directory: Path, client: HubClient) -> None:
    """Receive webhooks, as `hub-agency webhook receive` does."""
    with (directory / "drop.ndjson").open("a") as file, Seen(directory / "drop.seen") as seen:

        def handle(delivery: Delivery) -> None:
            file.write(json.dumps(delivery.document) + "\n")
            file.flush()

        listening = server(Receiver(hub_keys(client), seen, handle), "127.0.0.1", 0)
        print(f"http://127.0.0.1:{listening.server_port}", flush=True)
        listening.serve_forever()


def take(directory: Path, client: HubClient, ends_at: int) -> None:
    """Take what is in the drop folder; in turn `ends_at`, counted from 1, the process is no more."""
    turns = count(1)

    def turn() -> None:
        if next(turns) == ends_at:
            os.kill(os.getpid(), signal.SIGKILL)

    DropReceives(directory, turn).run(client)


def main() -> None:
    name, directory, hub, *ends_at = sys.argv[1:]
    with client_for(Path(directory), hub, RECIPIENT) as client:
        if name == "webhook":
            serve(Path(directory), client)
        else:
            take(Path(directory), client, int(ends_at[0]) if ends_at else 0)


if __name__ == "__main__":
    main()
