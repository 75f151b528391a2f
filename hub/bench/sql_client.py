"""The measuring client's roles of `hub bench sql`: an agency's outbox, and the plain client with the same events."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from agency_adapters.channel import Settings
from agency_adapters.client import HubClient
from agency_adapters.keys import key_from_pem
from agency_adapters.sql.database import open_database
from agency_adapters.sql.desk import Desk
from agency_adapters.sql.fit import fit
from agency_adapters.sql.mapping import read_mapping
from agency_adapters.sql.outbox import publish_outbox
from agency_adapters.sql.rows import datasets_of
from agency_adapters.sql.tables import create
from hub.bench.synthetic import DATASET, PUBLISHER, contents
from hub.clock import system_clock

BATCH_EVENTS = 500  # the hub's limit
Task = Mapping[str, Any]
Found = dict[str, Any]


def outbox(task: Task) -> Callable[[], Found]:
    """Publish what an application left in `hub_outbox`, until every row is marked."""
    path = Path(task["database"])
    engine = open_database(f"sqlite:///{path}", create=True)
    create(engine, "outbox")
    rows = [(DATASET, name, moment, orjson.dumps(data).decode()) for name, moment, data in _contents(task)]
    with sqlite3.connect(path) as database:
        database.execute("pragma journal_mode = wal")
        database.executemany("insert into hub_outbox (dataset, subject, happened_at, data) values (?, ?, ?, ?)", rows)
    mapping = path.with_suffix(".toml")
    mapping.write_text(f'mode = "outbox"\ndatabase = "sqlite:///{path}"\n')
    plan, client = read_mapping(mapping), _client(task)

    def go() -> Found:
        began = time.monotonic()
        desk = Desk(client, PUBLISHER, b"bench" * 6, datasets_of(client.agency()))
        publish_outbox(plan, engine, desk, fit(plan, engine, desk.datasets))
        ended = time.monotonic()
        client.close()
        engine.dispose()
        if desk.counts["published"] != task["events"]:
            raise RuntimeError(f"{desk.counts} of {task['events']} rows were published")
        return {"began": began, "ended": ended, "done": desk.counts["published"]}

    return go


def plain(task: Task) -> Callable[[], Found]:
    """Publish the same events from memory."""
    events = [
        {
            "specversion": "1.0",
            "id": f"{task['seed']}-{at}",
            "source": f"urn:agency:{PUBLISHER}",
            "type": DATASET,
            "subject": name,
            "time": f"{moment.replace(' ', 'T')}Z",
            "data": data,
        }
        for at, (name, moment, data) in enumerate(_contents(task))
    ]
    client = _client(task)

    def go() -> Found:
        began = time.monotonic()
        accepted = len(client.publish(events).accepted)
        ended = time.monotonic()
        client.close()
        return {"began": began, "ended": ended, "done": accepted}

    return go


def _client(task: Task) -> HubClient:
    settings = Settings(task["address"], PUBLISHER, batch_events=BATCH_EVENTS)
    return HubClient(settings, key_from_pem(task["key"].encode()))


def _contents(task: Task) -> Iterator[tuple[str, str, dict[str, str]]]:
    moment = datetime.fromtimestamp(system_clock() // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    for name, data in contents(task["events"], task["people"], seed=task["seed"]):
        yield name, moment, data
