"""An application writes what happened into hub_outbox, in its own transaction; a timer publishes it."""

import json
import os
import sqlite3
from pathlib import Path

from agency_adapters.client import HubClient
from agency_adapters.profile import directory_of, read_profile
from agency_adapters.sql.mapping import read_mapping
from agency_adapters.sql.running import publishing

with sqlite3.connect("registry.sqlite") as database:  # made by: hub-agency sql ddl outbox --create sqlite:///...
    birth = json.dumps({"child_id": "C-1", "dob": "2026-01-31"})
    row = ("civil.birth.registered", "C-1", "2026-01-31 09:30:00", birth)
    database.execute("insert into hub_outbox (dataset, subject, happened_at, data) values (?, ?, ?, ?)", row)

Path("outbox.toml").write_text('mode = "outbox"\ndatabase = "sqlite:///registry.sqlite"\n')
profile, key = read_profile(directory_of(os.environ), "civil-registry")
with (
    HubClient(profile.settings, key) as hub,
    publishing(read_mapping(Path("outbox.toml")), profile, hub, state=Path("outbox.sent")) as mapping,
):
    mapping.round()
