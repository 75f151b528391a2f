"""Put a folder of rows into the drop folder, as events, for the hub to publish.

python file_publish.py rows map.toml /srv/drop
"""

import os
import sys
from pathlib import Path

from agency_adapters.file_drop import write_batch
from agency_adapters.folder import read_folder, read_map
from agency_adapters.ndjson import Broken
from agency_adapters.profile import directory_of, read_profile

profile, _ = read_profile(directory_of(os.environ), None)
rows, row_map, drop = map(Path, sys.argv[1:])
found = list(read_folder(rows, read_map(row_map), publisher=profile.agency, id_key=profile.event_key))
name = write_batch(drop, [one for one in found if not isinstance(one, Broken)], agency=profile.agency)
sys.stdout.write(f"{name}; left out: {[one.where for one in found if isinstance(one, Broken)]}\n")
