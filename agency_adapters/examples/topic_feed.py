"""Feed what the hub delivers into a topic of the agency's own cluster, once.

python topic_feed.py bridge.toml
"""

import os
import sys
from pathlib import Path

from agency_adapters.bridge.config import read_config
from agency_adapters.bridge.feed import Feeder
from agency_adapters.client import HubClient
from agency_adapters.profile import directory_of, read_profile

profile, key = read_profile(directory_of(os.environ), None)
bridge = read_config(Path(sys.argv[1]))
assert bridge.feed is not None, "the configuration has no [feed]"
with HubClient(profile.settings, key) as hub:
    feeder = Feeder(hub, bridge.access, bridge.feed)
    sys.stdout.write(f"{dict(feeder.round(wait_s=20))}\n")
    feeder.close()
