"""Receive into hub_inbox, then let the application handle what is new there."""

import os
import sqlite3

from agency_adapters.client import HubClient
from agency_adapters.profile import directory_of, read_profile
from agency_adapters.sql.database import open_database
from agency_adapters.sql.inbox import receive
from agency_adapters.sql.tables import create

engine = open_database("sqlite:///inbox.sqlite", create=True)
create(engine, "inbox")
profile, key = read_profile(directory_of(os.environ), "family-benefits")
with HubClient(profile.settings, key) as hub:
    receive(hub, engine)

with sqlite3.connect("inbox.sqlite") as database:
    new = "select id, kind, subject, data from hub_inbox where handled_at is null order by id"
    for row, kind, subject, data in database.execute(new).fetchall():
        print(kind, subject, data)
        database.execute("update hub_inbox set handled_at = datetime('now') where id = ?", (row,))
