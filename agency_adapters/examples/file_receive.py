"""Take what the hub put into the drop folder; print it; each batch is acknowledged once it was printed.

python file_receive.py /srv/drop
"""

import os
import sys
from pathlib import Path

from agency_adapters.file_drop import read_batches
from agency_adapters.profile import directory_of, read_profile, seen_path
from agency_adapters.seen import Seen

folder = directory_of(os.environ)
profile, _ = read_profile(folder, None)
with Seen(seen_path(folder, profile.name)) as seen:
    for delivery in read_batches(Path(sys.argv[1]), agency=profile.agency, seen=seen):
        sys.stdout.write(f"{delivery.number} {delivery.kind} {delivery.document['data']}\n")
