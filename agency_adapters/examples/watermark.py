"""An old table that says when each row last changed: what changed since the last round is published."""

import os
import sqlite3
from pathlib import Path

from agency_adapters.client import HubClient
from agency_adapters.profile import directory_of, read_profile
from agency_adapters.sql.mapping import read_mapping
from agency_adapters.sql.running import publishing

with sqlite3.connect("old.sqlite") as database:
    database.execute("create table if not exists births (id integer primary key, child_no, born, updated_at)")
    database.execute("insert into births values (null, 'C-1', '31.01.2026', datetime('now'))")

mode = 'mode = "watermark"\nchanged = "updated_at"\ntime = "updated_at"\n'
table = 'database = "sqlite:///old.sqlite"\ntable = "births"\nkey = "id"\nsubject = "child_no"\n'
fields = '[fields]\nchild_id = "child_no"\ndob = {column = "born", as = "date", format = "%d.%m.%Y"}\n'
Path("births.toml").write_text(f'dataset = "civil.birth.registered"\n{mode}{table}{fields}')

profile, key = read_profile(directory_of(os.environ), "civil-registry")
plan = read_mapping(Path("births.toml"))
with HubClient(profile.settings, key) as hub, publishing(plan, profile, hub, state=Path("births.sent")) as mapping:
    mapping.round()
