"""Whether this hub would come back: asked before somebody restarts it, with the same checks that a start makes."""

import shutil

from hub.core.errors import HubError
from hub.identity.keys import read_key_file
from hub.identity.ring import check_root
from hub.settings import Settings, refuse_unsafe
from hub.store.engine import Store

ROOM_BYTES = 64 << 20  # a start copies the log of writes home and may migrate


def obstacles(settings: Settings, store: Store) -> list[dict[str, str]]:
    """Say what would keep the hub from starting again as it is set up now; empty where nothing would."""
    found = [(f"{item.where}: {item.what}", item.remedy) for item in refuse_unsafe(settings)]
    try:
        root = read_key_file(settings.key_path)
        with store.read() as tx:
            check_root(tx, root)
    except HubError as error:
        found.append((error.what, error.remedy))
    if shutil.disk_usage(settings.data_dir).free < ROOM_BYTES:
        found.append(("there is hardly any room on the disk of the data directory", "Make room first."))
    if store.path is not None and not store.path.exists():
        found.append(
            ("the store's file is gone; this process still reads it", "Copy it out of the hub before it ends.")
        )
    return [{"what": what, "remedy": remedy} for what, remedy in found]
