"""A table that says nothing of changes: all rows are compared with what was published of them."""

import os
import sqlite3
from pathlib import Path

from agency_adapters.client import HubClient
from agency_adapters.profile import directory_of, read_profile
from agency_adapters.sql.mapping import read_mapping
from agency_adapters.sql.running import publishing

with sqlite3.connect("older.sqlite") as database:
    database.execute("create table if not exists births (id integer primary key, child_no, born)")
    database.execute("insert into births values (null, 'C-1', '2026-01-31')")

mode = 'mode = "snapshot"\ndeletions = "ignore"\n'
table = 'database = "sqlite:///older.sqlite"\ntable = "births"\nkey = "id"\nsubject = "child_no"\n'
Path("all.toml").write_text(
    f'dataset = "civil.birth.registered"\n{mode}{table}[fields]\nchild_id = "child_no"\ndob = "born"\n'
)
profile, key = read_profile(directory_of(os.environ), "civil-registry")
plan = read_mapping(Path("all.toml"))
with HubClient(profile.settings, key) as hub, publishing(plan, profile, hub, state=Path("all.sent")) as mapping:
    mapping.round()
